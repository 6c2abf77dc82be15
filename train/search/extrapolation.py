"""Stops a trial whose final error will not reach the front, with a stated confidence.

The end of a schedule shows in no early epoch: while the learning rate comes down errors fall in ways that a power law
of the beginning does not know. So what finished trials of the study still gained from the same share of the schedule on
is regressed on what each one's own curve had promised then (`train.search.families`) and on how large its error was.
The regression is Bayesian: with few finished trials it is unsure, and an unsure forecast stops nobody. Trials that
ended further on than the judged one count in part, by how well their own ends are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import t as student

from train.config_tables import PositiveInt, Table
from train.search.curves import Curve, Verdict
from train.search.families import Posterior, conjugate, forecast
from train.search.halving import error_by
from train.search.limits import Alone

SPREAD = 0.15
"""Of logarithms of final errors about what is predicted, before any trial has finished; worth two trials."""

PRIOR_MEAN, PRIOR_DEVIATION = (-0.3, 1.0, 0.0), (0.5, 0.5, 0.3)
"""Of the coefficients: what is gained beyond the trial's own forecast in the whole schedule, the part of this forecast
that comes true, and what a larger error does; logarithms of errors."""

LEAST_GAIN = -3.0
"""Where a forecast of a curve's own is cut off: a twentieth of the error."""


class ExtrapolationConfig(Table):
    """`[stopping.extrapolation]`.

    Attributes:
        confidence: that a stopped trial would not have reached the front.
        least_points: validations of a trial before it is judged.
        least_finished: trials that have finished before any is judged.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    least_points: Annotated[int, Field(ge=2)] = 3
    least_finished: PositiveInt = 2


@dataclass(frozen=True)
class FinalError:
    """What the least error of a trial will be at its end: Student's distribution of its logarithm, cut off at `now`.

    Attributes:
        now: the least so far, which it cannot be above.
        centre, scale: of the logarithm.
        freedom: degrees of it.
        finished: trials that it was learnt from.
    """

    now: float
    centre: float
    scale: float
    freedom: float
    finished: int

    def below(self, error: float) -> float:
        """Probability that the final error is below this one."""
        if error <= 0:
            return 0.0
        if error > self.now:
            return 1.0
        whole = self._cumulative(self.now)
        return min(1.0, self._cumulative(error) / whole) if whole > 0 else 0.0

    def quantile(self, share: float) -> float:
        """The error that the final one is below with this probability."""
        cut = student.ppf(share * self._cumulative(self.now), self.freedom)
        return min(self.now, math.exp(self.centre + self.scale * float(cut)))

    def _cumulative(self, error: float) -> float:
        return float(student.cdf((math.log(error) - self.centre) / self.scale, self.freedom))


class Extrapolation(Alone):
    """The rule.

    Args:
        config: its settings.
    """

    def __init__(self, config: ExtrapolationConfig) -> None:
        self.config = config

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        """Stops where the front is out of reach."""
        rival = to_beat(curve, others)
        if rival is None or curve.points[-1].epoch >= curve.epochs or len(curve.points) < self.config.least_points:
            return Verdict("go_on")
        final = predict_final(curve, others)
        if final is None or final.finished < self.config.least_finished:
            return Verdict("go_on")
        target, by = rival
        chance = final.below(target)
        told = (
            f"epoch {curve.points[-1].epoch}: final error {final.quantile(0.5):.4g}"
            f" ({final.quantile(0.05):.4g} to {final.quantile(0.95):.4g}) by {final.finished} finished trials; below"
            f" {target:.4g} of trial {by} with probability {chance:.2g}"
        )
        if chance < 1 - self.config.confidence:
            return Verdict("stop", f"{told}, less than {1 - self.config.confidence:.2g}")
        return Verdict("go_on", told)


def to_beat(curve: Curve, others: Sequence[Curve]) -> tuple[float, int] | None:
    """Error and trial of the front at the cost of this trial: the best finished one that is not dearer at inference.

    Where one of the costs is not known only errors are compared.
    """
    rivals = [
        (error_by(other, other.epochs), other.trial)
        for other in others
        if other.state == "finished"
        and (curve.cost is None or other.cost is None or other.cost <= curve.cost)
        and error_by(other, other.epochs) < math.inf
    ]
    return min(rivals, default=None)


def predict_final(curve: Curve, others: Sequence[Curve]) -> FinalError | None:
    """The error that a trial would end with.

    Args:
        curve: of the trial.
        others: of the study; finished ones are evidence, and such that ended early but later than this one.

    Returns:
        none where no error of the trial is finite and positive.
    """
    share = curve.points[-1].epoch / curve.epochs if curve.points else 0.0
    here = _seen(curve, share)
    if here is None:
        return None
    finished = [other for other in others if other.state == "finished" and _points(other, 1.0)]
    evidence = [(other, _log_end(other), 0.0) for other in finished]
    for other in others:
        if other.state != "finished" and other.points and other.points[-1].epoch / other.epochs > share:
            evidence += _in_part(other, finished)
    posterior, level = _learnt(evidence, share)
    centre, scale, freedom = posterior.at(_known(here, level))
    return FinalError(math.exp(here[0]), here[0] + centre, scale, freedom, len(finished))


def _in_part(curve: Curve, finished: Sequence[Curve]) -> list[tuple[Curve, float, float]]:
    """A trial that has not finished as evidence: where it would end by the finished ones, and the scale of this."""
    share = curve.points[-1].epoch / curve.epochs
    here = _seen(curve, share)
    if here is None:
        return []
    posterior, level = _learnt([(other, _log_end(other), 0.0) for other in finished], share)
    centre, scale, _ = posterior.at(_known(here, level))
    return [(curve, here[0] + centre, scale)]


def _learnt(evidence: Sequence[tuple[Curve, float, float]], share: float) -> tuple[Posterior, float]:
    """What is gained from this share of the schedule on, learnt from trials, their ends and scales of these.

    Returns:
        the regression, and the mean error of these trials here.
    """
    rows = [(seen, end, scale) for curve, end, scale in evidence if (seen := _seen(curve, share)) is not None]
    left = 1 - share
    level = float(np.mean([seen[0] for seen, _, _ in rows])) if rows else 0.0
    mean, deviation = np.array(PRIOR_MEAN) * (left, 1, 1), np.array(PRIOR_DEVIATION)
    spread = SPREAD * math.sqrt(max(left, 0.01))  # nearer to the end less can happen
    x_TK = np.array([_known(seen, level) for seen, _, _ in rows]).reshape(-1, 3)
    gained_T = np.array([min(0.0, end - seen[0]) for seen, end, _ in rows])
    variance_T = np.array([scale for _, _, scale in rows]) ** 2
    weight_T = SPREAD**2 / (SPREAD**2 + variance_T)
    # ends that were predicted lie on the regression of others: what they may be off by counts as seen, or the spread
    # of all would look small
    rate = spread**2 + float(weight_T @ variance_T) / 2
    return conjugate(x_TK, gained_T, weight_T, (mean, (deviation / spread) ** -2, 1.0, rate)), level


def _known(seen: tuple[float, float], level: float) -> NDArray[np.float64]:
    """What the regression is on: a constant, the gain that the curve itself forecasts, the error beside others'."""
    now, own = seen
    return np.array([1.0, own, now - level])


def _seen(curve: Curve, share: float) -> tuple[float, float] | None:
    """Logarithm of the least error up to a share of the schedule, and the gain that the curve so far forecasts."""
    points = _points(curve, share)
    if not points:
        return None
    epochs, log_errors = zip(*points, strict=True)
    now = min(log_errors)
    own = forecast(epochs, log_errors, curve.epochs).mean - now
    return now, min(0.0, max(LEAST_GAIN, own))


def _points(curve: Curve, share: float) -> list[tuple[int, float]]:
    """Epochs up to a share of the schedule, and logarithms of their errors, where there is one."""
    limit = share * curve.epochs + 1e-9
    return [
        (point.epoch, math.log(point.error))
        for point in curve.points
        if 0 < point.epoch <= limit and math.isfinite(point.error) and point.error > 0
    ]


def _log_end(curve: Curve) -> float:
    return min(log_error for _, log_error in _points(curve, 1.0))
