"""Which structures go into which batch, and the batches themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import Full, Queue

import numpy as np

from train.config import BatchConfig
from train.labelled import Labelled, batch_labelled

OPEN_BATCHES = 32
"""How many batches are filled at a time: more pack better, fewer are quicker to plan."""

UNBOUNDED = 2**62
"""Stands for a bound that is not set: never reached, and never near."""

WAIT_SECONDS = 0.1


class BatchPlan:
    """Batches of indices, bounded by atoms, edges and structures; the same for the same seed and epoch.

    Args:
        sizes: (atoms, edges) of each structure, in the order of the indices.
        bounds: what a batch may hold.
        seed: of the run.
        sources: where each structure comes from, for messages.

    Raises:
        ValueError: there are no structures, or one does not fit into a batch of its own.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], bounds: BatchConfig, seed: int, sources: Sequence[str] = ()
    ) -> None:
        if not len(sizes):
            raise ValueError("there are no training structures to make batches of")
        limits = {"max_atoms": bounds.max_atoms, "max_edges": bounds.max_edges, "max_structures": bounds.max_structures}
        self.seed = seed
        # [S, 3]: what a structure takes of each bound
        self.sizes = np.column_stack(
            [np.array(sizes, dtype=np.int64).reshape(-1, 2), np.ones(len(sizes), dtype=np.int64)]
        )
        self.limits = np.array([limit or UNBOUNDED for limit in limits.values()], dtype=np.int64)
        for row, (key, what) in enumerate([("max_atoms", "atoms"), ("max_edges", "edges")]):
            largest = int(self.sizes[:, row].argmax())
            if self.sizes[largest, row] > self.limits[row]:
                name = sources[largest] if sources else f"structure {largest}"
                raise ValueError(
                    f"{name} has {self.sizes[largest, row]} {what}, more than batch.{key} = {self.limits[row]} allows "
                    f"in a batch; raise batch.{key} to {self.sizes[largest, row]} at least"
                )

    def epoch(self, epoch_number: int) -> list[list[int]]:
        """The batches of one epoch: every structure once, in random order.

        Each structure goes into the first of the open batches with room for it; where none has, the fullest is closed.
        The closed ones are shuffled again, for the fullest close first.
        """
        rng = np.random.default_rng([self.seed, epoch_number])
        order = rng.permutation(len(self.sizes)).tolist()
        room = np.zeros((OPEN_BATCHES, 3), dtype=np.int64)
        opened: list[list[int]] = [[] for _ in range(OPEN_BATCHES)]
        closed: list[list[int]] = []
        for index in order:
            fits = (room >= self.sizes[index]).all(axis=1)
            place = int(fits.argmax())
            if not fits[place]:
                place = int((room / self.limits).min(axis=1).argmin())
                closed.append(opened[place])
                opened[place] = []
                room[place] = self.limits
            opened[place].append(index)
            room[place] -= self.sizes[index]
        batches = [batch for batch in closed + opened if batch]
        return [batches[number] for number in rng.permutation(len(batches)).tolist()]

    def steps(self, epoch_number: int, per_step: int, start: int = 0) -> list[list[list[int]]]:
        """The batches of one epoch, by steps that take so many at once; the last one may have fewer.

        Args:
            epoch_number: which one.
            per_step: batches of a step, all processes together.
            start: batches that are over.
        """
        left = self.epoch(epoch_number)[start:]
        return [left[first : first + per_step] for first in range(0, len(left), per_step)]

    def shared(self, batches: Sequence[list[int]], size: int) -> list[list[list[int]]]:
        """The batches of one step, dealt to so many processes: the largest first, each to who has least to do."""
        work = np.array([self.sizes[batch, :2].sum() for batch in batches])
        dealt: list[list[list[int]]] = [[] for _ in range(size)]
        load = np.zeros(size)
        for number in np.argsort(-work, kind="stable"):
            least = int(load.argmin())
            dealt[least].append(batches[number])
            load[least] += work[number]
        return dealt

    def fill(self, batches: Sequence[Sequence[int]]) -> float:
        """How full batches are on average, by the bound that each comes closest to; 1 is full."""
        used = [(self.sizes[list(batch)].sum(0) / self.limits).max() for batch in batches]
        return float(np.mean(used))


class Loader:
    """Iterates batches; a thread assembles the next ones while the last is used.

    Args:
        structures: single structures, that the indices count.
        batches: indices of each batch.
        start: batch to begin with: where an epoch is resumed.
        prefetch: batches assembled ahead; 0 for none, and no thread.
        pin_memory: in page-locked memory, for a GPU.
    """

    def __init__(
        self,
        structures: Sequence[Labelled],
        batches: Sequence[Sequence[int]],
        *,
        start: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        assert 0 <= start <= len(batches), f"start {start} of {len(batches)} batches"
        self.structures = structures
        self.batches = batches[start:]
        self.prefetch = prefetch
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Labelled]:
        return self._ahead() if self.prefetch else map(self._assemble, self.batches)

    def _assemble(self, batch: Sequence[int]) -> Labelled:
        labelled = batch_labelled([self.structures[index] for index in batch])
        return labelled.pin_memory() if self.pin_memory else labelled

    def _ahead(self) -> Iterator[Labelled]:
        ready: Queue[Labelled | BaseException] = Queue(self.prefetch)
        stopped = threading.Event()
        thread = threading.Thread(target=self._fill, args=(ready, stopped), name="loader", daemon=True)
        thread.start()
        try:
            for _ in self.batches:
                got = ready.get()
                if isinstance(got, BaseException):
                    raise got
                yield got
        finally:
            # also when the loop leaves in the middle of the epoch
            stopped.set()
            thread.join()

    def _fill(self, ready: Queue[Labelled | BaseException], stopped: threading.Event) -> None:
        for batch in self.batches:
            item: Labelled | BaseException
            try:
                item = self._assemble(batch)
            except BaseException as error:  # raised again where the batch is wanted
                item = error
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=WAIT_SECONDS)
                    break
                except Full:
                    continue
            if stopped.is_set() or isinstance(item, BaseException):
                return
