"""Atoms alone, and parts that are far from each other."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from gfm_ase.doctor.findings import Finding, Verdict
from gfm_ase.doctor.judging import Worst
from gfm_ase.doctor.subject import HARMFUL_ENERGY, HARMFUL_FORCE, Bounds, Subject, moved

APART = 60.0
"""Å between parts that are to be alone: beyond every cutoff, and where a Coulomb force is 4 meV/Å."""


def isolated_atoms(subject: Subject) -> Finding:
    """An atom without neighbours has a finite energy and no force, at any place."""
    worst = Worst("no force at all, but for rounding (1e-10 eV/Å)")
    symbols = sorted({symbol for atoms in subject.structures.values() for symbol in atoms.get_chemical_symbols()})
    for symbol in symbols:
        here, there = (subject.answer(Atoms(symbol, positions=[place])) for place in ([0, 0, 0], [4.2, -1.3, 7.7]))
        limits = Bounds(max(1e-9, 1e-12 * abs(here.energy)), 1e-10)
        worst.add_answers(f"a lone {symbol} elsewhere", there, here, limits)
        what = f"force on a lone {symbol}"
        worst.add(what, here.forces, 0.0, bound=1e-10, harmful=HARMFUL_FORCE, unit="eV/Å")
    if subject.needs_cell:
        detail = f"refuses structures without a cell ({subject.needs_cell}); all such were put into cells with vacuum"
        return Finding(Verdict.WARN, detail, source="structures that repeat nowhere are structures, too")
    return worst.finding(f"{len(symbols)} elements have finite energies and no forces", "a lone atom is not alone")


def separated(subject: Subject) -> Finding:
    """Two parts 60 Å apart have the energies and forces that they have alone."""
    worst = Worst("rounding, twice that of one part; a warning up to 0.01 meV/atom, 1 meV/Å")
    for name, atoms in subject.some(subject.structures, 3).items():
        part = atoms.copy()
        part.pbc = False
        part.cell = None
        far = moved(part, np.array([APART + float(np.ptp(part.positions[:, 0])), 0.0, 0.0]))
        alone, both = subject.answer(part), subject.answer(part + far)
        bounds = subject.bounds(part, alone)
        limit = 2 * len(part) * HARMFUL_ENERGY
        worst.add(f"energy of two of {name}", both.energy, 2 * alone.energy, bound=2 * bounds.energy, harmful=limit,
                  unit="eV")  # fmt: skip
        worst.add(f"forces of two of {name}", both.forces, np.tile(alone.forces, (2, 1)), bound=bounds.forces,
                  harmful=HARMFUL_FORCE, unit="eV/Å")  # fmt: skip
    return worst.finding("far parts add up", "far parts do not add up")
