"""What ends a run before its end: signals, and the time limit of the job that it is in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType

JOB_END = "SLURM_JOB_END_TIME"
"""When Slurm ends the job, in seconds since 1970; versions before 23.02 do not set it, and a script can."""

INTERRUPTS = (signal.SIGINT,)
TERMINATIONS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send; SIGUSR1 by wish, as `sbatch --signal=USR1@120` says."""

TO_BE_RESUMED = 75
"""Exit code of a run that was terminated, its state saved: EX_TEMPFAIL of sysexits.h, try again later."""

PAUSED = 77
"""Exit code of a run that has paused after the epochs that were asked for, its state saved."""


class Asked(IntEnum):
    """Whether a run was asked to stop, and by whom."""

    NO = 0
    INTERRUPTED = 1
    TERMINATED = 2


class TerminatedError(ValueError):
    """Terminated before there was anything to save."""

    exit_code = TO_BE_RESUMED


@contextmanager
def stop_signals() -> Iterator[Callable[[], Asked]]:
    """While inside, interrupts and terminations are remembered and asked for; a second Ctrl-C ends at once.

    A second termination does not: launchers pass on what the scheduler has sent to each process already.
    """
    received: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        if number in INTERRUPTS and number in received:
            raise KeyboardInterrupt
        received.append(number)

    def asked() -> Asked:
        if any(number in TERMINATIONS for number in received):
            return Asked.TERMINATED
        return Asked.INTERRUPTED if received else Asked.NO

    with _handled((*INTERRUPTS, *TERMINATIONS), remember):
        yield asked


@contextmanager
def end_when_terminated() -> Iterator[None]:
    """While inside, before the training, a termination ends at once: nothing has to be saved.

    Raises:
        TerminatedError: there was one.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise TerminatedError(
            f"ended by {signal.Signals(number).name} before the first step; what was saved before is whole: the same"
            " command with --continue goes on"
        )

    with _handled(TERMINATIONS, end):
        yield


@contextmanager
def _handled(numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    try:
        before = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # not in the main thread: nobody can signal it there
        before = {}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


class JobEnd:
    """The end of the job that the run is in, where the environment tells it.

    Args:
        minutes: before it that the run has to end; none not to look.
        environment: of the process.

    Raises:
        ValueError: the environment tells something else than a time, or the job ends too soon to begin.
    """

    def __init__(self, minutes: float | None, environment: Mapping[str, str] = os.environ) -> None:
        told = environment.get(JOB_END, "")
        self._end: float | None = None
        if minutes is None or not told:
            return
        if not told.isdigit():
            raise ValueError(f"{JOB_END} is {told!r}; it must be seconds since 1970: unset it, or set it to that")
        left = int(told) - time.time()
        if left < 60 * minutes:
            raise ValueError(
                f"the job ends in {max(0.0, left) / 60:.1f} minutes ({JOB_END}) and the run would end"
                f" stop.job_end_minutes = {minutes:g} before: ask for a longer job, or set fewer"
            )
        self._end = int(told) - 60 * minutes

    def near(self) -> bool:
        """Whether it is time to end."""
        return self._end is not None and time.time() >= self._end
