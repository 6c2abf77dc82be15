"""Moves, turns, mirrors, the order of atoms, and what forces must add up to."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from gfm_ase.doctor.findings import Finding, Skipped
from gfm_ase.doctor.judging import Worst
from gfm_ase.doctor.subject import HARMFUL_FORCE, Answer, Floats, Subject, moved


def translation(subject: Subject) -> Finding:
    """A structure moved as a whole keeps energy and forces."""
    worst = Worst()
    for name, atoms in subject.structures.items():
        before = subject.answer(atoms)
        after = subject.answer(moved(atoms, np.array([3.37, -5.11, 1.73])))
        worst.add_answers(name, after, before, subject.bounds(atoms, before))
    return worst.finding("the same wherever it stands", "changes as the structure is moved")


def rotation(subject: Subject) -> Finding:
    """A turned structure keeps its energy, and its forces turn along."""
    from potentials.testing.symmetry import random_rotation

    return _transformed(subject, random_rotation(), "the same however it is turned", "changes as the structure turns")


def reflection(subject: Subject) -> Finding:
    """A mirror image has the same energy, and mirrored forces."""
    from potentials.testing.symmetry import random_rotation

    return _transformed(subject, -random_rotation(), "the same in a mirror", "changes in a mirror")


def _transformed(subject: Subject, matrix: Floats, passed: str, failed: str) -> Finding:
    worst = Worst()
    for name, atoms in subject.structures.items():
        before = subject.answer(atoms)
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        wanted = Answer(before.energy, before.forces @ matrix.T)
        worst.add_answers(name, subject.answer(turned), wanted, subject.bounds(atoms, before))
    return worst.finding(passed, failed)


def permutation(subject: Subject) -> Finding:
    """Atoms written in another order keep energy and forces."""
    worst = Worst()
    for name, atoms in subject.structures.items():
        if len(atoms) < 2:
            continue
        before = subject.answer(atoms)
        order = np.random.default_rng(subject.seed + 1).permutation(len(atoms))
        wanted = Answer(before.energy, before.forces[order])
        worst.add_answers(name, subject.answer(atoms[order]), wanted, subject.bounds(atoms, before))
    if not worst.seen:
        raise Skipped("all structures are single atoms")
    return worst.finding("the same in any order of atoms", "changes with the order of atoms")


def net_force(subject: Subject) -> Finding:
    """Forces add up to zero, and turn no structure that repeats nowhere."""
    worst = Worst("rounding, as above, times the number of atoms (and their distance from the centre, for torques)")
    for name, atoms in subject.structures.items():
        answer = subject.answer(atoms)
        bound, harmful = len(atoms) * subject.bounds(atoms, answer).forces, len(atoms) * HARMFUL_FORCE
        worst.add(f"net force on {name}", answer.forces.sum(axis=0), 0.0, bound=bound, harmful=harmful, unit="eV/Å")
        if not atoms.pbc.any():
            arms = _arms(atoms)
            torque = np.cross(arms, answer.forces).sum(axis=0)
            reach = max(1.0, float(np.abs(arms).max()))
            worst.add(f"torque on {name}", torque, 0.0, bound=bound * reach, harmful=harmful * reach, unit="eV")
    return worst.finding("forces add up to zero", "forces do not add up to zero")


def _arms(atoms: Atoms) -> Floats:
    arms: Floats = atoms.positions - atoms.positions.mean(axis=0)
    return arms
