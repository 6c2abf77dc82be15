"""Batches that hold structures of one data set each, and which process computes the heads of which data sets."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from train.config import RunConfig
from train.data import Dataset
from train.sampling import Batch, BatchPlan
from train.shuffle import Order


class SeparatePlan:
    """A plan for each data set; a step takes from each as many batches as its share of the cost.

    The batches of a step stand in the order of the data sets, and processes take consecutive ones: most have batches
    of one data set alone. A data set that is through before the others goes on with empty batches.

    Args:
        datasets: of the run.
        repeats: of each, see `Order`.
        config: bounds of the batches, seed.
        per_step: batches of a step, all processes together.

    Raises:
        ValueError: as `BatchPlan`; fewer batches a step than data sets.
    """

    def __init__(self, datasets: Sequence[Dataset], repeats: Sequence[float], config: RunConfig, per_step: int) -> None:
        if per_step < len(datasets):
            raise ValueError(
                f"batches hold structures of one data set each, and {len(datasets)} data sets share batch.per_step ="
                f" {per_step} batches; set batch.per_step to {len(datasets)} or more"
            )
        self.first = np.concatenate([[0], np.cumsum([len(dataset.train) for dataset in datasets])]).tolist()
        self.plans = []
        costs, self._needed = [], []
        for dataset, repeat in zip(datasets, repeats, strict=True):
            order = Order([len(dataset.train)], _seed(config.seed, dataset.name), [repeat])
            self.plans.append(BatchPlan(dataset.train, order, config.batch))
            summary = dataset.summary
            atoms = int(summary.atoms.sum())
            costs.append(repeat * (atoms + config.batch.edge_cost * summary.edges))
            filled = np.array([atoms, summary.edges, summary.structures]) / self.plans[-1].limits
            self._needed.append(repeat * float(filled.max()))
        self._counts = shares(per_step, costs)

    def length(self, epoch: int) -> int:
        """Structures of an epoch."""
        return sum(plan.length(epoch) for plan in self.plans)

    def idle(self) -> float:
        """Share of the batches of an epoch that are empty, for data sets are through at different times; estimated."""
        steps = max(need / count for need, count in zip(self._needed, self._counts, strict=True))
        return 1 - sum(self._needed) / (steps * sum(self._counts))

    def counts(self) -> list[int]:
        """Batches of each data set in a step."""
        return self._counts

    def first_batch(self) -> Batch:
        """One to try a step on."""
        return next(iter(batch for step in self.steps(0, [0] * len(self.plans)) for batch in step if batch))

    def steps(self, epoch: int, start: Sequence[int], share: tuple[int, int] = (0, 1)) -> Iterator[list[Batch]]:
        """The batches of each step that are one process's; empty ones after the end of the epoch.

        Args:
            epoch: which one.
            start: batches of each data set that are over.
            share: which process, of how many.
        """
        own = self.slots(share)
        asked = [[place for which, place in own if which == dataset] for dataset in range(len(self.plans))]
        streams = [
            itertools.islice(plan.stream(epoch, 0, endless=True), at, None)
            for plan, at in zip(self.plans, start, strict=True)
        ]
        while True:
            step: list[Batch] = []
            for which, (stream, places) in enumerate(zip(streams, asked, strict=True)):
                if places:
                    batches = list(itertools.islice(stream, self._counts[which]))
                    offset = self.first[which]
                    step += [[number + offset for number in batches[place]] for place in places if batches[place]]
            yield step

    def slots(self, share: tuple[int, int]) -> list[tuple[int, int]]:
        """(data set, number among its batches of the step) of the batches of one process, of so many."""
        every = [(which, place) for which, count in enumerate(self._counts) for place in range(count)]
        rank, size = share
        return every[rank * len(every) // size : (rank + 1) * len(every) // size]

    def owners(self, size: int) -> list[list[int]]:
        """For each data set the processes, of so many, that compute its batches."""
        of_rank = [{which for which, _ in self.slots((rank, size))} for rank in range(size)]
        return [[rank for rank in range(size) if which in of_rank[rank]] for which in range(len(self.plans))]


def shares(total: int, costs: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `total`, one at least each, as near to the shares of the costs as can be.

    By largest remainders.
    """
    spare, whole = total - len(costs), sum(costs)
    wanted = [max(0.0, total * cost / whole - 1) for cost in costs]
    scale = spare / sum(wanted) if sum(wanted) else 0.0
    exact = [value * scale for value in wanted]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(costs)), key=lambda which: counts[which] - exact[which])
    for which in by_remainder[: spare - sum(counts)]:
        counts[which] += 1
    return [1 + count for count in counts]


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")
