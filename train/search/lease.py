"""Whose a trial is: a file that its worker touches. A worker that is silent for long has lost it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from train.journal import write_json

LEASE, ALIVE = "lease.json", "alive"
BEAT_SECONDS = 2.0

Signature = tuple[Any, ...]


def this_place() -> str:
    """The host, as far as process numbers mean the same: name, boot, space of numbers."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return ""  # nothing can be known of other processes
    return "/".join(parts)


def birth(pid: int) -> str:
    """When a process of this place began, in its own units; "" where there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if after_name[0] in {"Z", "X"} else after_name[19]


def token_of(folder: Path) -> str | None:
    """Of who holds a trial; none where nobody does."""
    held = _read(folder)
    return None if held is None else str(held["token"])


class Lease:
    """Holds a trial, and shows that its worker lives, while inside `held`.

    Args:
        folder: of the trial, which nobody else holds; who claims has the lock of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, uuid.uuid4().hex
        self._processes: list[int] = [os.getpid()]
        self._over = threading.Event()
        self.write()

    def write(self) -> None:
        """Tell who holds it."""
        processes = {str(pid): birth(pid) for pid in self._processes}
        write_json(self.folder / LEASE, {"token": self.token, "place": this_place(), "processes": processes})

    def add(self, pid: int) -> None:
        """A process of this place that computes the trial: while it lives the trial is held."""
        self._processes.append(pid)
        if not self.lost():
            self.write()

    def lost(self) -> bool:
        """Whether somebody else has taken it over."""
        return token_of(self.folder) not in {self.token, None}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Show signs of life; given back at the end."""
        thread = threading.Thread(target=self._beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            if not self.lost():
                (self.folder / LEASE).unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                if not self.lost():
                    os.utime(self.folder / LEASE)
            except OSError:  # a disk that does not answer for a while
                continue


class Watch:
    """Knows by its own clock how long files of others have been silent: clocks of hosts differ.

    Args:
        seconds: of silence after which a worker is dead.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._seen: dict[Path, tuple[Signature, float]] = {}

    def free(self, folder: Path) -> bool:
        """Whether nobody holds a trial: given back, or its worker is dead."""
        held = _read(folder)
        if held is None:
            return True
        if held["place"] and held["place"] == this_place():
            return not any(birth(int(pid)) == born != "" for pid, born in held["processes"].items())
        return self.silent(folder, (held["token"], *touched(folder / LEASE), *touched(folder / ALIVE)))

    def silent(self, what: Path, signature: Signature) -> bool:
        """Whether a signature has been the same for long."""
        before = self._seen.get(what)
        if before is None or before[0] != signature:
            self._seen[what] = (signature, time.monotonic())
            return False
        return time.monotonic() - before[1] > self.seconds


def touched(path: Path) -> Signature:
    """What changes whenever a file is touched; empty where there is none."""
    try:
        with path.open("rb") as file:  # opened: network file systems look anew then
            return (os.fstat(file.fileno()).st_mtime_ns,)
    except OSError:
        return ()


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        held: dict[str, Any] = json.loads((folder / LEASE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return held
