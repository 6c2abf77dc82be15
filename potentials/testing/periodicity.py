"""Supercells, lattice vectors, wrapping, mixed periodicity."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

import numpy as np
from ase import Atoms

from potentials.neighbours import BACKENDS
from potentials.testing.samples import cluster, crystal, lattice_of_four, lattice_of_one, slab
from potentials.testing.subject import PotentialUnderTest, require_close


def supercell(subject: PotentialUnderTest) -> None:
    """n cells of a crystal have n times its energy, its forces again and again, and its stress."""
    samples = {
        "1-atom cell": lattice_of_one(subject.cutoff),
        "4-atom cell": lattice_of_four(subject.cutoff),
        "triclinic cell": crystal(subject.cutoff),
        "slab": slab(subject.cutoff),
    }
    for name, atoms in samples.items():
        one = subject.answer(atoms)
        subject.require_signal(f"stress times volume of the {name}", one.virial)
        for repeat in ((2, 1, 1), (1, 3, 1), (1, 1, 2)):
            if not atoms.pbc[np.argmax(repeat)]:
                continue
            times, many = max(repeat), subject.answer(atoms.repeat(repeat))
            what = f"{name} repeated {repeat}"
            bound = subject.value_bound
            require_close(f"{what}: energy (eV)", many.energy, times * one.energy, times * len(atoms) * bound)
            require_close(f"{what}: forces (eV/Å)", many.forces, np.tile(one.forces, (times, 1)), bound)
            virial_bound = times * len(atoms) * subject.cutoff * bound
            require_close(f"{what}: virial (eV)", many.virial, times * one.virial, virial_bound)
            stress_bound = virial_bound / (atoms.cell.volume * times)
            require_close(f"{what}: stress (eV/Å³)", many.stress, one.stress, stress_bound)


def lattice_moves(subject: PotentialUnderTest) -> None:
    """An atom moved by lattice vectors, each atom by others, changes nothing."""
    for name, atoms in {"crystal": crystal(subject.cutoff), "slab": slab(subject.cutoff)}.items():
        wanted = subject.answer(atoms)
        subject.require_signal(f"forces of the {name}", wanted.forces)
        moved = atoms.copy()
        cells = np.random.default_rng(8).integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
        moved.positions += cells @ atoms.cell.array
        subject.require_same(f"{name}, atoms moved by lattice vectors", subject.answer(moved), wanted)


def wrapping(subject: PotentialUnderTest) -> None:
    """Atoms wrapped into the cell have the energy and the forces they have outside of it."""
    for name, atoms in {"crystal": crystal(subject.cutoff), "slab": slab(subject.cutoff)}.items():
        outside = atoms.copy()
        outside.positions += np.array([0.4, 0.6, 0.5]) @ atoms.cell.array
        wrapped = outside.copy()
        wrapped.wrap()
        if np.allclose(wrapped.positions, outside.positions):
            raise AssertionError(f"no atom of the {name} had to be wrapped: the test would mean nothing")
        subject.require_same(f"{name} wrapped", subject.answer(wrapped), subject.answer(outside))


def mixed_periodicity(subject: PotentialUnderTest) -> None:
    """With each of the 8 sets of repeating directions the energy is that of a brute-force search."""
    energies = []
    for pbc in itertools.product((False, True), repeat=3):
        atoms = crystal(subject.cutoff)
        atoms.pbc = pbc
        answer = subject.answer(atoms)
        subject.require_same(f"pbc {pbc}", answer, subject.answer(atoms, backend="brute_force"))
        energies.append(answer.energy)
    subject.require_signal("effect of the periodicity on the energy", np.ptp(energies))


def open_directions(subject: PotentialUnderTest) -> None:
    """What stands in the cell along a direction that does not repeat is not looked at."""
    for pbc in itertools.product((False, True), repeat=3):
        if all(pbc):
            continue
        atoms = crystal(subject.cutoff)
        atoms.pbc = pbc
        wanted = subject.answer(atoms)
        emptied = atoms.copy()
        emptied.cell[~atoms.pbc] = 0.0
        answer = subject.answer(emptied)
        require_close(f"pbc {pbc}, no vectors: energy (eV)", answer.energy, wanted.energy, subject.value_bound)
        require_close(f"pbc {pbc}, no vectors: forces (eV/Å)", answer.forces, wanted.forces, subject.value_bound)
        if not np.isnan(answer.stress).all():
            raise AssertionError(f"pbc {pbc}: a cell without volume has no stress, but got {answer.stress.tolist()}")


def neighbour_backends(subject: PotentialUnderTest) -> None:
    """Whatever finds the neighbours, the answer is the same to the bit."""
    samples: dict[str, Atoms] = {
        "cluster": cluster(subject.cutoff, 12),
        "crystal": crystal(subject.cutoff),
        "slab": slab(subject.cutoff),
    }
    for name, atoms in samples.items():
        wanted = subject.answer(atoms)
        subject.require_signal(f"forces of the {name}", wanted.forces)
        for backend in BACKENDS:
            if backend == "torch_cluster" and (atoms.pbc.any() or find_spec("torch_cluster") is None):
                continue  # it finds neighbours of open systems only, and is an optional extra
            answer = subject.answer(atoms, backend=backend)
            require_close(f"{name} by {backend}: energy (eV)", answer.energy, wanted.energy, 0.0)
            require_close(f"{name} by {backend}: forces (eV/Å)", answer.forces, wanted.forces, 0.0)
