"""States are written while the training goes on, one at a time; a full disk is told and survived."""

from __future__ import annotations

import copy
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from train.state import RunState, save_state

NO_STEP = -1


class SavingError(ValueError):
    """A file of the run could not be written; the message says which, what was missing and what is kept."""


class Saver:
    """Writes states of a run to one file; what is there stays until the next one is whole.

    Args:
        path: of the file.
        say: told what could not be written.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self._say = path, say
        self._thread: threading.Thread | None = None
        self._error: SavingError | None = None
        self._steps = NO_STEP

    @property
    def busy(self) -> bool:
        """Whether a state is being written."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def empty(self) -> bool:
        """Whether the file holds no state that is known of."""
        return self._steps == NO_STEP

    def holds(self, steps: int) -> None:
        """The file holds the state after so many steps."""
        self._steps = steps

    def begin(self, state: RunState) -> None:
        """Copy a state, and write it while the training goes on; a failure is told, and the next call is a new try.

        Args:
            state: its tensors may change as soon as this returns.
        """
        self.wait()
        tensors = {name: value.detach().to("cpu", copy=True) for name, value in state.tensors.items()}
        copied = replace(state, position=copy.deepcopy(state.position), tensors=tensors)

        def write() -> None:
            self._write(copied)
            if self._error:
                self._say(f"{self._error}; the training goes on, and tries again at the next checkpoint")

        self._thread = threading.Thread(target=write, name="saver")  # no daemon: the interpreter waits for it
        self._thread.start()

    def wait(self) -> None:
        """Until what was begun is written, or has failed."""
        if self._thread:
            self._thread.join()
            self._thread = None

    def write(self, state: RunState) -> None:
        """Write a state now, after the one that is being written; `check` tells whether it could be."""
        self.wait()
        self._write(state)

    def check(self) -> None:
        """Raise SavingError where the last state could not be written."""
        self.wait()
        if self._error:
            raise self._error

    def _write(self, state: RunState) -> None:
        needed = sum(value.nbytes for value in state.tensors.values())
        kept = f"that of step {self._steps} is there and whole" if not self.empty else "there is none of before"
        self._error = None
        try:
            with writing("the state", self.path, needed, f"{kept}; make room, and --resume goes on from it"):
                save_state(self.path, state)
        except SavingError as error:
            self._error = error
        else:
            self._steps = state.position.steps


@contextmanager
def writing(what: str, path: Path, needed: int, kept: str) -> Iterator[None]:
    """Say what the system refuses to write.

    Args:
        what: is written.
        path: its file.
        needed: bytes.
        kept: what is not lost, and how to go on.

    Raises:
        SavingError: in place of what the system said.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
        room = ""
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            room = f" ({needed:,} bytes are needed and {free:,} are free" + (
                f": {needed - free:,} are missing)" if free < needed else ")"
            )
        raise SavingError(f"{what} could not be written to {path}: {reason}{room}; {kept}") from error
