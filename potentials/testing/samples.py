"""Structures to test potentials on, in units of the cutoff: every potential sees the same number of neighbours."""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray

ELEMENTS = (1, 6, 8, 29)
"""Atomic numbers in the samples: far apart in the periodic table."""

SPACING = 0.55
"""Cutoffs: edge of a cube that holds one atom of a random structure; 25 neighbours an atom."""

CLOSEST = 0.36
"""Cutoffs: smallest distance in a random structure."""

IMAGES = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.float64)


def cluster(cutoff: float, n_atoms: int, *, seed: int = 0, spacing: float = SPACING) -> Atoms:
    """A random open cluster without a cell."""
    box = np.eye(3) * cutoff * spacing * n_atoms ** (1 / 3)
    closest = cutoff * CLOSEST * spacing / SPACING
    positions = _random_positions(n_atoms, box, closest, images=np.zeros((1, 3)), seed=seed)
    return Atoms(numbers=np.resize(ELEMENTS, n_atoms), positions=positions)


def crystal(cutoff: float, n_atoms: int = 5, *, seed: int = 0) -> Atoms:
    """A random triclinic crystal whose cell is shorter than the cutoff for up to 6 atoms."""
    shape = np.array([[1.0, 0.0, 0.0], [0.25, 0.95, 0.0], [-0.15, 0.3, 1.05]])
    cell = shape * cutoff * SPACING * n_atoms ** (1 / 3)
    positions = _random_positions(n_atoms, cell, cutoff * CLOSEST, images=IMAGES, seed=seed)
    return Atoms(numbers=np.resize(ELEMENTS, n_atoms), positions=positions, cell=cell, pbc=True)


def slab(cutoff: float, *, seed: int = 0) -> Atoms:
    """A random layer that repeats along its first two vectors, and has a third, oblique one that is no period."""
    atoms = crystal(cutoff, seed=seed)
    atoms.pbc = (True, True, False)
    atoms.cell[2] *= 3.0
    return atoms


def lattice_of_one(cutoff: float) -> Atoms:
    """An fcc crystal of one atom a cell, 42 neighbours, the cell half a cutoff long."""
    return bulk("Cu", "fcc", a=0.75 * cutoff)


def lattice_of_four(cutoff: float) -> Atoms:
    """A cubic fcc crystal of four elements, off its sites."""
    atoms = bulk("Cu", "fcc", a=0.75 * cutoff, cubic=True)
    atoms.numbers = ELEMENTS
    atoms.rattle(0.03 * cutoff, seed=3)
    return atoms


def symmetric_crystals(cutoff: float) -> dict[str, Atoms]:
    """Crystals in which symmetry leaves no force on any atom."""
    a = 0.75 * cutoff
    return {
        "fcc": bulk("Cu", "fcc", a=a),
        "bcc": bulk("C", "bcc", a=a, cubic=True),
        "diamond": bulk("C", "diamond", a=1.2 * a),
        "rocksalt": bulk("HO", "rocksalt", a=1.2 * a, cubic=True),
        "cubic": bulk("O", "sc", a=0.6 * a),
    }


def _random_positions(
    n_atoms: int, cell: NDArray[np.float64], closest: float, *, images: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    shifts = images @ cell
    positions = np.empty((0, 3))
    while len(positions) < n_atoms:
        trial = random.random(3) @ cell
        vectors = positions[:, None] + shifts - trial
        if (np.linalg.norm(vectors, axis=2) > closest).all():
            positions = np.vstack([positions, trial])
    return positions
