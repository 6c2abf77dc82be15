"""Formation energies and the hull against sums, linear programming and a published diagram."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.formula import Formula
from ase.io import write
from scipy.optimize import linprog

from md_workflows import PROPERTIES, ASEEngine
from md_workflows.properties import hull
from md_workflows.properties.hull import HullSettings
from md_workflows.properties.references import prepare_references

FORMATION, HULL = PROPERTIES["formation_energy"], PROPERTIES["energy_above_hull"]


def energy_of(atoms: Atoms) -> float:
    driven = atoms.copy()
    driven.calc = EMT()
    return float(driven.get_potential_energy())


def test_formation_energy_is_what_is_left_of_the_elements(
    engine: Any, copper: Atoms, cu3au: Atoms, relaxed: Any, tmp_path: Path
) -> None:
    stretched = [bulk("Cu", a=3.7), bulk("Cu", "hcp", a=2.6, c=4.2), bulk("Au", a=4.0), bulk("Fe")]
    write(tmp_path / "elements.extxyz", stretched)
    settings = FORMATION.settings(references=tmp_path / "elements.extxyz", reference_fmax=1e-3)
    assert FORMATION.prepare is not None
    prepared = FORMATION.prepare(engine, settings)
    assert engine.streams == [4]
    # relaxed with their cells; of two of copper the lower one counts, which is hcp with EMT
    lowest = energy_of(relaxed(stretched[1])) / 2
    assert lowest < energy_of(copper) - 1e-4
    assert prepared.reference_energies["Cu"] == pytest.approx(lowest, abs=1e-5)
    assert "Fe" in prepared.reference_errors["Fe"]
    assert FORMATION.prepare(engine, prepared) == prepared
    assert type(prepared).model_validate_json(prepared.model_dump_json()) == prepared  # for other processes
    measured, of_copper, of_iron = FORMATION.measure([cu3au, copper, bulk("Fe")], engine, prepared)
    gold = prepared.reference_energies["Au"]
    by_hand = (energy_of(cu3au) - 3 * lowest - gold) / 4
    assert measured.values["formation_energy_eV_per_atom"] == pytest.approx(by_hand, abs=1e-5)
    assert measured.values["energy_eV_per_atom"] == pytest.approx(energy_of(cu3au) / 4)
    assert of_copper.values["formation_energy_eV_per_atom"] == pytest.approx(energy_of(copper) - lowest, abs=1e-5)
    assert of_iron.error.startswith("1 of 1 calculations failed")
    unprepared = FORMATION.measure([cu3au], engine, settings)
    assert unprepared[0].values == pytest.approx(measured.values)


def test_references_as_they_are_and_molecules(engine: Any, tmp_path: Path) -> None:
    write(tmp_path / "r.extxyz", [bulk("Cu", a=3.7), molecule("N2")])
    as_is = prepare_references(engine, HullSettings(references=tmp_path / "r.extxyz", relax_references=False))
    assert as_is.reference_energies == pytest.approx(
        {"Cu": energy_of(bulk("Cu", a=3.7)), "N": energy_of(molecule("N2")) / 2}, abs=1e-6
    )
    relaxed = prepare_references(engine, HullSettings(references=tmp_path / "r.extxyz"))
    assert relaxed.reference_energies is not None
    assert relaxed.reference_energies["N"] < as_is.reference_energies["N"]  # type: ignore[index]


def test_energies_from_json_and_what_is_refused(engine: Any, tmp_path: Path, copper: Atoms) -> None:
    path = tmp_path / "energies.json"
    path.write_text(json.dumps({"Cu": -3.5, "Cu2": -3.75, "AuCu": -3, "CuAu": -3.25}))
    prepared = prepare_references(engine, HullSettings(references=path))
    assert prepared.reference_energies == {"Cu": -3.75, "AuCu": -3.25}
    (measured,) = FORMATION.measure([copper], engine, FORMATION.settings(references=path))
    assert measured.values["formation_energy_eV_per_atom"] == pytest.approx(energy_of(copper) + 3.75)
    for content, says in (
        ("{", "is no JSON"),
        ('{"Cu": "low"}', "has to hold energies in eV/atom by formula"),
        ("[1]", "has to hold energies"),
        ('{"Qq": 1}', "'Qq' is no formula"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=says):
            prepare_references(engine, HullSettings(references=path))
    with pytest.raises(ValueError, match=r"none\.extxyz: no such file"):
        prepare_references(engine, HullSettings(references=tmp_path / "none.extxyz"))
    write(tmp_path / "iron.extxyz", bulk("Fe"))
    with pytest.raises(ValueError, match=r"iron\.extxyz: none could be computed; Fe: .*NotImplementedError"):
        prepare_references(engine, HullSettings(references=tmp_path / "iron.extxyz"))
    (tmp_path / "bad.extxyz").write_text("2\n\nCu 0 0\n")
    with pytest.raises(ValueError, match="the references cannot be read: after 0 frames"):
        prepare_references(engine, HullSettings(references=tmp_path / "bad.extxyz"))
    with pytest.raises(ValueError, match="two sources of the same"):
        HullSettings(references=path, reference_energies={})


def test_elements_without_a_reference_are_named(engine: Any, cu3au: Atoms) -> None:
    (measured,) = FORMATION.measure([cu3au], engine, FORMATION.settings(reference_energies={"Cu": 0}))
    assert measured.error == "there is no reference energy of Au; there are Cu. Name a file in references."
    settings = FORMATION.settings(reference_energies={"Cu": 0}, reference_errors={"Au": "it burst"})
    (measured,) = FORMATION.measure([cu3au], engine, settings)
    assert measured.error == "the reference of Au failed: it burst"


def above_by_linear_programming(rows: list[dict[str, Any]], which: int) -> float:
    """The least energy of any mixture with the composition of a row, straight from the definition."""
    counts = [Formula(row["hull_formula"]).count() for row in rows]
    elements = sorted(counts[which])
    able = [number for number, count in enumerate(counts) if set(count) <= set(elements)]
    fractions = np.array([[counts[n].get(e, 0) / sum(counts[n].values()) for n in able] for e in elements])
    energies = [rows[n]["hull_energy_eV_per_atom"] for n in able]
    best = linprog(energies, A_eq=fractions, b_eq=fractions[:, able.index(which)])
    return float(rows[which]["hull_energy_eV_per_atom"] - best.fun)


def test_hull_against_linear_programming() -> None:
    random = np.random.default_rng(3)
    rows: list[dict[str, Any]] = [
        {"hull_formula": f"{symbol}2", "hull_energy_eV_per_atom": float(random.normal())}
        for symbol in ("Cu", "Au", "Pd")
    ]
    for _ in range(40):
        numbers = random.integers(0, 4, size=3)
        if numbers.sum():
            formula = "".join(f"{s}{n}" for s, n in zip(("Cu", "Au", "Pd"), numbers, strict=True) if n)
            rows.append({"hull_formula": formula, "hull_energy_eV_per_atom": float(random.normal(-1.0))})
    calls: list[tuple[int, int | None]] = []
    found = hull([*rows, {}], HullSettings(), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(rows) + 1, len(rows) + 1)
    assert found[-1].values == {}
    above = [measured.values["energy_above_hull_eV_per_atom"] for measured in found[:-1]]
    assert above == pytest.approx([above_by_linear_programming(rows, n) for n in range(len(rows))], abs=1e-9)
    assert 0 < sum(value == 0 for value in above) < len(rows)


def test_hull_of_a_screening_in_chunks(engine: Any, copper: Atoms, cu3au: Atoms, relaxed: Any) -> None:
    gold = relaxed(bulk("Au"))
    worse = cu3au.copy()
    worse.rattle(0.05, seed=1)
    chunks = [[copper, worse], [cu3au, gold]]
    settings = HullSettings()
    rows = [measured.values for chunk in chunks for measured in HULL.measure(chunk, engine, settings)]
    assert HULL.finish is not None
    found = [measured.values for measured in HULL.finish(rows, settings)]
    assert [values["energy_above_hull_eV_per_atom"] for values in found] == pytest.approx(
        [0, (energy_of(worse) - energy_of(cu3au)) / 4, 0, 0], abs=1e-9
    )
    assert [values["hull_decomposition"] for values in found] == ["1 Cu", "1 Cu3Au", "1 Cu3Au", "1 Au"]
    known = HullSettings(reference_energies={"AuCu": -10.0})
    below = HULL.finish(rows, known)[2].values
    assert below["hull_decomposition"] == "0.5 Cu + 0.5 CuAu"  # Cu3Au: half of the atoms in each
    assert below["energy_above_hull_eV_per_atom"] == pytest.approx(
        energy_of(cu3au) / 4 - (energy_of(copper) - 10.0) / 2, abs=1e-9
    )


def test_what_the_hull_cannot_do(tmp_path: Path) -> None:
    rows = [{"hull_formula": "Cu3Au", "hull_energy_eV_per_atom": -1.0}]
    (measured,) = hull(rows, HullSettings(reference_energies={"Cu": 0.0}))
    assert measured.error == "the hull needs an energy of pure Au; add it to the structures or references."
    with pytest.raises(ValueError, match=r"still a file; call prepare\(engine, settings\) before"):
        hull(rows, HullSettings(references=tmp_path / "r.extxyz"))


def test_the_engine_of_a_plain_calculator_is_enough(copper: Atoms) -> None:
    (measured,) = HULL.measure([copper * (2, 1, 1)], ASEEngine(EMT()), HullSettings())
    assert measured.values == {"hull_formula": "Cu2", "hull_energy_eV_per_atom": pytest.approx(energy_of(copper))}
