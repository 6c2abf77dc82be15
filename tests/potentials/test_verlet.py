"""The reused neighbour list equals a fresh one, always, and is built less often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from potentials.neighbours import neighbour_list
from potentials.verlet import VerletList

CUTOFF = 3.0
PERIODIC = np.ones(3, dtype=bool)


def assert_equals_fresh(
    verlet: VerletList, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
) -> None:
    got, wanted = verlet.update(positions, cell, pbc), neighbour_list(positions, cell, pbc, CUTOFF)
    assert len(wanted.centre) > 0
    for name in ("centre", "neighbour", "shift", "reverse"):
        assert np.array_equal(getattr(got, name), getattr(wanted, name)), name


def start(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cell = np.array([[6.0, 0, 0], [1.5, 5.0, 0], [-1.0, 0.7, 5.5]])
    fractional = (np.indices((3, 3, 3)).reshape(3, -1).T + 0.5 + random.uniform(-0.15, 0.15, (27, 3))) / 3
    return fractional @ cell, cell


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans(), st.booleans()), st.floats(0.1, 2.0))
def test_a_random_walk(seed: int, pbc: tuple[bool, bool, bool], skin: float) -> None:
    random = np.random.default_rng(seed)
    positions, cell = start(random)
    verlet = VerletList(CUTOFF, skin)
    for _ in range(15):
        assert_equals_fresh(verlet, positions, cell, np.array(pbc))
        positions = positions + random.normal(size=positions.shape) * 0.02
        positions[0] += 0.1


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_a_cell_that_changes_its_size_and_shape(seed: int, pbc: tuple[bool, bool, bool]) -> None:
    """Strain and shear of a few per cent a step, atoms with it or left behind, and a random walk on top."""
    random = np.random.default_rng(seed)
    positions, cell = start(random)
    verlet = VerletList(CUTOFF, 1.0)
    for step in range(15):
        assert_equals_fresh(verlet, positions, cell, np.array(pbc))
        deformation = np.eye(3) + random.uniform(-0.015, 0.015, (3, 3))
        cell = cell @ deformation
        if step % 3:
            positions = positions @ deformation
        positions = positions + random.normal(size=positions.shape) * 0.01


def test_it_is_built_less_often_than_it_is_asked() -> None:
    random = np.random.default_rng(0)
    positions, cell = start(random)
    verlet, always = VerletList(CUTOFF, 1.0), VerletList(CUTOFF, 0.0)
    for step in range(100):
        positions = positions + random.normal(size=positions.shape) * 0.01
        scaled = 1 + 1e-4 * step
        assert_equals_fresh(verlet, positions * scaled, cell * scaled, PERIODIC)
        always.update(positions, cell, PERIODIC)
    assert verlet.n_builds <= 4
    assert always.n_builds == 100


def test_atoms_that_stand_in_a_sheared_cell_of_slow_change_do_not_rebuild() -> None:
    """The affine part of the motion costs skin by its stretch alone, not by its displacement of far atoms."""
    positions, cell = start(np.random.default_rng(1))
    far = positions + 50.0  # far from the origin a shear of 1 % displaces by half an Å
    verlet = VerletList(CUTOFF, 1.0)
    for shear in (0.0, 0.01, 0.02):
        deformation = np.eye(3)
        deformation[0, 1] = shear
        assert_equals_fresh(verlet, far @ deformation, cell @ deformation, PERIODIC)
    assert verlet.n_builds == 1


def test_other_atoms_or_another_periodicity_rebuild() -> None:
    positions, cell = start(np.random.default_rng(2))
    verlet = VerletList(CUTOFF, 1.0)
    assert_equals_fresh(verlet, positions, cell, PERIODIC)
    assert_equals_fresh(verlet, positions, cell, np.array([True, False, True]))
    assert_equals_fresh(verlet, positions[:-1], cell, PERIODIC)
    assert verlet.n_builds == 3


def test_the_positions_given_may_be_overwritten() -> None:
    """MD moves atoms in place: the list compares with a copy."""
    positions, cell = start(np.random.default_rng(3))
    verlet = VerletList(CUTOFF, 0.5)
    for _ in range(10):
        assert_equals_fresh(verlet, positions, cell, PERIODIC)
        positions[3] += 0.15
        cell *= 1.005
    assert verlet.n_builds > 1


def test_no_atoms() -> None:
    assert len(VerletList(CUTOFF).update(np.zeros((0, 3)), np.eye(3), PERIODIC).centre) == 0


@pytest.mark.parametrize("skin", [-0.1, float("nan")])
def test_a_negative_skin_is_refused(skin: float) -> None:
    with pytest.raises(ValueError, match=r"skin is (-0\.1|nan) Å; it must be 0 \(rebuild at every step\) or more"):
        VerletList(CUTOFF, skin)


@pytest.mark.parametrize("skin", [0.0, 2.0, 30.0])
def test_a_list_that_could_be_reused_refuses_what_a_fresh_one_refuses(skin: float) -> None:
    positions, cell = start(np.random.default_rng(4))
    verlet = VerletList(CUTOFF, skin)
    verlet.update(positions, cell, PERIODIC)
    coincident, not_finite, no_cell = positions.copy(), positions.copy(), cell.copy()
    coincident[5] = coincident[6]
    not_finite[5, 1] = np.nan
    no_cell[2, 2] = np.nan
    with pytest.raises(ValueError, match=r"atoms 5 and 6 are 0.0e.00 Å apart"):
        verlet.update(coincident, cell, PERIODIC)
    with pytest.raises(ValueError, match="position of atom 5"):
        verlet.update(not_finite, cell, PERIODIC)
    with pytest.raises(ValueError, match="needs a lattice vector"):
        verlet.update(positions, no_cell, PERIODIC)
    with pytest.raises(ValueError, match="needs a lattice vector"):
        verlet.update(positions, 0 * cell, PERIODIC)
    with pytest.raises(ValueError, match="needs a lattice vector"):  # in a direction that does not repeat, too
        verlet.update(positions, no_cell, np.array([True, True, False]))
    assert_equals_fresh(verlet, positions, cell, PERIODIC)
