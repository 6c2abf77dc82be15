"""A store in the memory of the ranks of a run: each holds a part, and fetches what it lacks by one-sided MPI."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.sieve import Progress
from train.store.interface import SOURCE, Column, StoreLike, ranges
from train.store.layout import Layout
from train.store.manifest import StoreError, StoreManifest, read_manifest
from train.store.ranks import Ranks, Runs
from train.store.reader import Records, Store, mapped, source_in, wrong_in
from train.store.spread import find_ranks

Array = NDArray[Any]


def open_store(
    folder: Path,
    *,
    in_memory: bool,
    names: Sequence[str] | None = None,
    width: int | None = None,
    host: int | None = None,
    verify: bool = False,
    progress: Progress | None = None,
) -> StoreLike:
    """A store to read structures from: of its files, or in the memory of all ranks. Close it, or use it as a context.

    Args:
        folder: of the store.
        in_memory: whether to hold it in memory; then all ranks open and close it together.
        names: arrays that will be asked for; without, all. Others are not loaded.
        width: ranks that hold the data once together, see `MemoryStore`; by default all ranks.
        host: see `MemoryStore`.
        verify: check each shard first, its checksum and whether its labels are numbers.
        progress: told how many structures are loaded.

    Raises:
        ValueError: `width` or `host` for a store of files, or one that does not fit; there is no such array; MPI is
            missing.
        StoreError: it is no whole store, a shard is damaged, or a host has too little memory.
    """
    if in_memory:
        store = MemoryStore(folder, names, find_ranks(width, host))
        store.load(verify=verify, progress=progress)
        return store
    if width is not None or host is not None:
        raise ValueError("width and host are of stores in memory; leave them out, or hold the store in memory")
    files = Store(folder)
    files.columns(names)
    for file, why in files.check() if verify else ():
        if why:
            raise StoreError(f"{folder / file}: {why}")
    return files


class MemoryStore(StoreLike):
    """A store whose arrays lie in the memory of the ranks (DDStore: Choi et al., arXiv 2306.15449).

    The ranks are cut into groups of `width`; each group holds the whole data, every rank a run of structures of about
    as many bytes as the others'. What lies on the same host is read by plain loads from shared memory; what does not
    is fetched by one-sided `Get` within the group, one for each run of neighbouring structures, and one flush for each
    rank that is asked. Each rank reads its own part from the files, and nothing else but names of sources later.

    A rank holds data / width, the data being the arrays in `names`, labels in float64. A host holds 8 bytes a structure
    beside that for each of its groups, and a read holds what was asked for twice while it lasts.

    Threads: `read` may be called from any, also beside other work with MPI. Where a group has several hosts, that takes
    MPI_THREAD_MULTIPLE, which mpi4py asks for, and anything less is refused. `load` and `close` are for all ranks
    together.

    Args:
        folder: of the store.
        names: arrays that are kept; without, all.
        ranks: that hold it, see `train.store.spread.find_ranks`; its `host` says which ranks count as one host's.

    Raises:
        ValueError: there is no such array.
        StoreError: it is no store, for any of the ranks.
    """

    def __init__(self, folder: Path, names: Sequence[str] | None, ranks: Ranks) -> None:
        self._ranks = ranks
        found: list[StoreManifest] = []
        self._together(lambda: found.append(read_manifest(folder)))
        super().__init__(folder, found[0])
        self._readers, self._changed, self._opened = 0, threading.Condition(), False
        self._names = super().all_names()
        self._layout = Layout.of(super().columns(names))
        self._names = [column.name for column in self._layout.columns]
        atoms = np.array([shard.atoms for shard in self.manifest.shards], dtype=np.int64)
        self._first_atom = np.concatenate([[0], np.cumsum(atoms)])
        self._index: Array = np.zeros(0, np.int64)
        self._rows: Array = self._index
        self._first_rows: Array = self._index
        self._files: dict[int, dict[str, Array]] = {}

    def load(self, *, verify: bool = False, progress: Progress | None = None) -> None:
        """Read this rank's part from the files.

        Raises:
            StoreError: for any of the ranks a shard is missing or damaged, or its memory too little.
        """
        try:
            self._load(verify=verify, progress=progress)
        except StoreError:
            self._ranks.close()  # all ranks raise it
            raise
        except BaseException:
            self._ranks.abandon()
            raise

    def _load(self, *, verify: bool, progress: Progress | None) -> None:
        ranks, layout = self._ranks, self._layout
        if verify:
            self._together(partial(self._verify, progress))
        own: list[int] = []
        self._together(lambda: own.append(self._cut(ranks.part)))
        cuts = np.append(ranks.share(own[0]), len(self))
        begin, end = cuts[ranks.part : ranks.part + 2].tolist()

        _, index = ranks.memory(8 * (len(self) + 1) if ranks.part == ranks.here.start else 0)
        self._index = index.view(np.int64)
        self._index[-1] = self.manifest.atoms
        self._together(partial(self._note_atoms, begin, end))
        ranks.settle()
        ranks.complete(self._index, cuts)
        ranks.settle()

        self._first_rows = layout.begin(cuts, self._index[cuts])
        size = int(self._first_rows[ranks.part + 1] - self._first_rows[ranks.part]) * layout.row_bytes
        mine, here = ranks.memory(size)
        self._rows = here.reshape(-1, layout.row_bytes)
        self._together(partial(self._pack, begin, end, mine.reshape(-1, layout.row_bytes), progress))
        ranks.settle()
        ranks.expose(mine, layout.row_bytes)
        self._opened = True

    def all_names(self) -> list[str]:
        """Of the arrays that are kept."""
        return self._names

    def columns(self, names: Sequence[str] | None = None) -> list[Column]:
        """See `StoreLike`; only of arrays that are kept."""
        found = super().columns(names)
        missing = [column.name for column in found if column.name not in self._names]
        if missing:
            raise ValueError(f"{missing[0]} of {self.folder} is not kept in memory; open the store with it among names")
        return found

    def sizes(self, indices: Sequence[int] | Array | None = None) -> Array:
        """See `StoreLike`."""
        with self._reading():
            if indices is None:
                return np.diff(self._index)
            wanted = self._checked(indices)
            found: Array = self._index[wanted + 1] - self._index[wanted]
            return found

    def read(self, indices: Sequence[int] | Array, names: Sequence[str] | None = None) -> Records:
        """See `StoreLike`."""
        wanted, columns = self._checked(indices), self.columns(names)
        with self._reading():
            first = self._index[wanted]
            atoms = self._index[wanted + 1] - first
            counts = self._layout.counts(atoms)
            rows, starts = self._found(self._layout.begin(wanted, first), counts)
            arrays = self._layout.unpack(rows, starts, counts, columns if len(wanted) else ())
        told = wanted.tolist() if names is None or SOURCE in names else ()
        return Records(np.concatenate([[0], np.cumsum(atoms)]), arrays, tuple(map(self.source, told)))

    def source(self, index: int) -> str:
        """Where a structure is from; read from the files."""
        shard = int(np.searchsorted(self.first, index, side="right")) - 1
        record = self.manifest.shards[shard]
        if shard not in self._files:
            self._files[shard] = mapped(self.folder, record)
        return source_in(self._files[shard], index - int(self.first[shard]), record.sources)

    def close(self) -> None:
        """Give the memory back once no thread reads, all ranks together."""
        with self._changed:
            if not self._opened:
                return
            self._opened = False
            self._changed.wait_for(lambda: not self._readers)
        self._index = self._rows = np.zeros(0, np.int64)
        self._ranks.close()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self._ranks.abandon()  # the others may never come to close theirs

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """The memory stays as long as anyone reads."""
        with self._changed:
            if not self._opened:
                raise ValueError(f"{self.folder} is closed; open it again to read from it")
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    def _found(self, begin: Array, counts: Array) -> tuple[Array, Array]:
        """Rows among which those of structures are, and the first of each, by their first rows in the whole data."""
        ranks, here = self._ranks, self._ranks.here
        first, last = self._first_rows[[here.start, here.stop]].tolist()
        if not counts.any() or (begin.min() >= first and begin.max() < last):
            return self._rows, begin - first
        begin, place, back = np.unique(begin, return_index=True, return_inverse=True)
        counts = counts[place]
        starts = np.cumsum(counts) - counts
        runs, rows = self._runs(begin, counts, starts), np.empty((int(counts.sum()), self._layout.row_bytes), np.uint8)
        near = (runs.part >= here.start) & (runs.part < here.stop)
        away, own = runs.of(~near), runs.of(near)
        ranks.ask(away, rows)
        if len(own.part):  # meanwhile; parts of a host are neighbours, and so are the places of their rows
            to = slice(own.place[0], own.place[-1] + own.count[-1])
            taken = ranges(self._first_rows[own.part] + own.row - first, own.count)
            np.take(self._rows, taken, axis=0, out=rows[to], mode="clip")  # without checks, into place
        ranks.wait_for(away)
        return rows, starts[back]

    def _runs(self, begin: Array, counts: Array, places: Array) -> Runs:
        """Structures that follow each other in one part are one run; ascending."""
        part = np.searchsorted(self._first_rows, begin, side="right") - 1
        goes_on = (begin[1:] == begin[:-1] + counts[:-1]) & (part[1:] == part[:-1])
        at = np.flatnonzero(np.append(True, ~goes_on))
        return Runs(part[at], begin[at] - self._first_rows[part[at]], np.add.reduceat(counts, at), places[at])

    def _together(self, work: Callable[[], object]) -> None:
        """Do what may fail on one rank alone; then all raise the same."""
        why = None
        try:
            work()
        except (ValueError, OSError) as error:
            why = str(error)
        self._ranks.agree(why)

    def _verify(self, progress: Progress | None) -> None:
        for number in self._ranks.turns(len(self.manifest.shards)):
            record = self.manifest.shards[number]
            if why := wrong_in(self.folder / record.file, record, mapped(self.folder, record)):
                raise StoreError(f"{self.folder / record.file}: {why}")
            if progress:
                progress(f"checking {self.folder.name}", int(self.first[number + 1]), len(self))

    def _cut(self, part: int) -> int:
        """Number of the first structure of a part."""
        first_rows = self._layout.begin(self.first, self._first_atom)
        target = int(first_rows[-1]) * part // self._ranks.parts
        shard = int(np.searchsorted(first_rows[:-1], target, side="right")) - 1
        if shard < 0 or not target:
            return 0
        first = mapped(self.folder, self.manifest.shards[shard])["first_atom"]
        rows = self._layout.begin(np.arange(len(first)), first)
        return int(self.first[shard] + np.searchsorted(rows, target - first_rows[shard]))

    def _pieces(self, begin: int, end: int) -> Iterator[tuple[int, dict[str, Array], range]]:
        """Shards in which structures from begin to end are: number, arrays, and numbers in the shard."""
        for number, record in enumerate(self.manifest.shards):
            first = int(self.first[number])
            inside = range(max(begin - first, 0), min(end - first, record.structures))
            if inside:
                yield number, mapped(self.folder, record), inside

    def _note_atoms(self, begin: int, end: int) -> None:
        for number, shard, inside in self._pieces(begin, end):
            first, atom = int(self.first[number]), self._first_atom[number]
            there = shard["first_atom"][inside.start : inside.stop]
            self._index[first + inside.start : first + inside.stop] = there + atom

    def _pack(self, begin: int, end: int, rows: Array, progress: Progress | None) -> None:
        done = 0
        for number, shard, inside in self._pieces(begin, end):
            first = shard["first_atom"]
            count = int(self._layout.begin(len(inside), first[inside.stop] - first[inside.start]))
            self._layout.pack(shard, inside, rows[done : done + count])
            done += count
            if progress:
                progress(f"loading {self.folder.name}", int(self.first[number]) + inside.stop - begin, end - begin)
