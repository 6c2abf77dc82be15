"""A simulated step is the sum of its parts, and each part is what can be counted by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.train.test_plan_network import SMALL
from train.config import BatchConfig, RunConfig
from train.cost import CostModel
from train.data import load_datasets
from train.plan.dealing import Batches, Dealing, FixedCount, Packed, Separate
from train.plan.machines import Machine
from train.plan.network import all_reduce
from train.plan.planning import Scaling, make_plan
from train.plan.scaling import Plan, Point, Simulator
from train.plan.sizes import Population
from train.plan.step import BACKWARD, Options, Processes, Work, crowded, reducing, step_time
from train.separate import SeparatePlan, shares

MACHINE = replace(SMALL, node_watts=500.0)
NO_NETWORK = replace(MACHINE, inside=1e30, between=1e30, latency_inside=0.0, latency_between=0.0)
WORK = Work(CostModel(1e-3, 1e-5, 1e-6), update=2e-3, input=1e-5, shared=900_000, heads={"a": 50_000, "b": 50_000})
NEVER = Options(checkpoint_minutes=1e30)
BOUNDS = BatchConfig(max_atoms=128)
MakeConfig = Callable[..., RunConfig]
REPEATED = (("a", 1.0), ("b", 3.0), ("c", 1.7))


def sizes(count: int = 2000) -> np.ndarray:
    random = np.random.default_rng(1)
    atoms = random.integers(2, 60, count)
    return np.column_stack([atoms, atoms * random.integers(5, 40, count)])


def equal(count: int = 2000) -> np.ndarray:
    return np.tile([32, 640], (count, 1))


def share(dealing: Dealing, ranks: int, per_step: int) -> Processes:
    return Processes(dealing, ranks, per_step)


def seconds(step: Batches) -> np.ndarray:
    return WORK.costs.seconds(step.sizes[:, 0], step.sizes[:, 1])


def test_one_process_takes_the_sum_of_the_costs() -> None:
    dealing = Packed(sizes(), BOUNDS, seed=0)
    time = step_time(share(dealing, 1, 8), WORK, MACHINE, NEVER)
    steps = dealing.steps(8)
    assert time.computing == pytest.approx(np.mean([seconds(step).sum() for step in steps]))
    assert time.waiting == pytest.approx(0, abs=1e-12)
    assert time.reducing == 0
    assert time.loading == 0
    assert time.total == pytest.approx(time.computing + WORK.update)
    assert time.atoms == pytest.approx(np.mean([step.sizes[:, 0].sum() for step in steps]))
    assert time.structures == pytest.approx(np.mean([step.sizes[:, 2].sum() for step in steps]))


def test_processes_wait_for_the_slowest() -> None:
    dealing = FixedCount(sizes(), 10, seed=0)
    time = step_time(share(dealing, 4, 8), WORK, MACHINE, NEVER)
    most, mean = [], []
    for step in dealing.steps(8):
        cost = seconds(step)
        each = [cost[rank::4].sum() for rank in range(4)]
        most.append(max(each))
        mean.append(sum(each) / 4)
    assert time.computing == pytest.approx(np.mean(mean))
    assert time.waiting == pytest.approx(np.mean(most) - np.mean(mean))
    assert time.waiting > 0.03 * time.computing


def test_packing_waits_less_than_a_fixed_count() -> None:
    packed = step_time(share(Packed(sizes(), BOUNDS, seed=0), 16, 16), WORK, MACHINE, NEVER)
    fixed = step_time(share(FixedCount(sizes(), 4, seed=0), 16, 16), WORK, MACHINE, NEVER)
    assert packed.waiting / packed.computing < 0.7 * fixed.waiting / fixed.computing


def test_sums_take_what_the_network_takes() -> None:
    time = step_time(share(Packed(sizes(), BOUNDS, seed=0), 8, 8), WORK, MACHINE, NEVER)
    assert time.reducing == pytest.approx(all_reduce(MACHINE, 8, 4e6) + 3 * all_reduce(MACHINE, 8, 64))


def test_what_runs_beside_the_pass_back_does_not_count() -> None:
    four = share(FixedCount(equal(), 4, seed=0), 8, 8)
    gradients, small = all_reduce(MACHINE, 8, 4e6), 3 * all_reduce(MACHINE, 8, 64)
    long, short = 1.0, 0.1 * gradients
    assert reducing(four, WORK, MACHINE, Options(overlap=0.7), long) == pytest.approx(small + 0.3 * gradients)
    assert reducing(four, WORK, MACHINE, Options(overlap=1.0), long) == pytest.approx(small)
    assert reducing(four, WORK, MACHINE, Options(overlap=1.0), short) == pytest.approx(small + 0.9 * gradients)
    batch = float(WORK.costs.seconds(4 * 32, 4 * 640))
    hidden = min(gradients, BACKWARD * batch)
    time = step_time(four, WORK, MACHINE, replace(NEVER, overlap=1.0))
    assert time.reducing == pytest.approx(small + gradients - hidden)


def test_heads_are_summed_over_their_own_processes() -> None:
    """3 to 1: 12 of 16 batches, which are those of the first 12 processes."""
    dealing = Separate([FixedCount(equal(), 4, seed=0), FixedCount(equal(), 4, seed=0)], [3.0, 1.0])
    assert dealing.groups(16, 16) == [12, 4]
    parts = Processes(dealing, 16, 16)
    told = reducing(parts, WORK, MACHINE, Options(), 0.0)
    heads = [all_reduce(MACHINE, 12, 4 * 50_000), all_reduce(MACHINE, 4, 4 * 50_000)]
    small = 3 * all_reduce(MACHINE, 16, 64)
    assert told == pytest.approx(all_reduce(MACHINE, 16, 4 * 900_000) + max(heads) + small)
    time = step_time(parts, WORK, MACHINE, NEVER)
    assert time.computing == pytest.approx(float(WORK.costs.seconds(4 * 32, 4 * 640)))
    assert time.structures == 16 * 4


def test_states_are_saved_now_and_then() -> None:
    """5 numbers of 4 bytes for each of a million weights, 1 GB/s: 20 ms in a minute."""
    time = step_time(share(FixedCount(equal(), 4, seed=0), 1, 1), WORK, MACHINE, Options(checkpoint_minutes=1.0))
    assert time.saving == pytest.approx(0.02 / 60 * (time.total - time.saving))


def test_batches_are_assembled_beside_computing_where_cores_are_free() -> None:
    slow = replace(WORK, input=5e-3)
    four = share(FixedCount(equal(), 4, seed=0), 4, 4)
    cost = float(WORK.costs.seconds(4 * 32, 4 * 640))
    assert step_time(four, slow, MACHINE, NEVER).loading == pytest.approx(20e-3 - cost)
    busy = replace(MACHINE, spare_cores=False)
    assert step_time(four, slow, busy, NEVER).loading == pytest.approx(20e-3)
    assert step_time(replace(four, ranks=2), slow, busy, NEVER).loading == pytest.approx(40e-3 - 2 * cost)


def test_devices_of_one_node_slow_each_other_down() -> None:
    crowd = replace(MACHINE, nodes=1, crowding=1.6)
    assert [crowded(crowd, ranks) for ranks in (1, 2, 4)] == pytest.approx([1.0, 1.2, 1.6])
    assert crowded(crowd, 8) == pytest.approx(2 * 1.6)  # two processes on each device take turns
    assert crowded(replace(crowd, ranks_per_node=1), 1) == pytest.approx(1.6)
    alone, all_four = (
        step_time(share(FixedCount(equal(), 4, seed=0), ranks, 4), WORK, crowd, NEVER) for ranks in (1, 4)
    )
    assert all_four.computing == pytest.approx(1.6 * alone.computing / 4)
    assert all_four.updating == pytest.approx(1.6 * alone.updating)


def plan_of(machine: Machine, work: Work = WORK, **others: object) -> Plan:
    populations = (Population("a", 3000, equal()), Population("b", 1000, equal()))
    return Plan(populations, BOUNDS, work, machine, NEVER, **others)  # type: ignore[arg-type]


def strong(plan: Plan, ranks: list[int], per_step: int) -> list[Point]:
    return Simulator(plan, per_step).strong(ranks, per_step)


def weak(plan: Plan, ranks: list[int], per_rank: int = 1) -> list[Point]:
    return Simulator(plan, max(ranks) * per_rank).weak(ranks, per_rank)


def test_scaling_is_perfect_without_a_network_and_with_equal_sizes() -> None:
    plan = plan_of(NO_NETWORK, replace(WORK, update=0.0, input=0.0))
    for points in (strong(plan, [4, 16, 64], 64), weak(plan, [4, 16, 64])):
        assert [point.efficiency for point in points] == pytest.approx([1.0, 1.0, 1.0])
        assert [point.time.useful for point in points] == pytest.approx([1.0, 1.0, 1.0])
    assert [p.time.total for p in strong(plan, [4, 16, 64], 64)] == pytest.approx(_halves())


def _halves() -> list[float]:
    batch = float(WORK.costs.seconds(4 * 32, 4 * 640))
    return [16 * batch, 4 * batch, batch]


def test_an_epoch_is_all_structures_once() -> None:
    """4,000 structures, 64 batches of 4 a step: 15.625 steps; 16 nodes of 500 W."""
    points = strong(plan_of(MACHINE), [4, 64], 64)
    last = points[-1]
    assert last.epoch_hours == pytest.approx(4000 / 256 * last.time.total / 3600)
    assert (last.nodes, last.ranks) == (16, 64)
    assert last.node_hours == pytest.approx(16 * last.epoch_hours)
    assert last.energy_kWh == pytest.approx(0.5 * last.node_hours)
    assert last.atoms_per_second == pytest.approx(256 * 32 / last.time.total)
    assert last.efficiency == pytest.approx(points[0].time.total / 16 / last.time.total)
    assert strong(plan_of(replace(MACHINE, node_watts=0.0)), [4], 64)[0].energy_kWh is None


def test_weak_scaling_has_the_same_batches_on_each() -> None:
    points = weak(plan_of(MACHINE), [1, 4, 16], per_rank=2)
    assert [point.per_step for point in points] == [2, 8, 32]
    assert [point.time.computing for point in points] == pytest.approx([points[0].time.computing] * 3)
    assert points[-1].efficiency == pytest.approx(points[0].time.total / points[-1].time.total)


def test_task_parallelism_is_for_each_data_set() -> None:
    plan = plan_of(MACHINE, task_parallel=True)
    point = strong(plan, [4, 16], 16)[-1]
    assert point.time.structures == 16 * 4
    heads = [all_reduce(MACHINE, ranks, 4 * 50_000) for ranks in (12, 4)]
    small = 3 * all_reduce(MACHINE, 16, 64)
    assert point.time.reducing == pytest.approx(all_reduce(MACHINE, 16, 4 * 900_000) + max(heads) + small)


@pytest.mark.parametrize(("per_step", "ranks"), [(16, 16), (16, 3), (10, 4), (3, 3)])
def test_tasks_are_shared_out_as_the_trainer_does(per_step: int, ranks: int, make_config: MakeConfig) -> None:
    """The same batches of each data set in a step, and the same processes for them."""
    tables = [{"name": name, "train": "train.extxyz", "valid": "valid.extxyz", "repeat": r} for name, r in REPEATED]
    config = make_config(dataset=tables, batch={"max_atoms": 16})
    datasets = load_datasets(config)
    real = SeparatePlan(datasets, [r for _, r in REPEATED], config, per_step)
    costs = [r * (d.summary.atoms.sum() + 0.3 * d.summary.edges) for d, (_, r) in zip(datasets, REPEATED, strict=True)]
    dealing = Separate([], costs)
    assert shares(per_step, costs) == real.counts()
    assert dealing.groups(per_step, ranks) == [len(owners) for owners in real.owners(ranks)]
    for rank in range(ranks):
        assert (dealing.owner(per_step, ranks) == rank).sum() == len(real.slots((rank, ranks)))


def test_what_cannot_be_planned() -> None:
    with pytest.raises(
        ValueError, match=r"steps of 8 batches leave some of 16 processes nothing to do; set --global-batch"
    ):
        strong(plan_of(MACHINE), [4, 16], 8)
    with pytest.raises(ValueError, match="task parallelism of 2 data sets needs steps of as many batches or more"):
        strong(plan_of(MACHINE, task_parallel=True), [1], 1)
    with pytest.raises(ValueError, match="are more than can be planned at a time, 2,000,000 structures"):
        strong(plan_of(MACHINE), [4], 600_000)


def test_a_plan_says_what_it_rests_on() -> None:
    machine = replace(MACHINE, sources=("a guess",))
    planned = make_plan(plan_of(machine), Scaling((4, 16), 16), ["Costs of a batch: guessed"])
    assert planned.remarks[0] == "Costs of a batch: guessed"
    assert "small: a guess" in planned.remarks
    assert any("Energy is an ESTIMATE: 500 W a node" in remark for remark in planned.remarks)
    assert planned.scaling.fixed_count == 4  # as many as the packed ones hold
    told = planned.as_json()
    assert told["strong"][1]["ranks"] == 16
    assert told["strong"][1]["time"]["waiting"] == planned.strong[1].time.waiting
    assert told["data"][0] == {"name": "a", "structures": 3000, "mean_atoms": 32.0, "mean_edges": 640.0}
    near = make_plan(plan_of(machine, replace(WORK, costs=CostModel(0, 1e-6, 2e-7))), Scaling((4,), 16), [])
    assert not any("edge_cost" in remark for remark in near.remarks)  # a fifth of an atom is near enough
    dear = make_plan(plan_of(machine, replace(WORK, costs=CostModel(0, 1e-6, 1e-6))), Scaling((4,), 16), [])
    assert any("batch.edge_cost is 0.3, and by these costs an edge costs 1 of an atom" in r for r in dear.remarks)
    alone = make_plan(plan_of(machine, replace(WORK, costs=CostModel(0, 0, 1e-6))), Scaling((4,), 16), [])
    assert any("an edge costs all, and an atom nothing" in remark for remark in alone.remarks)
    without = make_plan(plan_of(replace(machine, node_watts=0.0)), Scaling((4,), 16, fixed_count=3), [])
    assert not any("Energy" in remark for remark in without.remarks)
    assert without.scaling.fixed_count == 3
