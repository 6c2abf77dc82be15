"""Crystals, vacancies and surfaces of the elements of mlearn by a calculator, beside DFT (`mlearn_dft`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.in_use.mlearn_dft import (
    NOTES,
    SITES,
    STRUCTURES,
    Crystal,
    Slab,
    crystal_by_dft,
    frames_of,
    primitive,
    slabs_by_dft,
    surface_energy,
)
from md_workflows import PROPERTIES, CellSettings, Engine, RelaxResult, RelaxSettings, parse_settings
from md_workflows.engine import evaluate_many

CELL = RelaxSettings(optimizer="lbfgs", fmax=1e-3, cell=CellSettings(hydrostatic=True))
"""How crystals are relaxed."""
HOT_FRAMES = 20
"""Of the Vacancy frames of an element, evenly taken from all."""

VACANCY_LENGTH_A = 9.0
"""Least distance of vacancies: cubic supercells of 107, 53 and 63 atoms are left, as in the frames of mlearn."""


def compare_elements(data: Path, engine: Engine, elements: Sequence[str] = tuple(STRUCTURES)) -> dict[str, Any]:
    """By element: `dft`, `model`, `slabs`, `vacancy_frames`, `errors` (what could not be computed) and `note`.

    Lengths in Å, moduli in GPa, vacancies in eV, surfaces in J/m².

    Raises:
        ValueError: the frames of mlearn are not in `data`.
    """
    crystals = {name: crystal_by_dft(frames_of(data, name, "Elastic"), STRUCTURES[name]) for name in elements}
    model = elements_by_model({name: crystal.a0 for name, crystal in crystals.items()}, engine)
    found = {}
    for name, crystal in crystals.items():
        slabs = slabs_by_dft(frames_of(data, name, "Surface"), STRUCTURES[name], crystal)
        energy = model[name]["energy"]
        found[name] = {
            "dft": dft_row(crystal, slabs),
            "model": {key: value for key, value in model[name].items() if key != "errors"},
            "slabs": compare_slabs(slabs, energy, engine),
            "vacancy_frames": compare_vacancies(frames_of(data, name, "Vacancy"), crystal, model[name], engine),
            "errors": model[name]["errors"],
            "note": NOTES.get(name, ""),
        }
    return found


def dft_row(crystal: Crystal, slabs: Sequence[Slab]) -> dict[str, Any]:
    """What is compared with the model's row, under the same names."""
    return {
        "a0": crystal.a0,
        "energy": crystal.energy,
        "B": crystal.bulk_modulus,
        "C11": crystal.C11,
        "C12": crystal.C12,
        "C44_clamped": crystal.C44,
        "surfaces": {slab.facet: slab.energy for slab in slabs if slab.facet},
        "elastic_frames": crystal.frames,
        "elastic_rms_GPa": crystal.rms,
    }


def elements_by_model(starts: Mapping[str, float], engine: Engine) -> dict[str, dict[str, Any]]:
    """By element, from lattice constants to start from (Å): the crystal, its vacancy and its low surfaces.

    What fails is None and a line in `errors`; a crystal that cannot be relaxed has nothing else.
    """
    names = list(starts)
    relaxed = results_of(engine.relax_many([primitive(name, starts[name]) for name in names], CELL), len(names))
    rows: dict[str, dict[str, Any]] = {name: {"a0": None, "energy": None, "errors": []} for name in names}
    cells: dict[str, Atoms] = {}
    for name, done in zip(names, relaxed, strict=True):
        if isinstance(done, str) or not done.converged:
            rows[name]["errors"].append(f"crystal: {done if isinstance(done, str) else 'not relaxed'}")
            continue
        cells[name] = done.atoms
        volume = done.atoms.get_volume() / len(done.atoms) * SITES[STRUCTURES[name]]
        rows[name] |= {"a0": volume ** (1 / 3), "energy": done.energy / len(done.atoms)}
    for key, values in _properties(rows, cells, engine).items():
        for name, (value, error) in values.items():
            rows[name][key] = value
            if error:
                rows[name]["errors"].append(f"{key}: {error}")
    return rows


def _properties(
    rows: Mapping[str, Mapping[str, Any]], cells: Mapping[str, Atoms], engine: Engine
) -> dict[str, dict[str, tuple[Any, str]]]:
    """By name of the number and element: its value and what went wrong."""
    cubic = {name: _cubic(name, rows[name]["a0"]) for name in cells}
    clamped = _measure("elastic", cells, engine, {"relax_ions": False})
    relaxed = _measure("elastic", {name: cells[name] for name in cells if len(cells[name]) > 1}, engine, {"fmax": 2e-3})
    curve = _measure("eos", cells, engine, {"relax_ions": False, "volume_range": 0.06})
    vacancy = _measure("vacancy", cubic, engine, {"min_length_A": VACANCY_LENGTH_A, "max_steps": 200})
    surface = _measure("surface", cells, engine, {"max_miller": 1, "max_steps": 200})
    return {
        "B": {name: (one.values.get("eos_bulk_modulus_GPa"), one.error) for name, one in curve.items()},
        "C11": {name: (one.values.get("C11_GPa"), one.error) for name, one in clamped.items()},
        "C12": {name: (one.values.get("C12_GPa"), "") for name, one in clamped.items()},
        "C44_clamped": {name: (one.values.get("C44_GPa"), "") for name, one in clamped.items()},
        "C44_relaxed": {name: (one.values.get("C44_GPa"), one.error) for name, one in relaxed.items()},
        "vacancy": {n: (one.values.get("vacancy_formation_energy_eV"), one.error) for n, one in vacancy.items()},
        "surfaces": {
            name: (facet_energies(str(one.values.get("surface_all_J_per_m2", ""))), one.error)
            for name, one in surface.items()
        },
    }


def _measure(name: str, structures: Mapping[str, Atoms], engine: Engine, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A property of `md_workflows` for all elements in one stream."""
    row = PROPERTIES[name]
    measured = row.measure(list(structures.values()), engine, parse_settings(row.settings, settings))
    return dict(zip(structures, measured, strict=True))


def _cubic(element: str, a0: float) -> Atoms:
    from ase.build import bulk

    return bulk(element, STRUCTURES[element], a=a0, cubic=True)


def facet_energies(text: str) -> dict[str, float]:
    """`{"100": 1.4, ...}` of the column of all facets, as in "(1 0 0) 1.4000; (1 1 1) 1.3000"."""
    found = {}
    for part in filter(None, text.split("; ")):
        miller, energy = part.rsplit(" ", 1)
        found["".join(sorted(miller.strip("()").split(), reverse=True))] = float(energy)
    return found


def compare_slabs(slabs: Sequence[Slab], energy: float | None, engine: Engine) -> list[dict[str, Any]]:
    """Each Surface frame: `dft`, and `model` at the same geometry; J/m². energy: of the model's crystal, eV/atom."""
    if energy is None:
        return []
    done = results_of(evaluate_many(engine, [_bare(slab.atoms) for slab in slabs]), len(slabs))
    rows = []
    for slab, one in zip(slabs, done, strict=True):
        found = None if isinstance(one, str) else surface_energy(one.energy, slab.atoms, energy)
        rows.append({"facet": slab.facet, "atoms": len(slab.atoms), "dft": slab.energy, "model": found})
    return rows


def compare_vacancies(
    frames: Sequence[Atoms], crystal: Crystal, model: Mapping[str, Any], engine: Engine
) -> dict[str, Any] | None:
    """The hot Vacancy frames: E(cell) − N·E(crystal)/atom by DFT and by the model, eV.

    `bias` and `mae` are of these; `dft_estimate` is the model's formation energy less the bias, `error_of_mean` how far
    chance may move the bias. It is no DFT value: none of the frames is relaxed, and the way from a hot cell to the
    relaxed one is the model's. None where the model has no formation energy.
    """
    if not frames or model.get("vacancy") is None:
        return None
    frames = [frames[place] for place in np.unique(np.linspace(0, len(frames) - 1, HOT_FRAMES).astype(int))]
    done = results_of(evaluate_many(engine, [_bare(atoms) for atoms in frames]), len(frames))
    pairs = [
        (atoms.get_potential_energy() - len(atoms) * crystal.energy, one.energy - len(atoms) * model["energy"])
        for atoms, one in zip(frames, done, strict=True)
        if not isinstance(one, str)
    ]
    if len(pairs) < 2:
        return None
    dft, predicted = np.array(pairs).T
    off = predicted - dft
    return {
        "frames": len(pairs),
        "dft_mean": float(dft.mean()),
        "bias": float(off.mean()),
        "mae": float(np.abs(off).mean()),
        "error_of_mean": float(off.std(ddof=1) / np.sqrt(len(off))),
        "dft_estimate": float(model["vacancy"] - off.mean()),
    }


def results_of(outcomes: Iterable[Any], number: int) -> list[RelaxResult | str]:
    """Results in the order of the structures, or in one line why there is none."""
    found: list[RelaxResult | str] = ["no outcome came back"] * number
    for outcome in outcomes:
        found[outcome.index] = outcome.error if outcome.result is None else outcome.result
    return found


def _bare(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy
