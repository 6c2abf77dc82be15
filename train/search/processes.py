"""Processes of one session of a trial: as many as a trial has, told of each other as by torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from train.meeting import free_port, usable_cores
from train.search.files import LOG

OTHERS_SECONDS = 20.0
"""In which the other processes of a trial end once the first has: they see that it is gone."""

OF_LAUNCHERS = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_",
    "GROUP_",
    "ROLE_",
    "MASTER_",
    "TORCHELASTIC_",
    "PMI_",
    "PMIX_",
    "HYDI_",
    "MPI_LOCAL",
    "OMPI_",
    "PALS_",
    "SLURM_JOB_ID",
    "SLURM_JOBID",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_STEP_",
    "SLURM_NTASKS",
    "SLURM_TASK",
)
"""How variables begin by which launchers tell a process its place: a trial is no part of that launch,
and the energy that Slurm counts for a step is not that of one of its trials."""


@dataclass(frozen=True)
class Place:
    """One process among those of a trial.

    Attributes:
        rank, size: in the trial.
        local_rank, local_size: among those of its host.
        address, port: where they meet.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int


@dataclass(frozen=True)
class Share:
    """What of a host a process may use.

    Attributes:
        index, count: which of how many processes that compute on the host.
    """

    index: int = 0
    count: int = 1


@dataclass(frozen=True)
class Session:
    """What is to be run.

    Attributes:
        folder: of the trial.
        token: of who holds it.
        until_epoch: at which it pauses; none for its end.
    """

    folder: Path
    token: str
    until_epoch: int | None


class Running(Protocol):
    """A session that runs."""

    @property
    def pids(self) -> Sequence[int]:
        """Of its processes in this place."""

    def poll(self) -> int | None:
        """Exit code of the first process once all have ended; none before."""

    def terminate(self) -> None:
        """Ask it to save its state and to end."""

    def kill(self) -> None:
        """End it at once."""


class Launcher(Protocol):
    """Starts sessions, one after the other."""

    def start(self, session: Session) -> Running:
        """Begin one."""

    def check(self) -> None:
        """Raise where a session has failed because a process that starts its parts is gone."""


def child_environment(place: Place | None, share: Share, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Of a process of a trial: no word of the launch that the worker is in, its part of cores and GPUs.

    Args:
        place: among those of the trial; none where it is the only one.
        share: of the host.
        environment: of the worker.
    """
    own = {name: value for name, value in environment.items() if not name.startswith(OF_LAUNCHERS)}
    if "OMP_NUM_THREADS" not in own:
        own["OMP_NUM_THREADS"] = str(max(1, usable_cores() // share.count))
    gpus = visible_gpus(own)
    if len(gpus) > 1:
        own["CUDA_VISIBLE_DEVICES"] = gpus[share.index % len(gpus)]
    if place is not None:
        own |= {
            "RANK": str(place.rank),
            "WORLD_SIZE": str(place.size),
            "LOCAL_RANK": str(place.local_rank),
            "LOCAL_WORLD_SIZE": str(place.local_size),
            "MASTER_ADDR": place.address,
            "MASTER_PORT": str(place.port),
        }
    return own


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of the CUDA devices that may be used."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def start_process(session: Session, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """One process, which ends with this one: it sees the end of its standard input."""
    until = str(session.until_epoch or 0)
    command = [sys.executable, "-P", "-m", "train.search.member", str(session.folder), session.token, until]
    with (session.folder / LOG).open("ab") as log:
        # a session of its own: an interrupt at the terminal reaches the worker alone, which passes it on once
        return subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=dict(environment), start_new_session=True
        )


def end_process(process: subprocess.Popen[bytes]) -> None:
    """At once, and wait for it."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


class Here:
    """Starts all processes of a trial on this host.

    Args:
        ranks: processes of a trial.
        share: of the worker among those of the host.
    """

    def __init__(self, ranks: int = 1, share: Share | None = None) -> None:
        self.ranks, self.share = ranks, share or Share()

    def start(self, session: Session) -> Running:
        """See `Launcher`."""
        port = free_port()
        processes = []
        for rank in range(self.ranks):
            place = Place(rank, self.ranks, rank, self.ranks, "127.0.0.1", port) if self.ranks > 1 else None
            share = Share(self.share.index * self.ranks + rank, self.share.count * self.ranks)
            processes.append(start_process(session, child_environment(place, share)))
        return Together(processes)

    def check(self) -> None:
        """See `Launcher`: there is nobody but this process."""


class Together:
    """Processes of one trial on this host.

    Args:
        processes: the first is that of rank 0.
    """

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self._ended: float | None = None

    @property
    def pids(self) -> Sequence[int]:
        """See `Running`."""
        return [process.pid for process in self._processes]

    def poll(self) -> int | None:
        """See `Running`."""
        code = self._processes[0].poll()
        if code is None:
            return None
        self._ended = self._ended or time.monotonic()
        running = [process for process in self._processes if process.poll() is None]
        if running and time.monotonic() - self._ended < OTHERS_SECONDS:
            return None
        for process in self._processes:
            end_process(process)
        return code

    def terminate(self) -> None:
        """See `Running`; the first tells the others."""
        if self._processes[0].poll() is None:
            self._processes[0].send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """See `Running`."""
        for process in self._processes:
            end_process(process)
