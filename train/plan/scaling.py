"""Strong and weak scaling: steps of more and more processes, what they cost, and how that compares with the fewest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from train.config import BatchConfig
from train.plan.dealing import Dealing, FixedCount, Packed
from train.plan.machines import Machine
from train.plan.sizes import Population, draw_mixed
from train.plan.step import Options, Share, StepTime, Work, step_time

LEAST_POOL, MOST_POOL = 20_000, 2_000_000
"""Structures that are drawn to be packed."""

STEPS = 2
"""Whole steps of the most batches that the structures drawn should fill."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What is planned.

    Attributes:
        populations: the data sets.
        bounds: of a batch.
        work: on one device.
        machine: on which.
        options: how it is spread.
        seed: of all that is drawn.
        fixed_count: structures of every batch, where they are not packed; none packs as the trainer does.
        task_parallel: each data set has processes of its own.
    """

    populations: tuple[Population, ...]
    bounds: BatchConfig
    work: Work
    machine: Machine
    options: Options
    seed: int = 0
    fixed_count: int | None = None
    task_parallel: bool = False


@dataclass(frozen=True)
class Point:
    """So many processes.

    Attributes:
        ranks: processes.
        nodes: that they take.
        per_step: batches of a step, all processes together.
        time: of a step.
        efficiency: speed of a process relative to that of the fewest processes.
        atoms_per_second: of all processes.
        epoch_hours: for every structure once.
        node_hours: of an epoch.
        energy_kWh: of an epoch, estimated by the power of a node; none where it is not known.
    """

    ranks: int
    nodes: int
    per_step: int
    time: StepTime
    efficiency: float
    atoms_per_second: float
    epoch_hours: float
    node_hours: float
    energy_kWh: float | None


class Simulator:
    """Steps of one plan for more and more processes; structures are drawn and packed once.

    Args:
        plan: what is planned.
        most: batches of the largest step.
        progress: told how many numbers of processes are done.

    Raises:
        ValueError: more batches than can be planned at a time.
    """

    def __init__(self, plan: Plan, most: int, progress: Progress | None = None) -> None:
        self.plan, self.progress = plan, progress
        self.shares = (_by_task if plan.task_parallel else _together)(plan, most)

    def strong(self, ranks: Sequence[int], per_step: int) -> list[Point]:
        """More and more processes for steps of so many batches: the same training, sooner.

        Raises:
            ValueError: fewer batches than processes, or fewer processes than data sets with task parallelism.
        """
        if max(ranks) > per_step:
            raise ValueError(
                f"steps of {per_step:,} batches leave some of {max(ranks):,} processes nothing to do; set"
                f" --global-batch or batch.per_step to {max(ranks):,} or more, or ask for fewer --ranks"
            )
        return self._points([(number, per_step) for number in ranks], "strong scaling")

    def weak(self, ranks: Sequence[int], per_rank: int = 1) -> list[Point]:
        """More and more processes with so many batches each: steps of more structures."""
        return self._points([(number, number * per_rank) for number in ranks], "weak scaling")

    def _points(self, wanted: Sequence[tuple[int, int]], what: str) -> list[Point]:
        plan = self.plan
        points: list[Point] = []
        for number, (ranks, per_step) in enumerate(wanted):
            time = step_time(self.shares(ranks, per_step), plan.work, plan.machine, plan.options)
            points.append(_point(plan, ranks, per_step, time, points[0] if points else None))
            if self.progress:
                self.progress(what, number + 1, len(wanted))
        return points


def mean_structures(points: Sequence[Point]) -> float:
    """Of a batch."""
    return sum(point.time.structures for point in points) / sum(point.per_step for point in points)


def _point(plan: Plan, ranks: int, per_step: int, time: StepTime, first: Point | None) -> Point:
    total = sum(one.count for one in plan.populations)
    hours = total / time.structures * time.total / 3600
    nodes, speed = plan.machine.nodes_of(ranks), time.atoms / time.total
    efficiency = 1.0 if first is None else (speed / ranks) / (first.atoms_per_second / first.ranks)
    watts = plan.machine.node_watts
    energy = nodes * hours * watts / 1e3 if watts else None
    return Point(ranks, nodes, per_step, time, efficiency, speed, hours, nodes * hours, energy)


def _dealing(plan: Plan, populations: Sequence[Population], batches: int) -> Dealing:
    """Of as many structures, drawn at random, as fill so many batches several times."""
    random = np.random.default_rng([plan.seed, len(populations)])
    make: Callable[..., Dealing] = partial(Packed, bounds=plan.bounds)
    if plan.fixed_count:
        make = partial(FixedCount, count=plan.fixed_count)
    sample = make(draw_mixed(populations, LEAST_POOL, random), seed=plan.seed)
    each = float(np.concatenate([step.sizes[:, 2] for step in sample.steps(1, 100)]).mean())
    if batches * each > MOST_POOL:
        raise ValueError(
            f"steps of {batches:,} batches of {each:.0f} structures are more than can be planned at a time,"
            f" {MOST_POOL:,} structures; lower --ranks, --per-rank or --global-batch"
        )
    # a tenth more, for the share of each data set is drawn too
    number = min(max(LEAST_POOL, math.ceil(1.1 * STEPS * batches * each)), math.ceil(1.1 * MOST_POOL))
    return make(draw_mixed(populations, number, random), seed=plan.seed)


def _together(plan: Plan, most: int) -> Callable[[int, int], list[Share]]:
    dealing = _dealing(plan, plan.populations, most)
    heads = tuple(plan.work.heads)
    return lambda ranks, per_step: [Share(dealing, ranks, per_step, heads)]


def _by_task(plan: Plan, most: int) -> Callable[[int, int], list[Share]]:
    """Processes for each data set, in the ratio of what one epoch of it costs."""
    costs = plan.work.costs
    seconds = np.array([one.count * (costs.atom * one.mean[0] + costs.edge * one.mean[1]) for one in plan.populations])
    batches = split(max(most, len(seconds)), seconds)
    dealings = [_dealing(plan, [one], number) for one, number in zip(plan.populations, batches, strict=True)]

    def shares(ranks: int, per_step: int) -> list[Share]:
        own, batches = split(ranks, seconds), split(max(per_step, len(seconds)), seconds)
        return [
            Share(dealing, number, max(number, of_step), (one.name,))
            for dealing, number, of_step, one in zip(dealings, own, batches, plan.populations, strict=True)
        ]

    return shares


def split(ranks: int, work: np.ndarray) -> list[int]:
    """Processes of each task, one at least, the others in the ratio of the work by largest remainders.

    Raises:
        ValueError: fewer processes than tasks.
    """
    if ranks < len(work):
        raise ValueError(
            f"task parallelism of {len(work)} data sets needs {len(work)} processes or more, and {ranks} are asked for;"
            " raise --ranks, or leave out --task-parallel"
        )
    ideal = work / work.sum() * (ranks - len(work))
    own = np.floor(ideal).astype(int)
    for place in np.argsort(own - ideal, kind="stable")[: ranks - len(work) - int(own.sum())]:
        own[place] += 1
    return [int(number) + 1 for number in own]
