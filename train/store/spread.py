"""A store in the memory of several ranks: shared memory within a host, one-sided MPI between hosts."""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.launch import Launch, find_launch
from train.store.manifest import StoreError
from train.store.ranks import Ranks, Runs

Array = NDArray[Any]

SHARED_FOLDER = Path("/dev/shm")  # noqa: S108 - where MPI keeps shared windows, on Linux
POLL_SECONDS = 1e-3
POLLS = 20
"""How often, and how many times on end, a rank looks after what others fetch from it."""


def find_ranks(width: int | None = None, host: int | None = None) -> Ranks:
    """The ranks of this run.

    Args:
        width: ranks that hold the whole data together; all of them by default.
        host: the same number on ranks that are to be taken for those of one host; by default MPI knows.

    Raises:
        ValueError: `width` does not divide the number of ranks, `host` is negative, or MPI is missing or not what
            started this process.
    """
    if host is not None and host < 0:
        raise ValueError(f"host is {host}; it must be 0 or more")
    launch = find_launch()
    if launch.size == 1:
        _check_width(width, 1)
        return Ranks()
    return Spread(_mpi(launch), width, host)


class Spread(Ranks):
    """Ranks of MPI in groups, each of which holds everything; see `find_ranks`.

    Communicators: `world` is all ranks, `host` those of this host, `group` those that hold the whole data together,
    `node` those of both, `firsts` the first of each node of the group. In a group, the ranks of a host are neighbours.
    """

    def __init__(self, mpi: Any, width: int | None, host: int | None) -> None:
        self.mpi = mpi
        self.world = world = mpi.COMM_WORLD.Dup()
        width = _check_width(width, world.size)
        shared = world.Split_type(mpi.COMM_TYPE_SHARED, world.rank)
        self.host = own_host = shared.Split(host or 0, world.rank)
        shared.Free()
        first = np.array([world.rank])
        own_host.Bcast(first)
        number = world.rank // width
        self.group = world.Split(number, int(first[0]))  # in the order of ranks where hosts are the same
        self.node = own_host.Split(number, world.rank)
        self.firsts = self.group.Split(0 if self.node.rank == 0 else mpi.UNDEFINED, self.group.rank)
        begin = self.group.rank - self.node.rank
        self.part, self.parts, self.here = self.group.rank, self.group.size, range(begin, begin + self.node.size)
        self._windows: list[Any] = []
        self._remote: Any = None
        self._attendant: _Attendant | None = None
        self.agree(self._unsafe())

    def _unsafe(self) -> str | None:
        if self.node.size == self.group.size or self.mpi.Query_thread() == self.mpi.THREAD_MULTIPLE:
            return None
        return (
            "a store in memory of several hosts is read by threads beside others, for which MPI was started without"
            " MPI_THREAD_MULTIPLE; start it with that (mpi4py.rc.thread_level), or choose a width within one host"
        )

    def agree(self, why: str | None) -> None:
        """See `Ranks`."""
        worst = np.array([self.world.size if why is None else self.world.rank])
        self.world.Allreduce(self.mpi.IN_PLACE, worst, self.mpi.MIN)
        if worst[0] == self.world.size:
            return
        text = (why or "").encode()
        size = np.array([len(text)])
        self.world.Bcast(size, int(worst[0]))
        message = np.frombuffer(text, np.uint8).copy() if self.world.rank == worst[0] else np.empty(size[0], np.uint8)
        self.world.Bcast(message, int(worst[0]))
        raise StoreError(message.tobytes().decode())

    def turns(self, count: int) -> range:
        """See `Ranks`."""
        return range(self.world.rank, count, self.world.size)

    def share(self, number: int) -> Array:
        """See `Ranks`."""
        found = np.empty(self.parts, dtype=np.int64)
        self.group.Allgather(np.array([number], dtype=np.int64), found)
        return found

    def memory(self, size: int) -> tuple[Array, Array]:
        """See `Ranks`."""
        sizes = self._of_node(size)
        on_host = np.array([size], dtype=np.int64)
        self.host.Allreduce(self.mpi.IN_PLACE, on_host)
        self.agree(_too_little(int(on_host[0])) if self.mpi.get_vendor()[0] != "Open MPI" else None)
        window = self.mpi.Win.Allocate_shared(size, 1, comm=self.node)
        window.Lock_all(self.mpi.MODE_NOCHECK)
        self._windows.append(window)
        # the parts of a node are one piece, in the order of its ranks, as MPI has it unless told otherwise
        base, whole = window.Shared_query(self.mpi.PROC_NULL)[0], int(sizes.sum())
        found = np.frombuffer(self.mpi.memory.fromaddress(base.address, whole), np.uint8)
        begin = int(sizes[: self.node.rank].sum())
        return found[begin : begin + size], found

    def _of_node(self, number: int) -> Array:
        found = np.empty(self.node.size, dtype=np.int64)
        self.node.Allgather(np.array([number], dtype=np.int64), found)
        return found

    def complete(self, index: Array, cuts: Array) -> None:
        """See `Ranks`."""
        if self.firsts != self.mpi.COMM_NULL:
            parts = np.empty((self.firsts.size, 2), dtype=np.int64)
            self.firsts.Allgather(np.array([self.here.start, self.here.stop], dtype=np.int64), parts)
            begin, end = cuts[parts].T
            received = [index, (end - begin, begin), self.mpi.INT64_T]
            self.firsts.Allgatherv(self.mpi.IN_PLACE, received)

    def settle(self) -> None:
        """See `Ranks`."""
        for window in self._windows:
            window.Sync()
        self.group.Barrier()
        for window in self._windows:
            window.Sync()

    def expose(self, own: Array, row_bytes: int) -> None:
        """See `Ranks`."""
        if self.node.size == self.group.size:
            return
        self._remote = self.mpi.Win.Create(own, row_bytes, comm=self.group)
        self._remote.Lock_all(self.mpi.MODE_NOCHECK)
        self._windows.append(self._remote)
        self._attendant = _Attendant(self.world)
        self._attendant.start()

    def ask(self, runs: Runs, into: Array) -> None:
        """See `Ranks`."""
        get, byte, size = self._remote.Get, self.mpi.BYTE, into.shape[1]
        buffer: Any = into.data.cast("B")
        lengths, places = (runs.count * size).tolist(), (runs.place * size).tolist()
        for part, row, length, place in zip(runs.part.tolist(), runs.row.tolist(), lengths, places, strict=True):
            get([buffer[place : place + length], byte], part, (row, length, byte))

    def wait_for(self, runs: Runs) -> None:
        """See `Ranks`."""
        for part in np.unique(runs.part).tolist():
            self._remote.Flush(part)

    def close(self) -> None:
        """See `Ranks`."""
        self.group.Barrier()  # others may fetch from here until they are here too
        if self._attendant:
            self._attendant.end()
        while self._windows:
            window = self._windows.pop()
            window.Unlock_all()
            window.Free()
        for communicator in (self.firsts, self.node, self.group, self.host, self.world):
            if communicator != self.mpi.COMM_NULL:
                communicator.Free()

    def abandon(self) -> None:
        """See `Ranks`."""
        # Python's own exit handlers run before MPI's, which would wait for the others for ever
        atexit.register(self.mpi.COMM_WORLD.Abort, 1)


class _Attendant(threading.Thread):
    """Has MPI look after what others fetch from here while this process computes.

    Networks that read memory by themselves need none. Where MPI moves the data in software it does so inside of its own
    calls: a rank that waits for a sum of gradients would otherwise never answer the rank that cannot compute its part.
    """

    def __init__(self, communicator: Any) -> None:
        super().__init__(name="attendant", daemon=True)
        self._communicator, self._ended = communicator, threading.Event()

    def run(self) -> None:
        """Until `end`."""
        while not self._ended.wait(POLL_SECONDS):
            for _ in range(POLLS):
                self._communicator.Iprobe()

    def end(self) -> None:
        """Return once the thread makes no more calls."""
        self._ended.set()
        self.join()


def _check_width(width: int | None, size: int) -> int:
    width = size if width is None else width
    if width < 1 or size % width:
        allowed = ", ".join(str(number) for number in range(1, size + 1) if size % number == 0)
        raise ValueError(f"width is {width}, and the {size} ranks cannot be cut into groups of that; choose {allowed}")
    return width


def _too_little(needed: int) -> str | None:
    if not SHARED_FOLDER.is_dir():
        return None
    there = os.statvfs(SHARED_FOLDER)
    free = there.f_bavail * there.f_frsize
    if needed <= free:
        return None
    return (
        f"{SHARED_FOLDER} of a host has {free / 1e9:.2f} GB free, and its part of the store takes {needed / 1e9:.2f}"
        " GB: enlarge it (of a container with --shm-size), use more hosts or a larger width, or read from the files"
    )


def _mpi(launch: Launch) -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        raise ValueError(
            f"{launch.by} started {launch.size} processes, which share a store in memory by MPI: install the extra mpi"
            " (pip install 'gfm-ase[mpi]'), or read from the files"
        ) from None
    if launch.size != MPI.COMM_WORLD.size:
        raise ValueError(
            f"{launch.by} started {launch.size} processes and MPI knows of {MPI.COMM_WORLD.size}: a store in memory"
            " wants a run that is started by mpiexec, or by srun with --mpi; or read from the files"
        )
    return MPI
