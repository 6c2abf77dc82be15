"""One training step of many processes: what it is made of, and how long each part takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.cost import CostModel
from train.plan.dealing import Batches, Dealing
from train.plan.machines import Machine
from train.plan.network import WORD, Reduction, all_reduce

Array = NDArray[Any]

BACKWARD = 0.5
"""Share of a batch's time in which gradients of weights are made, beside which they could be summed; assumed."""

SMALL_SUMS = 3
"""Sums of a few numbers in each step: weights of the labels, losses, whether to stop."""

SMALL = 64.0
"""Their bytes."""

STATE_WORDS = 5
"""Numbers of a saved state for each weight: weights, the best, their average, and two moments of AdamW."""


@dataclass(frozen=True)
class Work:
    """What the training computes, on one device.

    Attributes:
        costs: of a batch.
        update: s of one step of the optimizer.
        input: s to assemble one structure of a batch.
        shared: weights of the message passing.
        heads: weights of each head, by data set.
    """

    costs: CostModel
    update: float
    input: float
    shared: int
    heads: dict[str, int]

    @property
    def weights(self) -> int:
        """Of the whole potential."""
        return self.shared + sum(self.heads.values())


@dataclass(frozen=True)
class Options:
    """How the training is spread.

    Attributes:
        reduction: of gradients.
        overlap: share of the sum of gradients that may run beside the pass back of the last batch.
        checkpoint_minutes: between saved states.
    """

    reduction: Reduction = "hierarchical"
    overlap: float = 0.0
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class Processes:
    """Who computes what.

    Attributes:
        dealing: of the data.
        ranks: processes.
        per_step: batches of a step, all together.
    """

    dealing: Dealing
    ranks: int
    per_step: int


@dataclass(frozen=True)
class StepTime:
    """Mean over steps, s; all but `structures` and `atoms`.

    Attributes:
        computing: mean over processes.
        waiting: for the process that has most to compute.
        reducing: sums over processes that nothing runs beside.
        updating: the optimizer.
        loading: assembling batches, as far as nothing runs beside it.
        saving: states, spread over the steps.
        structures: of a step.
        atoms: of a step.
    """

    computing: float
    waiting: float
    reducing: float
    updating: float
    loading: float
    saving: float
    structures: float = field(default=0.0)
    atoms: float = field(default=0.0)

    @property
    def total(self) -> float:
        """Of all parts, s."""
        return self.computing + self.waiting + self.reducing + self.updating + self.loading + self.saving

    @property
    def useful(self) -> float:
        """Share of the time in which processes compute losses and gradients."""
        return self.computing / self.total


def step_time(processes: Processes, work: Work, machine: Machine, options: Options) -> StepTime:
    """Simulate steps of all processes.

    Args:
        processes: and their batches.
        work: on one device.
        machine: on which.
        options: how.
    """
    ranks, slower = processes.ranks, crowded(machine, processes.ranks)
    means, most, loads, last, counts = [], [], [], [], []
    for step in processes.dealing.steps(processes.per_step):
        seconds, loading = _of_ranks(processes, step, work, slower)
        means.append(seconds.mean())
        most.append(seconds.max())
        loads.append(_uncovered(machine, ranks, loading, seconds))
        last.append(work.costs.seconds(*step.sizes[:, :2].T).mean() * slower)
        counts.append(step.sizes[:, [2, 0]].sum(0))
    structures, atoms = np.mean(counts, axis=0)
    parts = {
        "computing": float(np.mean(means)),
        "waiting": float(np.mean(most) - np.mean(means)),
        "reducing": reducing(processes, work, machine, options, BACKWARD * float(np.mean(last))),
        "updating": work.update * slower,
        "loading": float(np.mean(loads)),
    }
    state = STATE_WORDS * WORD * work.weights / machine.storage
    saving = sum(parts.values()) * state / (60 * options.checkpoint_minutes)
    return StepTime(**parts, saving=saving, structures=float(structures), atoms=float(atoms))


def reducing(processes: Processes, work: Work, machine: Machine, options: Options, beside: float) -> float:
    """Seconds of the sums over processes, less what runs beside the pass back.

    Args:
        processes: with all heads, or with those of their data sets: then the message passing is summed over all, and
            each head over its own processes.
        work: weights.
        machine: its links.
        options: reduction and overlap.
        beside: s that the pass back of a batch takes.
    """
    ranks, how = processes.ranks, options.reduction
    if ranks == 1:
        return 0.0
    groups = processes.dealing.groups(processes.per_step, ranks)
    if groups:
        own = zip(groups, work.heads.values(), strict=True)
        heads = [all_reduce(machine, size, WORD * head, how) for size, head in own]
        gradients = all_reduce(machine, ranks, WORD * work.shared, how) + max(heads)
    else:
        gradients = all_reduce(machine, ranks, WORD * work.weights, how)
    small = SMALL_SUMS * all_reduce(machine, ranks, SMALL, how)
    return small + gradients - min(options.overlap * gradients, beside)


def crowded(machine: Machine, ranks: int) -> float:
    """How many times slower one of so many processes computes than one alone."""
    local = min(ranks, machine.ranks_per_node)
    each = -(-ranks // machine.ranks) if ranks > machine.ranks else 1  # more processes than devices take turns
    if machine.ranks_per_node == 1:
        return each * machine.crowding
    return each * (1 + (machine.crowding - 1) * (local - 1) / (machine.ranks_per_node - 1))


def _of_ranks(processes: Processes, step: Batches, work: Work, slower: float) -> tuple[Array, Array]:
    """[R] seconds of computing and of assembling batches, of each process."""
    owners = processes.dealing.owner(len(step), processes.ranks)
    seconds = work.costs.seconds(step.sizes[:, 0], step.sizes[:, 1]) * slower
    loading = work.input * step.sizes[:, 2] * slower
    each = [np.bincount(owners, weights=part, minlength=processes.ranks) for part in (seconds, loading)]
    return each[0], each[1]


def _uncovered(machine: Machine, ranks: int, loading: Array, seconds: Array) -> float:
    """Seconds of assembling batches that do not run beside the computing of the step before."""
    beside = machine.spare_cores or ranks < machine.ranks_per_node
    return float(np.maximum(loading - seconds, 0.0).max() if beside else loading.max())
