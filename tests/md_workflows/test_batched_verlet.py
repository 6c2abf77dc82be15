"""Lists of a fleet with a skin are, at every step, those made from nothing, whoever came, left, moved or strained."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from md_workflows.batched.fleet import Fleet, fleet_of
from md_workflows.batched.verlet import BatchedVerlet, StructuresFailedError
from potentials.neighbours import neighbour_list

CPU = torch.device("cpu")
CUTOFF = 4.5


def structures() -> list[Atoms]:
    slab = fcc111("Al", (2, 2, 2), vacuum=5.0)
    wire = Atoms("Cu2", positions=[[0, 0, 0], [0.3, 0.2, 2.1]], cell=[0, 0, 4.0], pbc=[False, False, True])
    return [bulk("Cu"), molecule("CH3CH2OH"), slab, Atoms("Ar"), wire, bulk("NaCl", "rocksalt", a=5.6, cubic=True)]


def check(lists: BatchedVerlet, fleet: Fleet) -> None:
    found = lists.update(fleet)
    starts = fleet.starts().tolist()
    first = 0
    for row in range(fleet.n_structures):
        atoms = fleet.atoms(row)
        expected = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF)
        edges = slice(first, first + len(expected.centre))
        assert np.array_equal(found.edge_index[1, edges].numpy() - starts[row], expected.centre)
        assert np.array_equal(found.edge_index[0, edges].numpy() - starts[row], expected.neighbour)
        assert np.array_equal(found.shift[edges].numpy(), expected.shift)
        assert np.array_equal(found.reverse[edges].numpy() - first, expected.reverse)
        first = edges.stop
    assert first == found.edge_index.shape[1]


def walk(fleet: Fleet, generator: torch.Generator, step: float, strain: float = 0.0) -> None:
    positions, cell = fleet.atom["positions"], fleet.graph["cell"]
    positions += step * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    if strain:
        change = torch.eye(3, dtype=torch.float64) + strain * torch.randn(
            cell.shape, generator=generator, dtype=torch.float64
        )
        positions.copy_(torch.einsum("nc,nck->nk", positions, fleet.of_atoms(change)))
        cell.copy_(cell @ change)


@pytest.mark.parametrize("strain", [0.0, 0.004])
def test_a_fleet_that_moves(strain: float) -> None:
    fleet = fleet_of(structures(), range(6), CPU)
    lists = BatchedVerlet(CUTOFF, skin=0.6)
    generator = torch.Generator().manual_seed(1)
    for _ in range(40):
        check(lists, fleet)
        walk(fleet, generator, 0.02, strain)
    assert 6 < lists.n_builds < 0.6 * 40 * 6  # some were made again, most were not


def test_each_structure_is_made_again_by_itself() -> None:
    fleet = fleet_of(structures(), range(6), CPU)
    lists = BatchedVerlet(CUTOFF, skin=0.6)
    check(lists, fleet)
    fleet.atom["positions"][fleet.atom["owner"] == 2] += 0.05 * torch.arange(24).reshape(8, 3)
    check(lists, fleet)
    assert lists.n_builds == 7


def test_those_that_leave_and_come() -> None:
    given = structures()
    fleet = fleet_of(given[:4], [0, 1, 2, 3], CPU)
    lists = BatchedVerlet(CUTOFF, skin=0.6)
    check(lists, fleet)
    fleet = fleet.keep(torch.tensor([True, False, True, True])).join(fleet_of(given[4:], [4, 5], CPU))
    check(lists, fleet)
    assert lists.n_builds == 6  # those that stayed were not made again
    assert fleet.keys == [0, 2, 3, 4, 5]
    other_order = fleet_of([given[5], given[0]], [5, 0], CPU)
    check(lists, other_order)
    check(lists, fleet_of(given[:1], [99], CPU))


def test_a_part_of_a_fleet_is_written_in_place() -> None:
    fleet = fleet_of(structures(), range(6), CPU)
    part = fleet.part(1, 3)
    assert part.keys == [1, 2]
    assert part.atom["owner"].unique().tolist() == [0, 1]
    part.atom["positions"].zero_()
    assert fleet.atom["positions"][fleet.atom["owner"] == 1].abs().sum() == 0
    assert fleet.atom["positions"][fleet.atom["owner"] == 5].abs().sum() > 0


@pytest.mark.parametrize("late", [False, True])
def test_who_fails_is_named(late: bool) -> None:
    """Whether atoms meet when lists are made, or later within the skin."""
    fleet = fleet_of(structures(), range(6), CPU)
    lists = BatchedVerlet(CUTOFF, skin=9.0 if late else 0.1)
    if late:
        lists.update(fleet)
    rows = (fleet.atom["owner"] == 2).nonzero()[:, 0]
    fleet.atom["positions"][rows[1]] = fleet.atom["positions"][rows[0]] + 1e-5
    fleet.atom["positions"][(fleet.atom["owner"] == 3).nonzero()[0, 0]] = torch.nan
    if late:  # what is no number is met when the list is made anew, and both are told then
        fleet.atom["positions"][(fleet.atom["owner"] == 3).nonzero()[0, 0]] = 0.0
    with pytest.raises(StructuresFailedError) as failure:
        lists.update(fleet)
    assert set(failure.value.reasons) == ({2} if late else {2, 3})
    assert "in one place" in failure.value.reasons[2]
    if not late:
        assert "finite" in failure.value.reasons[3]


def test_a_skin_is_needed() -> None:
    with pytest.raises(ValueError, match="skin is 0"):
        BatchedVerlet(CUTOFF, skin=0)
