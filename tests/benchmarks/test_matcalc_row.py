"""The line of the MatCalc benchmark: as matcalc itself has it, and what becomes of rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from benchmarks.matcalc import elasticity, equilibrium, phonons, softening, summary
from benchmarks.matcalc.fingerprint import fingerprint
from benchmarks.matcalc.journal import Journal
from benchmarks.matcalc.lists import Row, Task, name_of, sample
from benchmarks.matcalc.relaxing import NOT_RELAXED
from md_workflows.engine import ASEEngine

pytest.importorskip("pymatgen")
pytest.importorskip("phonopy")

GOLD = json.loads((Path(__file__).parents[1] / "gold" / "matcalc.json").read_text(encoding="utf-8"))
DFT = {"bulk_modulus_vrh": 100.0, "shear_modulus_vrh": 50.0, "heat_capacity": 90.0, "formation_energy_per_atom": 0.0}


@pytest.fixture(scope="module")
def alloys() -> list[Atoms]:
    made = []
    for name, one in GOLD["alloys"].items():
        atoms = Atoms(one["symbols"], positions=one["positions"], cell=one["cell"], pbc=True)
        atoms.info = {"mp_id": name, "moves": np.array(one["moves"]), **DFT}
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def engine() -> ASEEngine:
    return ASEEngine(EMT())


def of_matcalc(quantity: str) -> list[float]:
    return [one["numbers"][quantity] for one in GOLD["alloys"].values()]


def ours(rows: list[Row], quantity: str) -> list[float]:
    assert [row.error for row in rows] == [""] * len(rows)
    return [row.values[quantity] for row in rows]


def test_elements_are_as_matcalc_has_them(engine: ASEEngine) -> None:
    crystals = [bulk(symbol) for symbol in GOLD["elements"]]
    for atoms in crystals:
        atoms.info["element"] = str(atoms.symbols[0])
    found = equilibrium.elements(crystals, engine)
    assert {row.id: row.values["E"] for row in found} == pytest.approx(GOLD["elements"], abs=1e-9)


def test_distances_and_formation_energies_are_as_matcalc_has_them(alloys: list[Atoms], engine: ASEEngine) -> None:
    found = equilibrium.rows(alloys, engine, GOLD["elements"])
    assert ours(found, "Ef") == pytest.approx(of_matcalc("Ef"), abs=1e-9)
    assert ours(found, "d") == pytest.approx(of_matcalc("d"), abs=1e-9)


def test_moduli_are_as_matcalc_has_them(alloys: list[Atoms], engine: ASEEngine) -> None:
    found = elasticity.rows(alloys, engine)
    assert ours(found, "K") == pytest.approx(of_matcalc("K"), rel=1e-6)
    assert ours(found, "G") == pytest.approx(of_matcalc("G"), rel=1e-6)


@pytest.mark.slow
def test_heat_capacities_are_as_matcalc_has_them(alloys: list[Atoms], engine: ASEEngine) -> None:
    assert ours(phonons.measure_with(None)(alloys, engine), "CV") == pytest.approx(of_matcalc("CV"), rel=1e-6)
    long = phonons.measure_with(12.0)(alloys, engine)
    assert ours(long, "CV") == pytest.approx(of_matcalc("CV of 12 A"), rel=1e-6)


def test_the_heat_capacity_of_one_crystal_is_as_matcalc_has_it(alloys: list[Atoms], engine: ASEEngine) -> None:
    (two,) = [atoms for atoms in alloys if len(atoms) == 2]
    (row,) = phonons.measure_with(None)([two], engine)
    assert row.values["CV"] == pytest.approx(GOLD["alloys"][two.info["mp_id"]]["numbers"]["CV"], rel=1e-6)
    assert row.values["CV"] == pytest.approx(48.0, abs=0.5)  # and near Dulong and Petit's 3 R an atom less quanta


def test_a_fingerprint_is_about_shape_alone() -> None:
    cubic = bulk("Cu", a=3.6, cubic=True)
    turned = cubic * (1, 1, 2)
    turned.rotate(30, (1, 2, 3), rotate_cell=True)
    assert fingerprint(turned) == pytest.approx(fingerprint(cubic), abs=1e-6)
    assert np.linalg.norm(fingerprint(bulk("Fe", a=2.87)) - fingerprint(cubic)) > 0.5


def test_an_element_that_the_potential_does_not_know_is_a_row_with_its_reason(engine: ASEEngine) -> None:
    iron = bulk("Fe", a=2.87)
    iron.info = {"mp_id": "mp-13", **DFT}
    for found in (elasticity.rows([iron], engine), equilibrium.rows([iron], engine, {"Fe": 0.0})):
        assert "Fe" in found[0].error or "EMT" in found[0].error
        assert found[0].id == "mp-13"
        assert not found[0].values


def test_a_missing_reference_costs_the_formation_energy_alone(alloys: list[Atoms], engine: ASEEngine) -> None:
    (row,) = equilibrium.rows(alloys[:1], engine, {"Cu": 0.0})
    assert row.error == "no reference energy of Au"
    assert "d" in row.values
    assert "Ef" not in row.values


def test_fluorine_is_called_by_its_symbol() -> None:
    molecule = Atoms("F2", positions=[[0, 0, 0], [0, 0, 1.4]], cell=[4, 4, 4], pbc=True)
    molecule.info["element"] = False  # as ASE reads element=F
    assert name_of(molecule) == "F"


def test_larger_samples_hold_smaller_ones() -> None:
    frames = [Atoms(info={"mp_id": str(number)}) for number in range(50)]
    names = [[atoms.info["mp_id"] for atoms in sample(frames, limit, seed=0)] for limit in (5, 20, None)]
    assert names[1][:5] == names[0]
    assert names[2][:20] == names[1]
    assert sorted(names[2], key=int) == [str(number) for number in range(50)]


def test_the_slope_of_softened_forces() -> None:
    random = np.random.default_rng(1)
    dft = [random.standard_normal((5, 3)) for _ in range(40)]
    own = [0.8 * forces + 0.01 * random.standard_normal((5, 3)) for forces in dft]
    mean, error = softening.slope(
        [float((f * F).sum()) for f, F in zip(own, dft, strict=True)], [float((F**2).sum()) for F in dft]
    )
    straight = np.linalg.lstsq(np.concatenate(dft).reshape(-1, 1), np.concatenate(own).ravel(), rcond=None)[0][0]
    assert mean == pytest.approx(straight, abs=1e-12)
    assert error == pytest.approx(0.01 / np.sqrt(40 * 15), rel=0.4)


def test_rows_survive_a_kill_in_the_midst_of_a_line(tmp_path: Path) -> None:
    path, settings = tmp_path / "row.rows.jsonl", {"potential": "a"}
    Journal(path, settings).append([Row("phonon", "1", "CuAu", {"CV": 1.5}, ["imaginary modes"])])
    with path.open("a") as file:
        file.write('{"task": "phonon", "id"')
    again = Journal(path, settings)
    again.append([Row("phonon", "2", "Cu")])
    last = Journal(path, settings)
    first = last.row("phonon", "1")
    assert first is not None
    assert (first.values, first.notes) == ({"CV": 1.5}, ["imaginary modes"])
    assert last.row("phonon", "2") is not None
    with pytest.raises(ValueError, match="another potential"):
        Journal(path, {"potential": "b"})
    path.write_text("no rows\n")
    with pytest.raises(ValueError, match="holds no rows"):
        Journal(path, settings)


def test_the_line_counts_what_is_odd_and_names_what_failed() -> None:
    rows = [
        Row("phonon", "1", "A", {"CV": 50.0, "CV_dft": 49.0}),
        Row("phonon", "2", "B", {"CV": 40.0, "CV_dft": 49.0}, [NOT_RELAXED]),
        Row("phonon", "3", "C", {"CV": 52.0, "CV_dft": 49.0}),
        Row("phonon", "4", "D", error="never seen"),
    ]
    task = Task("phonon", [], lambda *_: [], 1, 936)
    found = summary.record([task], {"phonon": rows})
    assert found["numbers"]["CV"]["mean"] == pytest.approx(13 / 3)
    assert found["numbers"]["CV"]["error"] == pytest.approx(np.std([1, 9, 3], ddof=1) / np.sqrt(3))
    assert found["numbers_of_relaxed"]["CV"]["mean"] == pytest.approx(2.0)
    assert found["numbers"]["K"] is None
    assert found["lists"]["phonon"]["failed"] == {"4": "never seen"}
    assert found["lists"]["phonon"]["notes"] == {NOT_RELAXED: ["2"]}
