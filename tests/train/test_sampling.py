"""Batches: every structure once, within the bounds, well filled, the same again; and the thread that makes them."""

import threading
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
import pytest
import torch
from ase.build import molecule

from train.config import BatchConfig
from train.data import label
from train.frame import Frame
from train.labelled import Labelled
from train.sampling import BatchPlan, Loader
from train.shuffle import Order
from train.structures import Held

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


class Sizes(Held):
    """Structures of which nothing but sizes is asked."""

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        super().__init__([])
        self._sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._sizes)

    def source(self, number: int) -> str:
        return f"structure {number}"


def plan_of(sizes: Sequence[tuple[int, int]], bounds: BatchConfig, seed: int = 0, **given: int) -> BatchPlan:
    return BatchPlan(Sizes(sizes), Order([len(sizes)], seed), bounds, **given)


@pytest.mark.parametrize("bounds", EVERY)
def test_every_structure_once_and_within_the_bounds(bounds: BatchConfig) -> None:
    sizes = mixed()
    batches = plan_of(sizes, bounds, seed=3).epoch(0)
    assert Counter(index for batch in batches for index in batch) == Counter(range(len(sizes)))
    for batch in batches:
        assert sum(sizes[index][0] for index in batch) <= (bounds.max_atoms or np.inf)
        assert sum(sizes[index][1] for index in batch) <= (bounds.max_edges or np.inf)
        assert 1 <= len(batch) <= (bounds.max_structures or np.inf)


@pytest.mark.parametrize("bounds", EVERY)
def test_batches_are_well_filled(bounds: BatchConfig) -> None:
    """Filling one batch after the other reaches 0.76 within atoms and edges."""
    plan = plan_of(mixed(), bounds)
    assert 0.9 <= plan.fill(plan.epoch(0)) <= 1.0


def test_the_fill_is_measured_by_the_bound_that_binds() -> None:
    plan = plan_of([(10, 10), (20, 90)], BatchConfig(max_atoms=40, max_edges=100))
    assert plan.fill([[0, 1]]) == pytest.approx(1.0)
    assert plan.fill([[0], [1]]) == pytest.approx((0.25 + 0.9) / 2)


def test_seed_and_epoch_determine_the_batches() -> None:
    sizes = mixed(500)
    plan = plan_of(sizes, BOUNDS, seed=3)
    assert plan.epoch(7) == plan.epoch(7) == plan_of(sizes, BOUNDS, seed=3).epoch(7)
    assert plan.epoch(7) != plan.epoch(8)
    assert plan.epoch(7) != plan_of(sizes, BOUNDS, seed=4).epoch(7)


def test_the_order_has_no_bias_by_size() -> None:
    """The mean size of a structure in the first half of an epoch is that of the second, within chance.

    Over E epochs of S structures the difference of the halves has a standard deviation of about 2 s / sqrt(E S), if
    structures were drawn alone; batches hold many small or few large ones, so twice as much is allowed for.
    """
    sizes = mixed(600)
    plan, epochs = plan_of(sizes, BOUNDS), 20
    halves: tuple[list[int], list[int]] = ([], [])
    for epoch in range(epochs):
        order = [index for batch in plan.epoch(epoch) for index in batch]
        for half, part in zip(halves, (order[:300], order[300:]), strict=True):
            half.extend(sizes[index][0] for index in part)
    deviation = 2 * np.std([atoms for atoms, _ in sizes]) / np.sqrt(epochs * len(sizes))
    assert abs(np.mean(halves[0]) - np.mean(halves[1])) < 2 * 4 * deviation


def test_a_structure_that_fits_no_batch_is_named() -> None:
    with pytest.raises(ValueError, match=r"structure 1 has 600 atoms, more than batch.max_atoms = 512 .* to 600"):
        plan_of([(5, 5), (600, 5)], BOUNDS)
    with pytest.raises(ValueError, match=r"structure 0 has 30000 edges, .* raise batch.max_edges to 30000 at least"):
        plan_of([(5, 30_000)], BOUNDS)
    with pytest.raises(ValueError, match="no training structures"):
        plan_of([], BOUNDS)


def test_a_structure_as_large_as_the_bound_and_one_without_edges_fit() -> None:
    assert sorted(map(sorted, plan_of([(512, 25_000), (1, 0)], BOUNDS).epoch(0))) == [[0], [1]]
    assert plan_of([(1, 0)], BatchConfig(max_edges=10)).epoch(0) == [[0]]
    assert plan_of([(1, 0)], BatchConfig()).epoch(0) == [[0]]


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(("start", "per_step", "size"), [(0, 4, 1), (0, 4, 4), (5, 6, 3), (8, 2, 2)])
def test_processes_share_the_steps_of_an_epoch(streams: int, start: int, per_step: int, size: int) -> None:
    """Whoever takes how many batches at once: all of them together are the batches of the epoch, in its order."""
    plan = plan_of(mixed(300), BatchConfig(max_atoms=1000), streams=streams, per_step=per_step)
    wanted = [batch for batch in plan.epoch(2) if batch]
    count = 4 + max(map(len, (list(plan.stream(2, number)) for number in range(streams)))) * streams // per_step
    shares = [list(islice(plan.steps(2, [start], (rank, size)), count)) for rank in range(size)]
    got = [batch for step in zip(*shares, strict=True) for own in step for batch in own]
    one_by_one = plan_of(mixed(300), BatchConfig(max_atoms=1000), streams=streams)
    before = [batch for step in islice(one_by_one.steps(2), start) for batch in step]
    assert sorted(before + got) == sorted(wanted)
    for step in zip(*shares, strict=True):
        assert sum(map(len, step)) <= per_step


def test_a_process_plans_what_it_has_batches_of_alone() -> None:
    """128 processes, two streams: the first plans half of the structures."""
    plan = plan_of([(20, 400)] * 20_000, BatchConfig(max_atoms=100), streams=2, per_step=128)
    asked: list[int] = []
    sizes = plan.structures.sizes
    plan.structures.sizes = lambda numbers: asked.extend(numbers.tolist()) or sizes(numbers)  # type: ignore[method-assign, func-returns-value]
    list(islice(plan.steps(0, share=(0, 128)), 32))
    assert len(set(asked)) == 10_000


def costs_of(plan: BatchPlan, batches: Sequence[Sequence[int]]) -> list[float]:
    sums = [plan.sizes(np.array(batch)).sum(0) for batch in batches]
    return [float(atoms + plan.edge_cost * edges) for atoms, edges, _ in sums]


def idle(costs: Sequence[float], per_step: int) -> float:
    """Share of the time that processes wait for the one with most to do, each with one batch of a step."""
    steps = [costs[first : first + per_step] for first in range(0, len(costs) - per_step + 1, per_step)]
    return 1 - sum(map(sum, steps)) / (per_step * sum(map(max, steps)))


@pytest.mark.parametrize("per_step", [2, 4, 16, 64])
def test_processes_finish_together(per_step: int) -> None:
    """From 4 to 500 atoms: less than 5 % of the time is idle; batches of a fixed number of structures leave more."""
    rng = np.random.default_rng(1)
    atoms = np.exp(rng.uniform(np.log(4), np.log(500), 20_000)).astype(int)
    sizes = [(int(n), int(n * rng.choice([12, 30, 60]))) for n in atoms]
    plan = plan_of(sizes, BatchConfig(max_atoms=2000))
    ours = idle(costs_of(plan, plan.epoch(0)), per_step)
    fixed = [list(range(first, first + 20)) for first in range(0, len(sizes), 20)]
    assert ours < 0.05
    assert idle(costs_of(plan, fixed), per_step) > 4 * ours


@pytest.fixture
def structures() -> list[Labelled]:
    names = ["H2O", "CH4", "CO2", "H2", "NH3", "O2"]
    return [label(Frame(molecule(name), name, -float(i), None, None), 3.0) for i, name in enumerate(names)]


STEPS = [[[0, 3], [5]], [[1, 2]], [], [[4]]]


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_the_loader_gives_the_batches_of_each_step(structures: list[Labelled], prefetch: int) -> None:
    got = list(Loader(Held(structures), STEPS, prefetch=prefetch))
    assert [len(step) for step in got] == [2, 1, 0, 1]
    for step, indices in zip(got, STEPS, strict=True):
        for batch, numbers in zip(step, indices, strict=True):
            assert batch.source == tuple(structures[number].source[0] for number in numbers)
            assert batch.labels["energy"].tolist() == [-float(number) for number in numbers]


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "loader"]


def test_leaving_early_ends_the_thread(structures: list[Labelled]) -> None:
    steps = iter(Loader(Held(structures), cycle(STEPS), prefetch=1))
    next(steps)
    assert len(loaders()) == 1
    del steps
    assert not loaders()


def test_an_error_in_the_thread_is_raised_where_the_step_is_wanted(structures: list[Labelled]) -> None:
    steps = iter(Loader(Held(structures), [[[0]], [[99]], [[1]]]))
    assert torch.equal(next(steps)[0].graph.numbers, structures[0].graph.numbers)
    with pytest.raises(IndexError):
        next(steps)
    assert not loaders()
