"""Batches as the trainer packs and deals them, and batches of a fixed count for comparison; by size alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.config import BatchConfig
from train.sampling import BatchPlan

Array = NDArray[Any]


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
    """How structures become batches, and batches the work of processes."""

    @cached_property
    def epoch(self) -> Batches:
        """All batches of an epoch."""
        return self._batches()

    @abstractmethod
    def _batches(self) -> Batches: ...

    @abstractmethod
    def owners(self, step: Batches, ranks: int) -> Array:
        """[B] which process computes each batch of a step."""

    def steps(self, per_step: int) -> list[Batches]:
        """The whole steps of an epoch; at least one, with what there is."""
        whole = self.epoch
        count = max(1, len(whole) // per_step)
        return [_part(whole, slice(number * per_step, (number + 1) * per_step)) for number in range(count)]


class Packed(Dealing):
    """What `train.sampling` does.

    Args:
        sizes: [S, 2] atoms and edges.
        bounds: of a batch.
        seed: of the order.
    """

    def __init__(self, sizes: Array, bounds: BatchConfig, seed: int) -> None:
        self.plan = BatchPlan([(int(atoms), int(edges)) for atoms, edges in sizes], bounds, seed)

    def _batches(self) -> Batches:
        numbers = self.plan.epoch(0)
        return Batches(numbers, np.array([self.plan.sizes[batch].sum(0) for batch in numbers]))

    def owners(self, step: Batches, ranks: int) -> Array:
        """See `Dealing`."""
        found = np.empty(len(step), dtype=np.int64)
        place = {batch[0]: number for number, batch in enumerate(step.numbers)}
        for rank, batches in enumerate(self.plan.shared(step.numbers, ranks)):
            for batch in batches:
                found[place[batch[0]]] = rank
        return found


class FixedCount(Dealing):
    """So many structures a batch in random order, one batch after the other to one process after the other.

    This is what HydraGNN does by default, and every trainer with PyTorch's DistributedSampler.

    Args:
        sizes: [S, 2] atoms and edges.
        count: structures of a batch.
        seed: of the order.
    """

    def __init__(self, sizes: Array, count: int, seed: int) -> None:
        self.sizes, self.count, self.seed = sizes, count, seed

    def _batches(self) -> Batches:
        order = np.random.default_rng([self.seed, 0]).permutation(len(self.sizes))
        whole = max(1, len(order) // self.count) * self.count
        numbers = order[:whole].reshape(-1, min(self.count, len(order)))
        sums = self.sizes[numbers].sum(1)
        return Batches(numbers.tolist(), np.column_stack([sums, np.full(len(sums), numbers.shape[1])]))

    def owners(self, step: Batches, ranks: int) -> Array:
        """See `Dealing`."""
        return np.arange(len(step)) % ranks


def _part(batches: Batches, which: slice) -> Batches:
    return Batches(batches.numbers[which], batches.sizes[which])
