"""Translations, rotations, reflections, the order of atoms, and what they conserve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms

from potentials.testing.samples import cluster, crystal, slab
from potentials.testing.subject import Floats, PotentialUnderTest, require_close


def _samples(subject: PotentialUnderTest) -> dict[str, Atoms]:
    return {
        "cluster": cluster(subject.cutoff, 12),
        "crystal": crystal(subject.cutoff),
        "slab": slab(subject.cutoff),
    }


def translation(subject: PotentialUnderTest) -> None:
    """A structure moved as a whole has the same energy, forces and stress."""
    for name, atoms in _samples(subject).items():
        wanted = subject.answer(atoms)
        subject.require_signal(f"forces of the {name}", wanted.forces)
        moved = atoms.copy()
        moved.positions += subject.cutoff * np.array([1.37, -2.11, 0.73])
        subject.require_same(f"{name} translated", subject.answer(moved), wanted)


def rotation(subject: PotentialUnderTest) -> None:
    """A rotated structure has the same energy, and forces and stress that are rotated with it."""
    _transformed(subject, "rotated", random_rotation())


def reflection(subject: PotentialUnderTest) -> None:
    """A mirror image has the same energy, and forces and stress that are reflected with it."""
    _transformed(subject, "reflected", -random_rotation())


def random_rotation() -> Floats:
    """[3, 3] a proper rotation, always the same."""
    q, r = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    rotation: Floats = q * np.linalg.det(q)
    return rotation


def _transformed(subject: PotentialUnderTest, how: str, matrix: Floats) -> None:
    for name, atoms in _samples(subject).items():
        before = subject.answer(atoms)
        subject.require_signal(f"forces of the {name}", before.forces)
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        wanted = replace(
            before,
            forces=before.forces @ matrix.T,
            virial=matrix @ before.virial @ matrix.T,
            stress=matrix @ before.stress @ matrix.T,
        )
        subject.require_same(f"{name} {how}", subject.answer(turned), wanted)


def permutation(subject: PotentialUnderTest) -> None:
    """Atoms written in another order have the energies and forces that they had."""
    for name, atoms in _samples(subject).items():
        before = subject.answer(atoms)
        order = np.random.default_rng(6).permutation(len(atoms))
        subject.require_signal(f"forces of the {name}", before.forces - before.forces[order])
        wanted = replace(before, energies=before.energies[order], forces=before.forces[order])
        subject.require_same(f"{name} in another order", subject.answer(atoms[order]), wanted)


def conservation(subject: PotentialUnderTest) -> None:
    """Forces add up to zero, and those on an open system exert no torque; the stress is symmetric."""
    for name, atoms in _samples(subject).items():
        answer = subject.answer(atoms)
        subject.require_signal(f"forces of the {name}", answer.forces)
        bound = len(atoms) * subject.value_bound
        require_close(f"{name}: net force (eV/Å)", answer.forces.sum(axis=0), np.zeros(3), bound)
        require_close(f"{name}: virial against its transpose (eV)", answer.virial, answer.virial.T, bound)
        if not atoms.pbc.any():
            arms = atoms.positions - atoms.positions.mean(axis=0)
            torque = np.cross(arms, answer.forces).sum(axis=0)
            require_close(f"{name}: net torque (eV)", torque, np.zeros(3), bound * float(np.abs(arms).max()))
