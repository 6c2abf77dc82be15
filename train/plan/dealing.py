"""Batches as the trainer packs and deals them, and batches of a fixed count for comparison; by size alone."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.columns import Columns
from train.config import BatchConfig
from train.labelled import Labelled
from train.sampling import ALIKE, BatchPlan
from train.separate import shares
from train.shuffle import Order
from train.structures import Structures

Array = NDArray[Any]

MOST_STEPS = 20
"""Of an epoch that are simulated."""


class BySize(Structures):
    """Structures of which nothing is known but their sizes.

    Args:
        sizes: [S, 2] atoms and edges.
    """

    def __init__(self, sizes: Array) -> None:
        self._sizes = sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def sizes(self, numbers: Array) -> Array:
        """See `Structures`."""
        found: Array = self._sizes[numbers]
        return found

    def source(self, number: int) -> str:
        """See `Structures`."""
        atoms, edges = self._sizes[number]
        return f"a structure of {atoms} atoms and {edges} edges, which the plan has drawn,"

    def take(self, numbers: Array) -> list[Labelled]:  # noqa: ARG002
        """Not known."""
        raise AssertionError("structures known by size have no content")

    def columns(self, numbers: Array) -> Columns:  # noqa: ARG002
        """Not known."""
        raise AssertionError("structures known by size have no content")

    def digests(self, numbers: Array) -> Array:  # noqa: ARG002
        """Not known."""
        raise AssertionError("structures known by size have no content")

    def fingerprint(self) -> str:
        """Not known."""
        raise AssertionError("structures known by size have no content")


@dataclass(frozen=True)
class Batches:
    """Batches of one step by size, B of them in the order of the plan.

    Attributes:
        numbers: structures in each.
        sizes: [B, 3] atoms, edges and structures.
    """

    numbers: list[list[int]]
    sizes: Array

    def __len__(self) -> int:
        return len(self.numbers)


class Dealing(ABC):
    """How structures become batches of steps."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Batches]] = {}

    def steps(self, per_step: int, most: int = MOST_STEPS) -> list[Batches]:
        """So many whole steps of an epoch, or as many as there are.

        Raises:
            ValueError: there are too few structures for one.
        """
        if per_step not in self._kept:
            steps = itertools.takewhile(lambda step: len(step) == per_step, self._steps(per_step))
            self._kept[per_step] = list(itertools.islice(steps, most))
        if not self._kept[per_step]:
            raise ValueError(f"the structures that were drawn do not fill a step of {per_step:,} batches")
        return self._kept[per_step]

    def owner(self, batches: int, ranks: int) -> Array:
        """[B] which process computes each batch of a step: they are dealt in turn."""
        return np.arange(batches) % ranks

    def groups(self, per_step: int, ranks: int) -> list[int]:  # noqa: ARG002
        """Processes of each head, by data set; none where every process has all heads."""
        return []

    @abstractmethod
    def _steps(self, per_step: int) -> Iterator[Batches]: ...


class Packed(Dealing):
    """What `train.sampling` does.

    Args:
        sizes: [S, 2] atoms and edges.
        bounds: of a batch.
        seed: of the order.
    """

    def __init__(self, sizes: Array, bounds: BatchConfig, seed: int) -> None:
        super().__init__()
        self.sizes, self.bounds, self.seed = sizes, bounds, seed

    def plan(self, per_step: int) -> BatchPlan:
        """That of a run with so many batches a step."""
        order = Order([len(self.sizes)], self.seed)
        streams = max(1, per_step // ALIKE)
        return BatchPlan(BySize(self.sizes), order, self.bounds, per_step=per_step, streams=streams)

    def _steps(self, per_step: int) -> Iterator[Batches]:
        plan = self.plan(per_step)
        for numbers in plan.steps(0):
            sums = [plan.sizes(np.array(batch)).sum(0) for batch in numbers]
            yield Batches(numbers, np.array(sums).reshape(-1, 3))


class Separate(Dealing):
    """Batches of one data set each, as `train.separate` has them for `parallel.tasks`.

    A step has from each data set as many batches as its share of the cost, in the order of the data sets, and
    processes take consecutive ones. Seeds are not those of the trainer.

    Args:
        parts: of each data set, batches as `Packed` or `FixedCount` makes them.
        costs: of an epoch of each data set.
    """

    def __init__(self, parts: Sequence[Dealing], costs: Sequence[float]) -> None:
        super().__init__()
        self.parts, self.costs = parts, costs

    def owner(self, batches: int, ranks: int) -> Array:
        """See `Dealing`."""
        begins = np.arange(ranks + 1) * batches // ranks
        return np.repeat(np.arange(ranks), np.diff(begins))

    def groups(self, per_step: int, ranks: int) -> list[int]:
        """See `Dealing`."""
        owners = np.split(self.owner(per_step, ranks), np.cumsum(shares(per_step, self.costs))[:-1])
        return [len(np.unique(own)) for own in owners]

    def _steps(self, per_step: int) -> Iterator[Batches]:
        counts = shares(per_step, self.costs)
        kept = [part.steps(count, MOST_STEPS) for part, count in zip(self.parts, counts, strict=True)]
        for own in zip(*kept, strict=False):
            numbers = [batch for step in own for batch in step.numbers]
            yield Batches(numbers, np.concatenate([step.sizes for step in own]))


class FixedCount(Dealing):
    """So many structures a batch in random order.

    This is what HydraGNN does by default, and every trainer with PyTorch's DistributedSampler.

    Args:
        sizes: [S, 2] atoms and edges.
        count: structures of a batch.
        seed: of the order.
    """

    def __init__(self, sizes: Array, count: int, seed: int) -> None:
        super().__init__()
        self.sizes, self.count, self.seed = sizes, count, seed

    def _steps(self, per_step: int) -> Iterator[Batches]:
        order = np.random.default_rng([self.seed, 0]).permutation(len(self.sizes))
        each = per_step * self.count
        for first in range(0, len(order) - each + 1, each):
            numbers = order[first : first + each].reshape(per_step, self.count)
            sums = self.sizes[numbers].sum(1)
            yield Batches(numbers.tolist(), np.column_stack([sums, np.full(per_step, self.count)]))
