"""Neighbour lists of many structures at once: number for number those of each alone, by whatever way they are found."""

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from potentials import batched_neighbours as module
from potentials.batched_neighbours import BatchedNeighbours, batched_neighbours
from potentials.native.build import compiler
from potentials.neighbours import neighbour_list

needs_compiler = pytest.mark.skipif(compiler() is None, reason="without a compiler there is one way alone")


def structures(count: int = 60) -> list[Atoms]:
    """Molecules, skewed crystals of one atom and more, slabs and chains without vacuum, atoms far outside the cell."""
    rng = np.random.default_rng(7)
    found = []
    for number in range(count):
        kinds = [
            lambda: molecule("CH3CH2OH"),
            lambda: bulk("Cu"),
            lambda: bulk("NaCl", "rocksalt", a=5.6, cubic=True),
            lambda: fcc111("Al", (2, 2, 2), vacuum=None),
            lambda: Atoms("C2", [[0, 0, 0], [1.3, 0.2, 0]], cell=[2.6, 0, 0], pbc=[True, False, False]),
            lambda: Atoms("C2", [[0, 0, 0], [1.3, 0.2, 0]], cell=[0, 2.6, 3.1], pbc=[False, True, True]),
            lambda: Atoms("He"),
        ]
        atoms = kinds[number % len(kinds)]()
        if number % 2 and atoms.pbc.any():
            strain = np.eye(3) + rng.normal(size=(3, 3)) * 0.15
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=False)
            atoms.positions = atoms.positions @ strain
        atoms.rattle(0.1, seed=number)
        if number % 3 == 0:
            atoms.positions += rng.normal(size=3) * 30
            if atoms.pbc[0]:
                atoms.positions[0] += 3 * atoms.cell.array[0]
        found.append(atoms)
    return found


def together(atoms: list[Atoms], cutoff: float) -> BatchedNeighbours:
    first = np.concatenate([[0], np.cumsum([len(one) for one in atoms])])
    positions = np.concatenate([one.positions for one in atoms])
    cells, pbc = np.stack([one.cell.array for one in atoms]), np.stack([one.pbc for one in atoms])
    return batched_neighbours(first, positions, cells, pbc, cutoff)


@pytest.mark.parametrize("cutoff", [2.0, 5.0, 8.3])
@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_compiler), False])
def test_the_lists_are_those_of_each(cutoff: float, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if native:
        monkeypatch.setattr(module, "neighbour_list", None)  # nobody else is asked
    else:
        monkeypatch.setattr(module, "_functions", lambda: None)
    atoms = structures()
    found = together(atoms, cutoff)
    first = 0
    for number, one in enumerate(atoms):
        alone = neighbour_list(one.positions, one.cell.array, one.pbc, cutoff, "brute_force")
        rows = slice(found.first_edge[number], found.first_edge[number + 1])
        assert np.array_equal(found.edge_index[:, rows] - first, np.stack([alone.neighbour, alone.centre]))
        assert np.array_equal(found.shift[rows], alone.shift)
        assert np.array_equal(found.reverse[rows] - found.first_edge[number], alone.reverse)
        first += len(one)


def test_large_structures_are_looked_at_by_cells() -> None:
    large = bulk("Cu", cubic=True) * (5, 5, 5)
    assert len(large) > module.MANY_ATOMS
    found = together([molecule("H2O"), large], 4.0)
    alone = neighbour_list(large.positions, large.cell.array, large.pbc, 4.0)
    assert np.array_equal(found.edge_index[1, found.first_edge[1] :] - 3, alone.centre)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "two atoms cannot be in one place"),
        (Atoms("H", pbc=True), "every direction that repeats needs a lattice vector"),
        (Atoms("H", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=True), "linearly dependent"),
        (Atoms("H", cell=[np.nan, 1, 1], pbc=True), "every direction that repeats needs a lattice vector"),
        (Atoms("H", [[0, np.inf, 0]]), "positions must be finite"),
        (Atoms("H", cell=[5e-4, 3, 3], pbc=True), "two atoms cannot be in one place"),
    ],
)
def test_what_cannot_be_right_is_told(wrong: Atoms, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        together([molecule("H2O"), wrong, molecule("CO")], 3.0)


def test_no_structures_and_no_edges() -> None:
    assert together([Atoms("He"), Atoms("Ne")], 3.0).first_edge.tolist() == [0, 0, 0]
    nothing = batched_neighbours(np.zeros(1), np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3)), 3.0)
    assert nothing.edge_index.shape == (2, 0)


@needs_compiler
def test_molecules_take_microseconds() -> None:
    """Thirty times less than one by one here; a third is asked for."""
    atoms = [molecule("CH3CH2OH")] * 200
    together(atoms, 5.0)
    began = time.perf_counter()
    together(atoms, 5.0)
    at_once = time.perf_counter() - began
    began = time.perf_counter()
    for one in atoms:
        neighbour_list(one.positions, one.cell.array, one.pbc, 5.0)
    assert at_once < (time.perf_counter() - began) / 3
