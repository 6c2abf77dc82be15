"""What must not depend on how a crystal is written down."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from gfm_ase.doctor.findings import Finding, Skipped
from gfm_ase.doctor.judging import Worst
from gfm_ase.doctor.subject import Answer, Bounds, Subject


def lattice_move(subject: Subject) -> Finding:
    """Atoms moved by lattice vectors, into other cells, change nothing."""
    worst = Worst()
    repeating = {name: atoms for name, atoms in subject.structures.items() if atoms.pbc.any()}
    if not repeating:
        raise Skipped("no structure repeats in any direction")
    random = np.random.default_rng(subject.seed + 2)
    for name, atoms in repeating.items():
        before = subject.answer(atoms)
        shifts = random.integers(-2, 3, (len(atoms), 3)) * atoms.pbc
        shifts[0, np.flatnonzero(atoms.pbc)[0]] = 1  # never none at all
        other = atoms.copy()
        other.positions += shifts @ atoms.cell.array
        worst.add_answers(name, subject.answer(other), before, subject.bounds(atoms, before))
    return worst.finding("the same in whichever cell atoms are written", "changes as atoms move by lattice vectors")


def supercell(subject: Subject) -> Finding:
    """Two cells beside each other have twice the energy, and the forces of one."""
    worst = Worst()
    for name, atoms in subject.periodic().items():
        before = subject.answer(atoms)
        bounds = subject.bounds(atoms, before)
        wanted = Answer(2 * before.energy, np.tile(before.forces, (2, 1)))
        twice = Bounds(2 * bounds.energy, bounds.forces)
        worst.add_answers(f"two cells of {name}", subject.answer(doubled(atoms)), wanted, twice)
    return worst.finding("two cells are twice one cell", "two cells are not twice one cell")


def doubled(atoms: Atoms) -> Atoms:
    """The 2×1×1 supercell; the atoms of the first cell come first."""
    return atoms * (2, 1, 1)
