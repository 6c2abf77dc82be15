"""Pairs within the cutoff out of longer lists: one pass in C++ gives what torch gives, and both a list made anew."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from md_workflows.batched.fleet import Fleet, fleet_of
from md_workflows.batched.verlet import BatchedVerlet
from potentials.batched_neighbours import batched_neighbours
from potentials.native import pairs
from potentials.native.build import compiler
from potentials.native.pairs import LongPairs, near_pairs

needs_compiler = pytest.mark.skipif(compiler() is None, reason="without a compiler there is one way alone")


def fleet() -> Fleet:
    structures = [bulk("Cu", cubic=True) * (3, 3, 3), molecule("CH3CH2OH"), bulk("Cu"), fcc111("Al", (2, 2, 2))]
    structures[1].cell = np.diag([4.0, 5.0, 3.0])
    structures[1].pbc = [True, False, True]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    structures[3].cell[2] = [0.0, 0.0, 9.0]
    return fleet_of(structures, range(4), torch.device("cpu"))


@needs_compiler
@pytest.mark.parametrize("cutoff", [1.0, 3.0, 5.0])
def test_both_ways_give_a_list_made_anew(cutoff: float) -> None:
    given, verlet = fleet(), BatchedVerlet(cutoff, 0.7)
    verlet.update(given)
    given.atom["positions"] += 0.1 * torch.randn(given.n_atoms, 3, generator=torch.Generator().manual_seed(1))
    native = verlet.update(given)
    assert verlet.n_builds <= 2 * given.n_structures
    assert verlet._long is not None
    plain = verlet._filtered(given, verlet._long)
    columns = (given.starts(), given.atom["positions"], given.graph["cell"], given.graph["pbc"])
    anew = batched_neighbours(*(column.numpy() for column in columns), cutoff)
    for found in (native, plain):
        assert np.array_equal(found.edge_index.numpy(), anew.edge_index)
        assert np.array_equal(found.shift.numpy(), anew.shift)
        assert np.array_equal(found.reverse.numpy(), anew.reverse)


@needs_compiler
def test_the_closest_pair_is_told() -> None:
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 1.25, 0]])
    given, verlet = fleet_of([dimer, molecule("O2")], range(2), torch.device("cpu")), BatchedVerlet(3.0, 0.7)
    verlet.update(given)
    long = verlet._long
    assert long is not None
    listed = LongPairs(long.neighbour, long.centre, long.reverse, long.shift)
    found = near_pairs(listed, given.atom["positions"], given.graph["cell"], given.atom["owner"], 1.2)
    assert found is not None
    assert found.smallest == pytest.approx(min(1.25, molecule("O2").get_distance(0, 1)) ** 2)
    assert found.edge_index.shape == (2, 0)


def test_without_a_compiler_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = BatchedVerlet(4.0, 0.5).update(fleet())
    monkeypatch.setattr(pairs, "_functions", lambda: None)
    without = BatchedVerlet(4.0, 0.5).update(fleet())
    for name in ("edge_index", "shift", "reverse"):
        assert torch.equal(getattr(with_it, name), getattr(without, name))
