"""Trials of several processes on a slice of a parallel launch: what its first process starts, the others start too.

They tell each other through the folder of the study, and need no communicator: `order.json` of the first one says what
runs, `member-1.json` and so on that the others are there, and all are touched while their processes live.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.group import LostError
from train.journal import write_json
from train.launch import Launch
from train.meeting import free_port
from train.search.files import ORDER
from train.search.lease import BEAT_SECONDS, Watch, touched
from train.search.processes import (
    OTHERS_SECONDS,
    Place,
    Running,
    Session,
    Share,
    Together,
    child_environment,
    end_process,
    start_process,
)
from train.search.study import trial_folder

SLICES = "slices"
MEETING_SECONDS = 600.0
POLL_SECONDS = 0.2
SILENT_BEATS = 5
"""Signs of life that a process misses before it is taken for lost, where a training says that it is."""


NAMES = (
    ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ("PMIX_NAMESPACE",),
    ("MASTER_ADDR", "MASTER_PORT"),
)
"""Variables that together name a launch, and are the same in all its processes."""


class SliceError(ValueError):
    """Another process of the slice is gone."""

    exit_code = LostError.exit_code


def launch_name(launch: Launch, environment: Mapping[str, str] = os.environ) -> str:
    """What this launch is called, the same on all its processes.

    Raises:
        ValueError: the environment does not say, and mpi4py is not there to agree on it.
    """
    for names in NAMES:
        if names[0] in environment:
            told = "-".join(environment.get(name, "0") for name in names)
            return re.sub(r"[^\w.-]", "_", told)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        raise ValueError(
            f"{launch.by} started {launch.size} processes and does not say which launch they are: install the extra mpi"
            " (pip install 'gfm-ase[mpi]'), or set MASTER_ADDR and MASTER_PORT to the same two words in all of them"
        ) from None
    agreed = bytearray(uuid.uuid4().hex.encode())
    MPI.COMM_WORLD.Bcast([agreed, MPI.BYTE], root=0)
    return agreed.decode()


class Slice:
    """A part of a launch that computes one trial at a time.

    Args:
        study: folder of it.
        launch: of this process.
        ranks: processes of a trial.

    Raises:
        ValueError: the launch cannot be cut into slices.
    """

    def __init__(self, study: Path, launch: Launch, ranks: int) -> None:
        if launch.size % ranks:
            raise ValueError(
                f"{launch.by} started {launch.size} processes, which are no whole number of slices of --ranks-per-trial"
                f" {ranks}"
            )
        self.study, self.ranks = study, ranks
        self.number, self.member = divmod(launch.rank, ranks)
        self.folder = study / SLICES / launch_name(launch) / str(self.number)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.share = Share(launch.local_rank, launch.local_size or launch.size)

    def member_file(self, member: int) -> Path:
        """Of one of the others."""
        return self.folder / f"member-{member}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return {}
    return content


class Leader:
    """The first process of a slice, which is its worker.

    Args:
        slice: of a launch.
        watch: of signs of life.
        asked: whether to stop.

    Raises:
        SliceError: the others do not come.
    """

    def __init__(self, slice: Slice, watch: Watch, asked: Callable[[], int]) -> None:
        self._slice, self._watch = slice, watch
        self._nonce, self._serial, self._touched = uuid.uuid4().hex, 0, 0.0
        self._tell(kind="meet")
        began = time.monotonic()
        while waiting := [one for one in self._others() if self._answer(one).get("nonce") != self._nonce]:
            if time.monotonic() - began > MEETING_SECONDS or asked():
                raise SliceError(f"processes {_listed(waiting)} of slice {slice.number} have not come")
            self.show_life()
            time.sleep(POLL_SECONDS)

    def _others(self) -> Sequence[int]:
        return range(1, self._slice.ranks)

    def _answer(self, member: int) -> dict[str, Any]:
        return _read(self._slice.member_file(member))

    def _tell(self, **order: Any) -> None:
        write_json(self._slice.folder / ORDER, {"nonce": self._nonce, "serial": self._serial, **order})
        self._serial += 1

    def show_life(self) -> None:
        """To be called several times a second.

        Raises:
            SliceError: one of the others is silent.
        """
        if time.monotonic() - self._touched > BEAT_SECONDS:
            os.utime(self._slice.folder / ORDER)
            self._touched = time.monotonic()
        for member in self._others():
            path = self._slice.member_file(member)
            if self._answer(member).get("nonce") == self._nonce and self._watch.silent(path, touched(path)):
                raise SliceError(
                    f"process {member} of slice {self._slice.number} has ended or does not answer; its trial is left to"
                    " other workers"
                )

    def start(self, session: Session) -> Running:
        """See `train.search.processes.Launcher`."""
        hosts = [socket.gethostname(), *(self._answer(member)["host"] for member in self._others())]
        address = "127.0.0.1" if len(set(hosts)) == 1 else hosts[0]
        port = free_port()
        places = [
            Place(rank, len(hosts), hosts[:rank].count(host), hosts.count(host), address, port)
            for rank, host in enumerate(hosts)
        ]
        self._tell(
            kind="start",
            trial=int(session.folder.name),
            token=session.token,
            until_epoch=session.until_epoch,
            places=[vars(place) for place in places],
        )
        own = start_process(session, child_environment(places[0], self._slice.share))
        return OfSlice(own, self.stop)

    def check(self) -> None:
        """See `train.search.processes.Launcher`.

        Raises:
            SliceError: one of the others is gone.
        """
        files = {member: self._slice.member_file(member) for member in self._others()}
        before = {member: touched(path) for member, path in files.items()}
        end = time.monotonic() + SILENT_BEATS * BEAT_SECONDS
        while silent := [member for member, path in files.items() if touched(path) == before[member]]:
            if time.monotonic() > end:
                raise SliceError(
                    f"process {_listed(silent)} of slice {self._slice.number} has ended or does not answer; its trial"
                    " is left to other workers"
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Have the others end what they run."""
        self._tell(kind="stop")

    def leave(self) -> None:
        """The others may go."""
        self._tell(kind="over")


class OfSlice(Together):
    """The session of a slice: the process here, and the others elsewhere.

    Args:
        own: process of rank 0.
        stop: ends those elsewhere.
    """

    def __init__(self, own: subprocess.Popen[bytes], stop: Callable[[], None]) -> None:
        super().__init__([own])
        self._stop = stop

    def kill(self) -> None:
        """See `Running`."""
        super().kill()
        self._stop()


class Follower:
    """Another process of a slice: starts its part of what the first one starts, until that one says that all is over.

    Args:
        slice: of a launch.
        watch: of signs of life.
    """

    def __init__(self, slice: Slice, watch: Watch) -> None:
        self._slice, self._watch = slice, watch
        self._nonce, self._serial, self._touched = "", -1, 0.0
        self._child: subprocess.Popen[bytes] | None = None

    def follow(self) -> None:
        """Until the leader says that all is over.

        Raises:
            SliceError: it is silent.
        """
        path = self._slice.folder / ORDER
        try:
            while True:
                order = _read(path)
                if order and order["nonce"] != self._nonce:
                    self._nonce, self._serial = order["nonce"], order["serial"]  # what was said before is not for us
                    self._answer()
                elif order and order["serial"] != self._serial:
                    self._serial = order["serial"]
                    if order["kind"] == "over":
                        return
                    self._obey(order)
                if self._watch.silent(path, touched(path)):
                    raise SliceError(f"the first process of slice {self._slice.number} has ended or does not answer")
                self._show_life()
                time.sleep(POLL_SECONDS)
        finally:
            if self._child is not None:
                end_process(self._child)

    def _answer(self) -> None:
        write_json(self._slice.member_file(self._slice.member), {"nonce": self._nonce, "host": socket.gethostname()})

    def _show_life(self) -> None:
        if self._nonce and time.monotonic() - self._touched > BEAT_SECONDS:
            os.utime(self._slice.member_file(self._slice.member))
            self._touched = time.monotonic()

    def _obey(self, order: dict[str, Any]) -> None:
        """End what runs, after it had time to end by itself, and start what is ordered."""
        began = time.monotonic()
        while self._child is not None and self._child.poll() is None and time.monotonic() - began < OTHERS_SECONDS:
            self._show_life()
            time.sleep(POLL_SECONDS)
        if self._child is not None:
            end_process(self._child)
            self._child = None
        if order["kind"] == "start":
            place = Place(**order["places"][self._slice.member])
            session = Session(trial_folder(self._slice.study, order["trial"]), order["token"], order["until_epoch"])
            self._child = start_process(session, child_environment(place, self._slice.share))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
