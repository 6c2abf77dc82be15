"""What every source of joules is, and what they share: counters that wrap, power that is integrated."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class NotHereError(ValueError):
    """A source cannot be used here; the message says why and what to do."""


class Source(Protocol):
    """Counts joules from its opening on.

    Attributes:
        words: how outputs call it.
        covers: what is in it: "cpu", "gpu".
        key: what is metered; processes of a run that name the same one count it once.
        interval_s: how often `joules` must be called, for it would miss something; infinite where it never does.
        lasting: what a call misses the next one tells: a failure of one is no end.
    """

    words: str
    covers: frozenset[str]
    key: str
    interval_s: float
    lasting: bool

    def joules(self) -> float:
        """J since it was opened.

        Raises:
            OSError: it does not answer (any more).
        """

    def close(self) -> None:
        """Let go of what it holds."""


NEVER = math.inf


class Rising:
    """A counter that only rises, from its first reading on.

    Args:
        read: it, in its own unit.
        wraps: the largest value, after which it is 0 again; none for one that starts at 0 only when its driver does.

    Attributes:
        total: counted, in its own unit.
    """

    def __init__(self, read: Callable[[], float], wraps: float | None = None) -> None:
        self._read, self._wraps = read, wraps
        self._last = read()
        self.total = 0.0

    def update(self) -> float:
        """How much it has risen since the last call."""
        now = self._read()
        rise = now - self._last
        if rise < 0:  # once around; or begun anew, and what was counted before that is lost
            rise = rise + self._wraps if self._wraps else now
        self._last = now
        self.total += rise
        return rise


class Integrated:
    """Power, integrated over time by trapezoids.

    Args:
        watts: now.
        clock: seconds.
    """

    def __init__(self, watts: Callable[[], float], clock: Callable[[], float]) -> None:
        self._watts, self._clock = watts, clock
        self._last_W, self._last_s = watts(), clock()
        self._total_J = 0.0

    def joules(self) -> float:
        """J since it was made."""
        watts, seconds = self._watts(), self._clock()
        self._total_J += 0.5 * (watts + self._last_W) * (seconds - self._last_s)
        self._last_W, self._last_s = watts, seconds
        return self._total_J


def read_text(path: Path) -> str:
    """A small file of /sys or /proc."""
    return path.read_text(encoding="ascii", errors="replace")


def read_number(path: Path) -> float:
    """A file of /sys that holds one number.

    Raises:
        OSError: it cannot be read, or holds something else.
    """
    text = read_text(path).strip()
    try:
        return float(text)
    except ValueError:
        raise OSError(0, f"it holds {text[:40]!r}, no number", str(path)) from None
