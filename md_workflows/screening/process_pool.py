"""Processes of this machine, each in a pool of its own: one that dies breaks no other's work."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any


class ProcessPool:
    """As many pools of one process as there are workers.

    One `ProcessPoolExecutor` of many would be broken as a whole by the death of one process, and would not tell whose
    chunk was at fault. The processes are spawned, for forked ones inherit threads and devices half alive. They end with
    this process, however it ends.
    """

    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._lanes = [_Lane(number, workers) for number in range(workers)]

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Run the function in an idle process; at most `slots` may be under way."""
        idle = next(lane for lane in self._lanes if lane.idle)
        return idle.submit(function, *arguments)

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes:
            lane.close(kill=kind is not None)


class _Lane:
    """One process, replaced when it has died."""

    def __init__(self, number: int, workers: int) -> None:
        self._number = number
        self._threads = max(1, len(os.sched_getaffinity(0)) // workers)
        self._pool: ProcessPoolExecutor | None = None
        self._alive: Connection | None = None
        self._future: Future[Any] | None = None

    @property
    def idle(self) -> bool:
        return self._future is None or self._future.done()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self._future is not None and isinstance(self._future.exception(), BrokenProcessPool):
            self.close(kill=True)
        if self._pool is None:
            self._pool = self._open()
        self._future = self._pool.submit(function, *arguments)
        return self._future

    def _open(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        watched, self._alive = context.Pipe(duplex=False)
        return ProcessPoolExecutor(
            1, context, initializer=begin_worker, initargs=(watched, self._number, self._threads)
        )

    def close(self, kill: bool) -> None:
        """End the process: after its chunk, or at once."""
        if self._pool is None or self._alive is None:
            return
        if kill:
            self._alive.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._alive.close()
        self._pool = self._alive = self._future = None


def begin_worker(alive: Connection, number: int, threads: int) -> None:
    """Prepare worker `number`: its cores, its GPU where the environment lists several, and its end with the parent.

    Ctrl-C is the parent's affair; when the parent is gone, or says so, this process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # torch reads it when it is loaded, with the engine
    gpus = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    """Wait for the end of the pipe, which the kernel brings when the parent is killed, and leave without ceremony."""
    try:
        alive.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
