"""From a run file to a plan: strong and weak scaling, what they rest on, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from train.cost import LOOKED_AT
from train.plan.machines import HERE
from train.plan.scaling import Plan, Point, Progress, Simulator, mean_structures
from train.plan.sizes import Mix, Population
from train.plan.work import CostsFile
from train.run import Run
from train.shuffle import tempered

LEFT_OUT = (
    "Left out: validation, starting and compiling, failures, other jobs on the network, and that devices of one kind"
    " are not equally fast"
)


@dataclass(frozen=True)
class Scaling:
    """Processes to compare.

    Attributes:
        ranks: numbers of them.
        per_step: batches of a step in strong scaling.
        per_rank: batches of a process in weak scaling.
        fixed_count: structures of batches of a fixed count; none for as many as packed ones hold on average.
    """

    ranks: tuple[int, ...]
    per_step: int
    per_rank: int = 1
    fixed_count: int | None = None


@dataclass(frozen=True)
class Planned:
    """Results.

    Attributes:
        plan: what was planned.
        scaling: for which processes.
        strong: steps of so many batches, packed and dealt as the trainer does.
        weak: so many batches a process.
        fixed: as `strong`, with batches of a fixed count in their place.
        remarks: what the figures rest on, a sentence each.
    """

    plan: Plan
    scaling: Scaling
    strong: list[Point]
    weak: list[Point]
    fixed: list[Point]
    remarks: list[str]

    def titled(self) -> list[tuple[str, list[Point]]]:
        """The three, each with what it is."""
        per_step, per_rank, count = self.scaling.per_step, self.scaling.per_rank, self.scaling.fixed_count
        tasks = ", task parallel" if self.plan.task_parallel else ""
        return [
            (f"Strong scaling: {per_step:,} packed batches a step{tasks}", self.strong),
            (f"Weak scaling: {per_rank:,} packed batches a process{tasks}", self.weak),
            (f"For comparison, strong scaling: {per_step:,} batches of {count} structures a step{tasks}", self.fixed),
        ]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        machine, work, options = self.plan.machine, self.plan.work, self.plan.options
        return {
            "machine": asdict(machine),
            "costs": asdict(work.costs) | {"update": work.update, "input": work.input},
            "weights": {"shared": work.shared, "heads": work.heads},
            "options": asdict(options) | {"task_parallel": self.plan.task_parallel},
            "bounds": self.plan.bounds.model_dump(),
            "data": [
                {"name": one.name, "structures": one.count, "mean_atoms": one.mean[0], "mean_edges": one.mean[1]}
                for one in self.plan.populations
            ],
            "scaling": asdict(self.scaling),
            **{name: [_row(point) for point in getattr(self, name)] for name in ("strong", "weak", "fixed")},
            "remarks": self.remarks,
        }


def make_plan(plan: Plan, scaling: Scaling, remarks: Sequence[str], progress: Progress | None = None) -> Planned:
    """Simulate strong and weak scaling, and strong scaling with batches of a fixed count.

    Raises:
        ValueError: as `train.plan.scaling.Simulator`.
    """
    simulator = Simulator(plan, max(scaling.per_step, max(scaling.ranks) * scaling.per_rank), progress)
    packed = simulator.strong(scaling.ranks, scaling.per_step)
    grown = simulator.weak(scaling.ranks, scaling.per_rank)
    count = scaling.fixed_count or max(1, round(mean_structures(packed)))
    counted = replace(plan, fixed_count=count)
    fixed = Simulator(counted, scaling.per_step, progress).strong(scaling.ranks, scaling.per_step)
    scaling = replace(scaling, fixed_count=count)
    return Planned(plan, scaling, packed, grown, fixed, [*remarks, *_of_packing(plan), *_of_machine(plan), LEFT_OUT])


def populations_of(run: Run) -> tuple[Population, ...]:
    """Sizes of the training structures of a run, as often as they come in an epoch."""
    random = np.random.default_rng(run.config.seed)
    often = tempered([len(dataset.train) for dataset in run.datasets], run.config.batch.temperature)
    found = []
    for dataset, table, times in zip(run.datasets, run.config.dataset, often, strict=True):
        count = len(dataset.train)
        numbers = random.choice(count, LOOKED_AT, replace=False) if count > LOOKED_AT else np.arange(count)
        found.append(Population(dataset.name, round(count * table.repeat * times), dataset.train.sizes(numbers)))
    return tuple(found)


def of_mix(mix: Mix) -> tuple[tuple[Population, ...], list[str]]:
    """Data sets that are not at hand, and where their sizes are from."""
    populations = tuple(one.population() for one in mix.dataset)
    lines = [f"Sizes of {one.name}: {one.source}" for one in mix.dataset]
    return populations, [f"Data: {mix.source}", *lines] if mix.source else lines


def of_costs(costs: CostsFile, factor: float | None, machine: str, path: Path | None) -> list[str]:
    """What a plan must say of its costs: measured where, or assumed."""
    error = "" if costs.relative_error is None else f", {100 * costs.relative_error:.0f} % off the batches they are of"
    measured = f"measured on {costs.device}{error}" if path is None else f"of {path.name}, for {costs.device}{error}"
    if factor is not None:
        return [f"Costs of a batch: {measured}, and divided by {factor:g}, which is ASSUMED for a device of {machine}"]
    if path is None and machine != HERE:
        wrong = f"They are NOT those of a device of {machine}: give --costs or --times-faster"
        return [f"Costs of a batch: {measured}. {wrong}"]
    return [f"Costs of a batch: {measured}"]


def _of_packing(plan: Plan) -> list[str]:
    """Whether batches are packed by what an edge was measured to cost."""
    costs, given = plan.work.costs, plan.bounds.edge_cost
    measured = costs.edge / costs.atom if costs.atom else float("inf")
    if given / 2 <= measured <= 2 * given:
        return []
    rather = f"{measured:.2g} of an atom" if costs.atom else "all, and an atom nothing"
    return [
        f"Packing: batch.edge_cost is {given:g}, and by these costs an edge costs {rather}; batches packed by that"
        " would be closer in time"
    ]


def _of_machine(plan: Plan) -> list[str]:
    lines = [f"{plan.machine.name}: {source}" for source in plan.machine.sources]
    if plan.machine.node_watts:
        lines.append(
            f"Energy is an ESTIMATE: {plan.machine.node_watts:,.0f} W a node throughout, as in a benchmark of dense"
            " matrices"
        )
    return lines


def _row(point: Point) -> dict[str, Any]:
    return {**asdict(point), "useful": point.time.useful, "step": point.time.total}
