"""What becomes of frames that cannot be learnt from: one sentence that names the frame, or a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much is done, and how much there is (None where that is not known yet)."""


class BadFrameError(ValueError):
    """A frame that cannot be right; `kind` is what it is counted under."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Sieve:
    """Raises for the frames of one data set that cannot be right, or counts them.

    Args:
        name: of the data set.
        on_bad: "raise" or "drop".
    """

    def __init__(self, name: str, on_bad: Literal["raise", "drop"]) -> None:
        self.name = name
        self.on_bad = on_bad
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def reject(self, source: str, kind: str, why: str) -> None:
        """A frame that cannot be right.

        Raises:
            ValueError: the data set is to be without such frames.
        """
        if self.on_bad == "raise":
            raise ValueError(
                f'data set {self.name!r}, {source}: {why} (on_bad = "drop" leaves such frames out and counts them)'
            )
        self.leave_out(source, kind, why)

    def leave_out(self, source: str, kind: str, why: str) -> None:
        """A frame that is left out by a rule of the run file."""
        self.counts[kind] += 1
        self._first.setdefault(kind, f"{source}: {why}")

    def report(self) -> list[str]:
        """A line for each kind of frame that was left out."""
        return [
            f"{count} frame{'s' if count > 1 else ''} left out ({kind}); the first is {self._first[kind]}"
            for kind, count in self.counts.items()
        ]
