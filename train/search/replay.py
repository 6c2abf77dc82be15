"""What a rule would have saved on trials that were trained to their ends: their curves, gone through again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from train.search.curves import Curve, Point, StoppingRule
from train.search.halving import error_by

State = Literal["running", "paused", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Ended:
    """A trial that a rule ended early, or left paused.

    Attributes:
        curve: as far as it came.
        reason: of the rule.
        final: error that it would have had.
    """

    curve: Curve
    reason: str
    final: float


@dataclass(frozen=True)
class Replayed:
    """A study under a rule.

    Attributes:
        curves: of all trials, as far as they came.
        joules, seconds: of all of them; seconds are of trials, not of the study.
        restarts: trials that were taken on after a pause.
        best: least error of the trials that finished; infinite where none did.
        recorded_joules, recorded_best: of the whole curves.
        ended: trials that did not finish, in the order of their numbers.
    """

    curves: tuple[Curve, ...]
    joules: float
    seconds: float
    restarts: int
    best: float
    recorded_joules: float
    recorded_best: float
    ended: tuple[Ended, ...]

    @property
    def saved(self) -> float:
        """How many times less energy."""
        return self.recorded_joules / self.joules

    @property
    def excess(self) -> float:
        """By which share the best error is larger than without the rule."""
        return self.best / self.recorded_best - 1

    @property
    def wrong(self) -> tuple[Ended, ...]:
        """Trials that ended early and would have had a smaller error than all that finished."""
        return tuple(one for one in self.ended if one.final < self.best)


def replay(recorded: Sequence[Curve], rule: StoppingRule, *, workers: int = 1, restart_joules: float = 0.0) -> Replayed:
    """Go through a study as workers of a search would.

    A worker that is free takes on the trial that the rule promotes, else begins the next one. After each validation the
    rule judges. What is paused when there is nothing left to begin stays so.

    Args:
        recorded: whole curves, in the order in which trials begin.
        rule: what is tried.
        workers: that train trials at the same time, each as fast as recorded.
        restart_joules: that taking on a paused trial costs: reading, compiling.

    Raises:
        ValueError: no trial, or one whose curve is empty or cut short by an earlier rule.
    """
    _check(recorded)
    known = {one.trial: one for one in recorded}
    study = _Study(known, rule)
    free = [(0.0, worker) for worker in range(workers)]
    restarts = 0
    busy: list[tuple[float, int, int]] = []  # until when, worker, trial
    while free or busy:
        while free:
            now, worker = heapq.heappop(free)
            trial, again = study.take()
            if trial is None:
                continue  # others may still promote: a worker that has nothing to do now looks again below
            restarts += again
            heapq.heappush(busy, (now + study.duration(trial), worker, trial))
        if not busy:
            break
        now, worker, trial = heapq.heappop(busy)
        if study.step(trial):
            heapq.heappush(busy, (now + study.duration(trial), worker, trial))
        else:
            idle = set(range(workers)) - {other for _, other, _ in busy}
            free = [(now, one) for one in sorted(idle)]
    return study.result(restarts, restart_joules)


class _Study:
    """Curves so far, and what happens to them."""

    def __init__(self, recorded: dict[int, Curve], rule: StoppingRule) -> None:
        self.recorded, self.rule = recorded, rule
        self.waiting = list(recorded)
        self.curves: dict[int, Curve] = {}
        self.reasons: dict[int, str] = {}

    def take(self) -> tuple[int | None, bool]:
        """The trial that a free worker trains, and whether it was paused."""
        trial = self.rule.promote(list(self.curves.values()))
        if trial is not None:
            assert self.curves[trial].state == "paused", "a rule promotes paused trials alone"
            self._set(trial, "running")
            return trial, True
        if not self.waiting:
            return None, False
        trial = self.waiting.pop(0)
        self.curves[trial] = replace(self.recorded[trial], points=(), state="running")
        return trial, False

    def duration(self, trial: int) -> float:
        """Seconds until the next validation."""
        points, had = self.recorded[trial].points, len(self.curves[trial].points)
        before = points[had - 1].seconds if had else 0.0
        return points[had].seconds - before

    def step(self, trial: int) -> bool:
        """The next validation of a trial; whether it goes on."""
        whole = self.recorded[trial]
        had = len(self.curves[trial].points) + 1
        self.curves[trial] = replace(self.curves[trial], points=whole.points[:had])
        if had == len(whole.points):
            self._set(trial, "finished" if whole.state == "finished" else "failed")
            return False
        others = [curve for number, curve in self.curves.items() if number != trial]
        verdict = self.rule.judge(self.curves[trial], others)
        self.reasons[trial] = verdict.reason
        if verdict.kind != "go_on":
            self._set(trial, "paused" if verdict.kind == "pause" else "stopped")
        return verdict.kind == "go_on"

    def _set(self, trial: int, state: State) -> None:
        self.curves[trial] = replace(self.curves[trial], state=state)

    def result(self, restarts: int, restart_joules: float) -> Replayed:
        """What has come out."""
        curves = tuple(self.curves[trial] for trial in self.recorded)
        whole = tuple(self.recorded.values())
        return Replayed(
            curves,
            joules=sum(curve.points[-1].joules for curve in curves) + restarts * restart_joules,
            seconds=sum(curve.points[-1].seconds for curve in curves),
            restarts=restarts,
            best=min((_final(curve) for curve in curves if curve.state == "finished"), default=math.inf),
            recorded_joules=sum(curve.points[-1].joules for curve in whole),
            recorded_best=min((_final(curve) for curve in whole if curve.state == "finished"), default=math.inf),
            ended=tuple(
                Ended(curve, self.reasons[curve.trial], _final(self.recorded[curve.trial]))
                for curve in curves
                if curve.state in {"paused", "stopped"}
            ),
        )


def _final(curve: Curve) -> float:
    return error_by(curve, curve.epochs)


def _check(recorded: Sequence[Curve]) -> None:
    if not recorded:
        raise ValueError("no trial is given; a replay needs one at least")
    for curve in recorded:
        if not curve.points or curve.state not in {"finished", "failed"}:
            raise ValueError(
                f"trial {curve.trial} is {curve.state} with {len(curve.points)} validations; a rule can be replayed on"
                " trials alone that were trained to their ends: search once without [stopping]"
            )


def curve_of(trial: int, points: Sequence[Sequence[float]], epochs: int, cost: float | None = None) -> Curve:
    """A whole curve from rows of [epoch, seconds, joules, error]; failed where it ends before the last epoch."""
    made = tuple(Point(int(epoch), seconds, joules, error) for epoch, seconds, joules, error in points)
    return Curve(trial, made, epochs, "finished" if made and made[-1].epoch >= epochs else "failed", cost)
