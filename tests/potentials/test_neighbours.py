"""Neighbour lists against ASE's list and against brute force, and what they refuse."""

import itertools
import time
from importlib.util import find_spec

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from potentials.neighbours import NeighbourList, neighbour_list

Floats = NDArray[np.float64]
Structure = tuple[Floats, Floats, NDArray[np.bool_]]
FAST = ("vesin", "matscipy", "brute_force")
HAS_CLUSTER = find_spec("torch_cluster") is not None
NO_CLUSTER_REASON = "torch_cluster is not installed: an optional extra that is built from source"


def random_structure(seed: int, n_atoms: int, pbc: tuple[bool, bool, bool], spread: float) -> Structure:
    """A skewed cell, small against the cutoff at times, and atoms up to `spread` cells outside."""
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(2.0, 6.0, 3)) + random.uniform(-0.6, 0.6, (3, 3))
    periodic = np.array(pbc)
    if random.random() < 0.5:
        cell[~periodic] = 0.0
    fractional = random.uniform(-spread, 1 + spread, (n_atoms, 3))
    positions = fractional @ np.where(cell.any(axis=1)[:, None], cell, 5 * np.eye(3))
    return positions, cell, periodic


structures = st.builds(
    random_structure,
    seed=st.integers(0, 2**32 - 1),
    n_atoms=st.integers(1, 7),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    spread=st.sampled_from([0.0, 0.5, 4.0]),
)
cutoffs = st.sampled_from([0.9, 2.5, 4.5])


def rows(i: Floats, j: Floats, shift: Floats) -> list[tuple[int, ...]]:
    return sorted(map(tuple, np.column_stack([i, j, shift]).astype(int).tolist()))


def images_oracle(structure: Structure, cutoff: float) -> list[tuple[int, ...]]:
    """Every pair of images, one by one, written as the definition reads."""
    positions, cell, pbc = structure
    found = []
    reach = [range(-16, 17) if repeats else range(1) for repeats in pbc]
    shifts = np.array(list(itertools.product(*reach)))
    for i, j in itertools.product(range(len(positions)), repeat=2):
        distances = np.linalg.norm(positions[j] - positions[i] + shifts @ cell, axis=1)
        near = distances < cutoff
        if i == j:
            near &= shifts.any(axis=1)
        found += [(i, j, *map(int, shift)) for shift in shifts[near]]
    return sorted(found)


def assert_canonical(pairs: NeighbourList) -> None:
    table = np.column_stack([pairs.centre, pairs.neighbour, pairs.shift])
    assert table.tolist() == sorted(table.tolist())
    assert np.array_equal(pairs.centre[pairs.reverse], pairs.neighbour)
    assert np.array_equal(pairs.neighbour[pairs.reverse], pairs.centre)
    assert np.array_equal(pairs.shift[pairs.reverse], -pairs.shift)
    assert np.array_equal(pairs.reverse[pairs.reverse], np.arange(len(pairs.centre)))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(structures, cutoffs)
def test_every_back_end_finds_what_the_definition_says(structure: Structure, cutoff: float) -> None:
    wanted = images_oracle(structure, cutoff)
    for backend in FAST:
        pairs = neighbour_list(*structure, cutoff, backend)
        assert rows(pairs.centre, pairs.neighbour, pairs.shift) == wanted, backend
        assert_canonical(pairs)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_every_back_end_finds_what_ase_finds(seed: int, pbc: tuple[bool, bool, bool]) -> None:
    positions, cell, periodic = random_structure(seed, 4, pbc, spread=0.5)
    if not cell.any(axis=1).all():  # ASE 3.29 itself misses pairs where open directions have no vector
        cell[~cell.any(axis=1)] = np.eye(3)[~cell.any(axis=1)] * 30
    wanted = rows(*primitive_neighbor_list("ijS", periodic, cell, positions, 2.5))
    for backend in (*FAST, "ase"):
        pairs = neighbour_list(positions, cell, periodic, 2.5, backend)
        assert rows(pairs.centre, pairs.neighbour, pairs.shift) == wanted, backend
        assert_canonical(pairs)


def test_ase_back_end_finds_what_bare_ase_misses() -> None:
    """Open directions without a vector: the list is given a full cell, so that its search is complete."""
    structure = random_structure(175448, 2, (False, True, False), spread=0.0)
    assert not structure[1].any(axis=1).all()
    pairs = neighbour_list(*structure, 4.5, "ase")
    assert rows(pairs.centre, pairs.neighbour, pairs.shift) == images_oracle(structure, 4.5) != []


@pytest.mark.parametrize("backend", [*FAST, "ase"])
def test_a_cell_much_smaller_than_the_cutoff(backend: str) -> None:
    """Simple cubic, a = 1: the points of the lattice within 4.1, 256 beside the origin."""
    pairs = neighbour_list(np.zeros((1, 3)), np.eye(3), np.ones(3, dtype=bool), 4.0 + 0.1, backend)
    points = sum(x * x + y * y + z * z < 4.1**2 for x, y, z in itertools.product(range(-5, 6), repeat=3)) - 1
    assert len(pairs.centre) == points == 256


@pytest.mark.parametrize("backend", [*FAST, "ase"])
def test_a_pair_at_exactly_the_cutoff_is_out_from_both_ends(backend: str) -> None:
    a = 4.05
    cell = np.array([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    for cutoff, wanted in ((a * (1 - 1e-12), 12), (a * (1 + 1e-12), 18)):
        pairs = neighbour_list(np.zeros((1, 3)), cell, np.ones(3, dtype=bool), cutoff, backend)
        assert len(pairs.centre) == wanted
        assert_canonical(pairs)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_pairs_at_the_cutoff_stay_symmetric(seed: int) -> None:
    """A rattle of one rounding error at the shell: a pair and its reverse are in or out together, in every back end."""
    random = np.random.default_rng(seed)
    cell, pbc = np.eye(3) * 3.1, np.ones(3, dtype=bool)
    positions = random.normal(size=3) + np.array([[0, 0, 0], [1.55, 1.55, 1.55]]) + random.normal(size=(2, 3)) * 1e-16
    lists = [neighbour_list(positions, cell, pbc, 3.1, backend) for backend in FAST]
    for pairs in lists:
        assert_canonical(pairs)
        assert np.array_equal(pairs.shift, lists[0].shift)


@pytest.mark.parametrize("backend", ["vesin", "matscipy"])
def test_two_atoms_in_a_huge_empty_box_are_fast(backend: str) -> None:
    """Cells of the size of the cutoff would fill 20,000 Å with 4e10 of them."""
    positions = np.array([[0.0, 0.0, 0.0], [19_000.0, 0, 0], [19_001.0, 0, 0]])
    for pbc in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        begin = time.perf_counter()
        pairs = neighbour_list(positions, np.eye(3) * 20_000.0, pbc, 5.0, backend)
        assert time.perf_counter() - begin < 2.0
        assert rows(pairs.centre, pairs.neighbour, pairs.shift) == [(1, 2, 0, 0, 0), (2, 1, 0, 0, 0)]


def test_keys_too_large_for_one_integer_sort_as_well() -> None:
    """Atoms a million cells away: the sorting takes its other way, with the same result."""
    positions = np.array([[0.2, 0.0, 0.0], [1.0, 0.5, 0.0]])
    cell, pbc = np.diag([2.0, 2.0, 50.0]), np.array([True, True, False])
    near = neighbour_list(positions, cell, pbc, 3.0)
    cells = np.array([[0, 0, 0], [1_500_000, -1_400_000, 0]])
    far = neighbour_list(positions + cells @ cell, cell, pbc, 3.0)
    assert_canonical(far)
    shift = near.shift + cells[near.centre] - cells[near.neighbour]
    assert rows(far.centre, far.neighbour, far.shift) == rows(near.centre, near.neighbour, shift)


def test_no_atoms_have_no_neighbours() -> None:
    pairs = neighbour_list(np.zeros((0, 3)), np.eye(3), np.ones(3, dtype=bool), 3.0)
    assert (len(pairs.centre), pairs.shift.shape) == (0, (0, 3))


def test_keep_leaves_a_list_that_is_whole() -> None:
    random = np.random.default_rng(3)
    positions = random.uniform(0, 5, (8, 3))
    cell, pbc = np.eye(3) * 5, np.ones(3, dtype=bool)
    long = neighbour_list(positions, cell, pbc, 4.0)
    distances = np.linalg.norm(positions[long.neighbour] - positions[long.centre] + long.shift @ cell, axis=1)
    short, wanted = long.keep(distances < 2.5), neighbour_list(positions, cell, pbc, 2.5)
    assert_canonical(short)
    assert np.array_equal(short.reverse, wanted.reverse)
    assert np.array_equal(short.shift, wanted.shift)


OPEN, PERIODIC = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
TWO = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "message"),
    [
        (
            TWO,
            np.zeros((3, 3)),
            PERIODIC,
            r"pbc is \[True, True, True\] but the cell is .* set atoms\.cell, or atoms\.pbc",
        ),
        (TWO, np.diag([5.0, 5.0, 0.0]), PERIODIC, "every direction that repeats needs a lattice vector"),
        (TWO, np.full((3, 3), np.nan), PERIODIC, "every direction that repeats needs a lattice vector"),
        (
            TWO,
            np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]]),
            PERIODIC,
            "linearly dependent; the cell has no volume",
        ),
        (
            np.array([[0, 0, 0], [0, np.nan, 0]]),
            np.eye(3),
            OPEN,
            r"position of atom 1 is \[ *0\. +nan +0\.\]; .* finite",
        ),
        (np.array([[0, 0, np.inf]]), np.eye(3), OPEN, "position of atom 0 is .*must be finite"),
        (np.array([[0, 0, 0], [3, 3, 3], [3, 3, 3.0]]), np.eye(3), OPEN, "atoms 1 and 2 are 0.0e.00 Å apart"),
        (np.array([[0, 0, 0], [5, 0, 1e-4]]), 5 * np.eye(3), PERIODIC, "atoms 0 and 1 are 1.0e-04 Å .*periodic images"),
    ],
)
@pytest.mark.parametrize("backend", ["vesin", "matscipy"])
def test_what_is_no_structure_is_refused(
    positions: Floats, cell: Floats, pbc: NDArray[np.bool_], message: str, backend: str
) -> None:
    with pytest.raises(ValueError, match=message):
        neighbour_list(positions, cell, pbc, 3.0, backend)


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"back end 'vesim'; there are ase, brute_force, matscipy, torch_cluster, vesin"
    ):
        neighbour_list(TWO, np.eye(3), OPEN, 3.0, "vesim")


def test_torch_cluster_refuses_periodic_systems() -> None:
    with pytest.raises(ValueError, match="torch_cluster finds neighbours in open systems only; use backend='vesin'"):
        neighbour_list(TWO, 5 * np.eye(3), np.array([False, True, False]), 3.0, "torch_cluster")


@pytest.mark.skipif(HAS_CLUSTER, reason="torch_cluster is installed")
def test_torch_cluster_that_is_missing_says_how_to_get_it() -> None:
    with pytest.raises(ValueError, match=r"needs the extra: pip install gfm-ase\[cluster\]"):
        neighbour_list(TWO, 5 * np.eye(3), OPEN, 3.0, "torch_cluster")


@pytest.mark.skipif(not HAS_CLUSTER, reason=NO_CLUSTER_REASON)
def test_torch_cluster_truncates_nothing() -> None:
    positions = np.random.default_rng(1).uniform(0, 2, (100, 3))
    pairs = neighbour_list(positions, np.zeros((3, 3)), OPEN, 4.0, "torch_cluster")
    wanted = neighbour_list(positions, np.zeros((3, 3)), OPEN, 4.0, "brute_force")
    assert len(pairs.centre) == 9900
    assert np.array_equal(pairs.neighbour, wanted.neighbour)
