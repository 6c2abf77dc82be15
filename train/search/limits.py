"""Rules that look at one trial alone: errors that are no numbers, patience, time and energy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import model_validator

from train.config_tables import NotNegative, OptionalPositive, PositiveInt, Table
from train.search.curves import Curve, Verdict


class PatienceConfig(Table):
    """`[stopping.patience]`.

    Attributes:
        validations: without a better one before a trial ends.
        min_delta: by which share of the best error one has to be better to count.
    """

    validations: PositiveInt = 10
    min_delta: NotNegative = 0.0


class LimitsConfig(Table):
    """`[stopping.limits]`: of each trial.

    Attributes:
        max_minutes: of training.
        max_joules: used.
    """

    max_minutes: OptionalPositive = None
    max_joules: OptionalPositive = None

    @model_validator(mode="after")
    def _one_at_least(self) -> LimitsConfig:
        if self.max_minutes is None and self.max_joules is None:
            raise ValueError("no limit is set; give max_minutes or max_joules, or leave the table out")
        return self


class Alone:
    """A rule that judges at every validation and pauses nobody."""

    def next_pause(self, trial: int, epoch: int, epochs: int) -> int | None:
        """None."""
        del trial, epoch, epochs
        return None

    def promote(self, curves: Sequence[Curve]) -> int | None:
        """None."""
        del curves
        return None


class Finite(Alone):
    """Stops a trial whose last error is no number or infinite."""

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        """About its last point."""
        del others
        last = curve.points[-1]
        if math.isfinite(last.error):
            return Verdict("go_on")
        return Verdict("stop", f"epoch {last.epoch}: the error is {last.error}")


class Patience(Alone):
    """Stops a trial whose best error is long ago.

    Args:
        config: its settings.
    """

    def __init__(self, config: PatienceConfig) -> None:
        self.config = config

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        """Counts validations since one that was better by enough."""
        del others
        best, since, at = math.inf, 0, 0
        for point in curve.points:
            since += 1
            if point.error < best * (1 - self.config.min_delta) or (best == math.inf and math.isfinite(point.error)):
                best, since, at = point.error, 0, point.epoch
        if since < self.config.validations:
            return Verdict("go_on")
        better = f" by {self.config.min_delta:.2%}" if self.config.min_delta else ""
        return Verdict(
            "stop",
            f"epoch {curve.points[-1].epoch}: {since} validations not better{better} than {best:.4g} of epoch {at}",
        )


class Limits(Alone):
    """Stops a trial that has had its time or its energy.

    Args:
        config: its settings.
    """

    def __init__(self, config: LimitsConfig) -> None:
        self.config = config

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        """About its last point."""
        del others
        last, config = curve.points[-1], self.config
        if config.max_minutes is not None and last.seconds >= 60 * config.max_minutes:
            return Verdict("stop", f"epoch {last.epoch}: {last.seconds / 60:.3g} of {config.max_minutes:g} minutes")
        if config.max_joules is not None and last.joules >= config.max_joules:
            return Verdict("stop", f"epoch {last.epoch}: {last.joules:.4g} of {config.max_joules:g} J")
        return Verdict("go_on")
