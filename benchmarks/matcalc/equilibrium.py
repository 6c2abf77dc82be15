"""Relaxed structures and formation energies as MatCalc's EquilibriumBenchmark makes them."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from benchmarks.matcalc.fingerprint import distance
from benchmarks.matcalc.lists import Row, bare, name_of
from benchmarks.matcalc.relaxing import Relaxed, after_relaxation, notes_of, relax
from md_workflows.engine import Engine
from md_workflows.properties.base import Measured
from md_workflows.properties.stream import reason_of
from md_workflows.relaxation import RelaxResult

LIST = "equilibrium_wbm_random_pbe52"
MOVED = 0.1
"""Å that each atom is moved before the relaxation, anywhere."""


def elements(structures: Sequence[Atoms], engine: Engine) -> list[Row]:
    """Energy per atom of each element's ground state, relaxed with its cell and not moved before."""
    rows = []
    for given, done in zip(structures, relax([bare(atoms) for atoms in structures], engine), strict=True):
        row = Row("elements", name_of(given), str(given.symbols))
        rows.append(row)
        if isinstance(done, RelaxResult):
            row.values, row.notes = {"E": done.energy / len(given)}, notes_of(done)
        else:
            row.error = done
    return rows


def rows(structures: Sequence[Atoms], engine: Engine, references: Mapping[str, float]) -> list[Row]:
    """The fingerprint distance d to the structure of DFT, and the formation energy (eV/atom), by energies of elements.

    `info["moves"]` [N, 3] Å of a structure takes the place of moves of its own.
    """

    def measure(relaxed: list[Relaxed]) -> list[Measured]:
        return [_compared(one, references) for one in relaxed]

    return after_relaxation("equilibrium", [moved(atoms) for atoms in structures], engine, measure)


def moved(atoms: Atoms) -> Atoms:
    """A copy whose atoms are moved by MOVED into some direction, always the same for a structure of this name."""
    random = np.random.default_rng(zlib.crc32(name_of(atoms).encode()))
    moves_N3 = random.standard_normal((len(atoms), 3))
    moves_N3 *= MOVED / np.linalg.norm(moves_N3, axis=1, keepdims=True)
    copy = atoms.copy()
    copy.positions += atoms.info.get("moves", moves_N3)
    copy.info["given"] = atoms.positions.copy()
    return copy


def _compared(one: Relaxed, references: Mapping[str, float]) -> Measured:
    """Both numbers, or those there are and why one is not."""
    dft = bare(one.given)
    dft.positions = one.given.info["given"]
    measured = Measured({"Ef_dft": float(one.given.info["formation_energy_per_atom"])})
    errors = []
    counts = Counter(dft.get_chemical_symbols())
    missing = sorted(set(counts) - set(references))
    if missing:
        errors.append(f"no reference energy of {', '.join(missing)}")
    else:
        elements_eV = sum(number * references[symbol] for symbol, number in counts.items())
        measured.values["Ef"] = (one.result.energy - elements_eV) / len(dft)
    try:
        measured.values["d"] = distance(one.result.atoms, dft)
    except Exception as failure:  # of Voronoi cells, where atoms have flown apart
        errors.append(f"no fingerprint: {reason_of(failure)}")
    return Measured(measured.values, "; ".join(errors))
