"""What a training run has left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train.state import Position


@dataclass(frozen=True)
class TrainingResult:
    """What a run has left.

    Attributes:
        checkpoint: the potential's file; none where the run was stopped before its end.
        errors: on the test split (valid where there is none), by data set.
        position: where the run stands, and the joules that it has used.
        reason: why it ended: "epochs", "patience", "max_minutes"; "interrupted" by Ctrl-C; "terminated" by a signal of
            the scheduler or the near end of its job; "paused" after the epochs that were asked for.
    """

    checkpoint: Path | None
    errors: dict[str, dict[str, float]]
    position: Position
    reason: str
