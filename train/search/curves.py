"""How trials went: what a rule that stops trials early is given, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Point:
    """A trial at one validation.

    Attributes:
        epoch: that is over.
        seconds: of training, all sessions together.
        joules: used, all processes and sessions together.
        error: what the search makes small.
    """

    epoch: int
    seconds: float
    joules: float
    error: float


@dataclass(frozen=True)
class Curve:
    """A trial so far.

    Attributes:
        trial: its number in the study.
        points: one for each validation, in their order.
        epochs: that it would have without early stopping.
        state: "running", "paused" (it can go on), "finished", "stopped" (early, for good) or "failed".
        cost: of the model at inference, seconds per atom; none while it is not known.
    """

    trial: int
    points: tuple[Point, ...]
    epochs: int
    state: Literal["running", "paused", "finished", "stopped", "failed"] = "running"
    cost: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of a trial: it goes on, waits (and may go on later), or ends; why, in a sentence for its row."""

    kind: Literal["go_on", "pause", "stop"]
    reason: str = ""


class StoppingRule(Protocol):
    """Decides at every validation of a trial whether it is worth its energy. Pure: all it knows are the curves."""

    def next_pause(self, trial: int, epoch: int, epochs: int) -> int | None:
        """The first epoch after `epoch`, before the last, at which the trial has to halt and be judged; none: never."""

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        """About a running trial that has just been validated."""

    def promote(self, curves: Sequence[Curve]) -> int | None:
        """The paused trial that is to go on next, before new ones begin; none: begin a new one."""
