"""Strong and weak scaling: steps of more and more processes, what they cost, and how that compares with the fewest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from train.config import BatchConfig
from train.plan.dealing import Dealing, FixedCount, Packed, Separate
from train.plan.machines import Machine
from train.plan.sizes import Population, draw_mixed
from train.plan.step import Options, Processes, StepTime, Work, step_time
from train.separate import shares

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
        ValueError: more batches than can be planned at a time, or fewer than data sets with task parallelism.
    """

    def __init__(self, plan: Plan, most: int, progress: Progress | None = None) -> None:
        self.plan, self.progress = plan, progress
        self.dealing = _separate(plan, most) if plan.task_parallel else _dealing(plan, plan.populations, most)

    def strong(self, ranks: Sequence[int], per_step: int) -> list[Point]:
        """More and more processes for steps of so many batches: the same training, sooner.

        Raises:
            ValueError: fewer batches than processes.
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
            time = step_time(Processes(self.dealing, ranks, per_step), plan.work, plan.machine, plan.options)
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


def _separate(plan: Plan, most: int) -> Dealing:
    """A data set for itself, each with batches in the ratio of what an epoch of it costs by `batch.edge_cost`."""
    if most < len(plan.populations):
        raise ValueError(
            f"task parallelism of {len(plan.populations)} data sets needs steps of as many batches or more, and {most}"
            " are planned; raise --global-batch, or leave out --task-parallel"
        )
    costs = [one.count * float(one.mean @ [1, plan.bounds.edge_cost]) for one in plan.populations]
    batches = shares(most, costs)
    return Separate([_dealing(plan, [one], count) for one, count in zip(plan.populations, batches, strict=True)], costs)
