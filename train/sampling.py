"""Which structures go into which batch, and the batches themselves."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from queue import Full, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.config import BatchConfig
from train.labelled import Labelled
from train.packing import packed
from train.shuffle import Order
from train.structures import Structures

Array = NDArray[Any]

BLOCK = 2048
"""Structures that are packed together: more pack better, fewer are quicker to plan."""

ALIKE = 64
"""Batches of like cost that follow each other: those of one step are among them, so that processes finish together."""

LOOKED_AT = 1 << 20
"""Sizes that are looked at together."""

UNBOUNDED = 2**62
"""Stands for a bound that is not set: never reached, and never near."""

WAIT_SECONDS = 0.1

Batch = list[int]


class BatchPlan:
    """Batches of numbers of structures, bounded and of nearly equal cost; the same for the same seed and epoch.

    Nothing in memory grows with the number of structures but what `structures` and `order` hold, and no more is planned
    than is asked for. The structures of an epoch are dealt to several streams, each of which is packed for itself: a
    process plans those alone that it has batches of. Batches are numbered through the streams in turn.

    Args:
        structures: of all data sets.
        order: in which they come.
        bounds: what a batch may hold, and what an edge costs.
        per_step: batches of a step, all processes together.
        streams: how many there are.

    Raises:
        ValueError: there are no structures, or one does not fit into a batch of its own.
    """

    def __init__(
        self, structures: Structures, order: Order, bounds: BatchConfig, *, per_step: int = 1, streams: int = 1
    ) -> None:
        if not len(structures):
            raise ValueError("there are no training structures to make batches of")
        assert len(order) == len(structures)
        limits = {"max_atoms": bounds.max_atoms, "max_edges": bounds.max_edges, "max_structures": bounds.max_structures}
        self.structures, self.order, self.edge_cost = structures, order, bounds.edge_cost
        self.per_step, self.streams = per_step, streams
        self.limits = np.array([limit or UNBOUNDED for limit in limits.values()], dtype=np.int64)
        for first in range(0, len(structures), LOOKED_AT):
            self._check(np.arange(first, min(first + LOOKED_AT, len(structures))))

    def _check(self, numbers: Array) -> None:
        sizes = self.sizes(numbers)
        for row, (key, what) in enumerate([("max_atoms", "atoms"), ("max_edges", "edges")]):
            largest = int(sizes[:, row].argmax())
            size = int(sizes[largest, row])
            if size > self.limits[row]:
                raise ValueError(
                    f"{self.structures.source(int(numbers[largest]))} has {size} {what}, more than batch.{key} ="
                    f" {self.limits[row]} allows in a batch; raise batch.{key} to {size} at least"
                )

    def sizes(self, numbers: Array) -> Array:
        """[M, 3] what structures take of each bound: atoms, edges, and 1."""
        return np.column_stack([self.structures.sizes(numbers), np.ones(len(numbers), dtype=np.int64)])

    def length(self, epoch: int) -> int:
        """Structures of an epoch."""
        return self.order.length(epoch)

    def epoch(self, epoch: int) -> list[Batch]:
        """All batches of an epoch."""
        turns = zip(*(self.stream(epoch, number, endless=True) for number in range(self.streams)), strict=True)
        return [batch for turn in itertools.takewhile(any, turns) for batch in turn if batch]

    def stream(self, epoch: int, number: int, *, endless: bool = False) -> Iterator[Batch]:
        """The batches of one stream of an epoch, block by block; an endless one goes on with empty ones.

        Those of a block stand in runs of like cost, the runs in random order.
        """
        length = self.length(epoch)
        for block, first in enumerate(range(number, length, self.streams * BLOCK)):
            positions = np.arange(first, min(first + self.streams * BLOCK, length), self.streams)
            yield from self._block(self.order.at(epoch, positions), [self.order.seed, epoch, number, block])
        while endless:
            yield []

    def _block(self, numbers: Array, key: Sequence[int]) -> list[Batch]:
        random = np.random.default_rng(key)
        sizes = self.sizes(numbers)
        costs = sizes[:, 0] + self.edge_cost * sizes[:, 1]
        batches = packed(sizes, costs, self.limits)
        batches = [batches[place] for place in random.permutation(len(batches)).tolist()]
        alike = sorted(batches, key=lambda rows: float(costs[rows].sum()))
        runs = [alike[begin : begin + ALIKE] for begin in range(0, len(alike), ALIKE)]
        shuffled = [runs[place] for place in random.permutation(len(runs)).tolist()]
        # ascending: structures of one data set lie side by side in memory, and are made together
        return [np.sort(numbers[rows]).tolist() for run in shuffled for rows in run]

    def counts(self) -> list[int]:
        """Batches of a step; of each data set where these have batches of their own, see `train.separate`."""
        return [self.per_step]

    def first_batch(self) -> Batch:
        """One to try a step on."""
        return next(self.stream(0, 0))

    def steps(self, epoch: int, start: Sequence[int] = (0,), share: tuple[int, int] = (0, 1)) -> Iterator[list[Batch]]:
        """The batches of each step that are one process's, from a batch on; empty ones after the end of the epoch.

        Args:
            epoch: which one.
            start: number of the batch to begin with, which need not be the first of a step.
            share: which process, of how many.
        """
        (begin,), (rank, size), per_step = start, share, self.per_step
        streams: dict[int, tuple[int, Iterator[Batch]]] = {}
        for first in itertools.count(begin, per_step):
            own = []
            for number in range(first + rank, first + per_step, size):
                which, wanted = number % self.streams, number // self.streams
                at, batches = streams.pop(which, (0, self.stream(epoch, which, endless=True)))
                own.append(next(itertools.islice(batches, wanted - at, None)))
                streams[which] = wanted + 1, batches
            yield [batch for batch in own if batch]

    def fill(self, batches: Sequence[Batch]) -> float:
        """How full batches are on average, by the bound that each comes closest to; 1 is full."""
        return float(np.mean([(self.sizes(np.array(batch)).sum(0) / self.limits).max() for batch in batches]))


class Loader:
    """Iterates steps, each some batches; a thread assembles the next ones while the last are used.

    Args:
        structures: that the numbers count.
        steps: numbers in each batch of each step; there need be no end.
        prefetch: steps assembled ahead; 0 for none, and no thread.
        pin_memory: in page-locked memory, for a GPU.
    """

    def __init__(
        self, structures: Structures, steps: Iterable[Sequence[Batch]], *, prefetch: int = 2, pin_memory: bool = False
    ) -> None:
        self.structures, self.steps, self.prefetch, self.pin_memory = structures, steps, prefetch, pin_memory

    def __iter__(self) -> Generator[list[Labelled]]:
        return self._ahead() if self.prefetch else (self._assemble(step) for step in self.steps)

    def _assemble(self, step: Sequence[Batch]) -> list[Labelled]:
        found = [self.structures.batch(np.array(batch, dtype=np.int64)) for batch in step]
        return [batch.pin_memory() for batch in found] if self.pin_memory else found

    def _ahead(self) -> Generator[list[Labelled]]:
        ready: Queue[list[Labelled] | BaseException | None] = Queue(self.prefetch)
        stopped = threading.Event()
        thread = threading.Thread(target=self._fill, args=(ready, stopped), name="loader", daemon=True)
        thread.start()
        try:
            while (got := ready.get()) is not None:
                if isinstance(got, BaseException):
                    raise got
                yield got
        finally:
            # also when the loop leaves in the middle of the epoch
            stopped.set()
            thread.join()

    def _fill(self, ready: Queue[list[Labelled] | BaseException | None], stopped: threading.Event) -> None:
        steps = iter(self.steps)
        while not stopped.is_set():
            item = self._next(steps)
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=WAIT_SECONDS)
                    break
                except Full:
                    continue
            if not isinstance(item, list):
                return

    def _next(self, steps: Iterator[Sequence[Batch]]) -> list[Labelled] | BaseException | None:
        """The next step, nothing after the last; an error in its place, to be raised again where it is wanted."""
        try:
            return self._assemble(next(steps))
        except StopIteration:
            return None
        except BaseException as error:
            return error
