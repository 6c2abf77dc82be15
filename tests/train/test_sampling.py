"""Batches: every structure once, within the bounds, well filled, the same again; and the thread that makes them."""

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from ase.build import molecule

from train.config import BatchConfig
from train.data import label
from train.frame import Frame
from train.labelled import Labelled
from train.sampling import BatchPlan, Loader

BOUNDS = BatchConfig(max_atoms=512, max_edges=25_000, max_structures=64)
EVERY = [
    BOUNDS,
    BatchConfig(),
    BatchConfig(max_atoms=None, max_edges=25_000),
    BatchConfig(max_atoms=None, max_structures=16),
    BatchConfig(max_atoms=1024, max_structures=4),
]


def mixed(count: int = 3000) -> list[tuple[int, int]]:
    """Molecules of some atoms and cells of up to 400, some dense, some sparse."""
    rng = np.random.default_rng(0)
    atoms = np.where(rng.random(count) < 0.5, rng.integers(1, 30, count), rng.integers(30, 400, count))
    return [(int(n), int(n * rng.integers(5, 60))) for n in atoms]


@pytest.mark.parametrize("bounds", EVERY)
def test_every_structure_once_and_within_the_bounds(bounds: BatchConfig) -> None:
    sizes = mixed()
    batches = BatchPlan(sizes, bounds, seed=3).epoch(0)
    assert Counter(index for batch in batches for index in batch) == Counter(range(len(sizes)))
    for batch in batches:
        assert sum(sizes[index][0] for index in batch) <= (bounds.max_atoms or np.inf)
        assert sum(sizes[index][1] for index in batch) <= (bounds.max_edges or np.inf)
        assert 1 <= len(batch) <= (bounds.max_structures or np.inf)


@pytest.mark.parametrize("bounds", EVERY)
def test_batches_are_well_filled(bounds: BatchConfig) -> None:
    """Filling one batch after the other reaches 0.76 within atoms and edges."""
    plan = BatchPlan(mixed(), bounds, seed=0)
    assert 0.9 <= plan.fill(plan.epoch(0)) <= 1.0


def test_the_fill_is_measured_by_the_bound_that_binds() -> None:
    plan = BatchPlan([(10, 10), (20, 90)], BatchConfig(max_atoms=40, max_edges=100), seed=0)
    assert plan.fill([[0, 1]]) == pytest.approx(1.0)
    assert plan.fill([[0], [1]]) == pytest.approx((0.25 + 0.9) / 2)


def test_seed_and_epoch_determine_the_batches() -> None:
    sizes = mixed(500)
    plan = BatchPlan(sizes, BOUNDS, seed=3)
    assert plan.epoch(7) == plan.epoch(7) == BatchPlan(sizes, BOUNDS, seed=3).epoch(7)
    assert plan.epoch(7) != plan.epoch(8)
    assert plan.epoch(7) != BatchPlan(sizes, BOUNDS, seed=4).epoch(7)


def test_the_order_has_no_bias_by_size() -> None:
    """The mean size of a structure in the first half of an epoch is that of the second, within chance.

    Over E epochs of S structures the difference of the halves has a standard deviation of about 2 s / sqrt(E S), if
    structures were drawn alone; batches hold many small or few large ones, so twice as much is allowed for.
    """
    sizes = mixed(600)
    plan, epochs = BatchPlan(sizes, BOUNDS, seed=0), 20
    halves: tuple[list[int], list[int]] = ([], [])
    for epoch in range(epochs):
        order = [index for batch in plan.epoch(epoch) for index in batch]
        for half, part in zip(halves, (order[:300], order[300:]), strict=True):
            half.extend(sizes[index][0] for index in part)
    deviation = 2 * np.std([atoms for atoms, _ in sizes]) / np.sqrt(epochs * len(sizes))
    assert abs(np.mean(halves[0]) - np.mean(halves[1])) < 2 * 4 * deviation


def test_a_structure_that_fits_no_batch_is_named() -> None:
    with pytest.raises(ValueError, match=r"b\.xyz:1 has 600 atoms, more than batch.max_atoms = 512 .* to 600 at least"):
        BatchPlan([(5, 5), (600, 5)], BOUNDS, 0, ["a.xyz:0", "b.xyz:1"])
    with pytest.raises(ValueError, match=r"structure 0 has 30000 edges, .* raise batch.max_edges to 30000 at least"):
        BatchPlan([(5, 30_000)], BOUNDS, 0)
    with pytest.raises(ValueError, match="no training structures"):
        BatchPlan([], BOUNDS, 0)


def test_a_structure_as_large_as_the_bound_and_one_without_edges_fit() -> None:
    assert sorted(map(sorted, BatchPlan([(512, 25_000), (1, 0)], BOUNDS, 0).epoch(0))) == [[0], [1]]
    assert BatchPlan([(1, 0)], BatchConfig(max_edges=10), 0).epoch(0) == [[0]]
    assert BatchPlan([(1, 0)], BatchConfig(), 0).epoch(0) == [[0]]


@pytest.fixture
def structures() -> list[Labelled]:
    names = ["H2O", "CH4", "CO2", "H2", "NH3", "O2"]
    return [label(Frame(molecule(name), name, -float(i), None, None), 3.0) for i, name in enumerate(names)]


BATCHES = [[0, 3], [5], [1, 2], [4]]


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("start", [0, 2, 4])
def test_the_loader_gives_the_batches_from_where_it_starts(
    structures: list[Labelled], prefetch: int, start: int
) -> None:
    loader = Loader(structures, BATCHES, start=start, prefetch=prefetch)
    got = list(loader)
    assert len(loader) == len(got) == 4 - start
    for batch, indices in zip(got, BATCHES[start:], strict=True):
        assert batch.source == tuple(structures[index].source[0] for index in indices)
        assert batch.labels["energy"].tolist() == [-float(index) for index in indices]


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "loader"]


def test_leaving_early_ends_the_thread(structures: list[Labelled]) -> None:
    batches = iter(Loader(structures, BATCHES * 10, prefetch=1))
    next(batches)
    assert len(loaders()) == 1
    del batches
    assert not loaders()


def test_an_error_in_the_thread_is_raised_where_the_batch_is_wanted(structures: list[Labelled]) -> None:
    batches = iter(Loader(structures, [[0], [99], [1]]))
    assert torch.equal(next(batches).graph.numbers, structures[0].graph.numbers)
    with pytest.raises(IndexError):
        next(batches)
    assert not loaders()
