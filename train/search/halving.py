"""Successive halving without waiting for others, and Hyperband.

At rungs, epochs `first * reduction^k` of the schedule, a trial halts; the best 1 / `reduction` of those that have come
to a rung go on to the next (ASHA: Li et al., MLSys 2020, arXiv:1810.05934, algorithm 2). Nobody waits until a rung is
full: a trial that is not among them yet stays paused, and is promoted when enough worse ones have come. Hyperband (Li
et al., JMLR 18, 2018, arXiv:1603.06560) deals trials to brackets, of which each begins to halve one rung later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from train.config_tables import PositiveInt, Table
from train.search.curves import Curve, Verdict


class HalvingConfig(Table):
    """`[stopping.halving]`.

    Attributes:
        reduction: one trial of so many goes on from a rung.
        first_rung: epochs before the first decision.
        brackets: 1 is ASHA, which halves from the first rung on; "all" is Hyperband, up to the bracket that stops
            nobody; a number takes so many of its brackets, those that halve first.
        at_least: so many trials of a rung may go on where a share of them is less; 0 is the published rule, by which
            few trials may end with none that is trained to the end.
    """

    reduction: Annotated[int, Field(ge=2)] = 3
    first_rung: PositiveInt = 1
    brackets: PositiveInt | Literal["all"] = 1
    at_least: Annotated[int, Field(ge=0)] = 1


class Halving:
    """The rule.

    Args:
        config: its settings.
    """

    def __init__(self, config: HalvingConfig) -> None:
        self.config = config

    def rungs(self, trial: int, epochs: int) -> tuple[int, ...]:
        """Epochs at which a trial of so many halts.

        Raises:
            ValueError: so many epochs have fewer brackets than are asked for.
        """
        return _rungs(self.config, trial, epochs)

    def next_pause(self, trial: int, epoch: int, epochs: int) -> int | None:
        """The next rung."""
        return next((rung for rung in self.rungs(trial, epochs) if rung > epoch), None)

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        """At a rung: goes on where it would be promoted next, else waits."""
        epoch = curve.points[-1].epoch
        if epoch not in self.rungs(curve.trial, curve.epochs):
            return Verdict("go_on")
        everyone = [*others, replace(curve, state="paused")]
        there = self._reached(everyone, epoch, self._first(curve))
        place = 1 + [one.trial for _, one in there].index(curve.trial)
        told = f"epoch {epoch}: error {error_by(curve, epoch):.4g} is number {place} of {len(there)}"
        if self.promote(everyone) == curve.trial:
            return Verdict("go_on", f"{told}; {self._places(len(there))} go on from here")
        return Verdict("pause", f"{told}, of which {self._places(len(there))} go on by now")

    def promote(self, curves: Sequence[Curve]) -> int | None:
        """The best paused trial, of the highest rung, that is among those of its rung that go on."""
        halted = {
            (self._first(curve), curve.points[-1].epoch)
            for curve in curves
            if curve.state == "paused" and curve.points and curve.points[-1].epoch < curve.epochs
        }
        for first, rung in sorted(halted, key=lambda found: (-found[1], found[0])):
            there = self._reached(curves, rung, first)
            for error, curve in there[: self._places(len(there))]:
                if curve.state == "paused" and curve.points[-1].epoch == rung and error < math.inf:
                    return curve.trial
        return None

    def _first(self, curve: Curve) -> int | None:
        """First rung of the bracket that a trial is of: trials compete with those of their bracket."""
        return next(iter(self.rungs(curve.trial, curve.epochs)), None)

    def _reached(self, curves: Sequence[Curve], rung: int, first: int | None) -> list[tuple[float, Curve]]:
        """Trials of a bracket that have come to a rung, the best first; equal ones in the order of their numbers."""
        there = [
            (error_by(curve, rung), curve)
            for curve in curves
            if curve.points and curve.points[-1].epoch >= rung and self._first(curve) == first
        ]
        return sorted(there, key=lambda pair: (pair[0], pair[1].trial))

    def _places(self, reached: int) -> int:
        return max(self.config.at_least, reached // self.config.reduction)


def error_by(curve: Curve, epoch: int) -> float:
    """The least error of a trial up to an epoch, that of the weights it would leave; infinite where none is finite."""
    errors = (point.error for point in curve.points if point.epoch <= epoch)
    return min((error for error in errors if math.isfinite(error)), default=math.inf)


def bracket_sizes(rungs: int, reduction: int) -> tuple[int, ...]:
    """Trials in one round of Hyperband, n of algorithm 1, for the bracket of all rungs first, of none last."""
    return tuple(-(-(rungs + 1) * reduction**left // (left + 1)) for left in range(rungs, -1, -1))


@lru_cache
def bracket_of(trial: int, sizes: tuple[int, ...]) -> int:
    """Which bracket a trial is dealt to by its number; after any of them all have had their shares, but for a trial."""
    total = sum(sizes)
    dealt = [0] * len(sizes)
    for number in range(trial % total + 1):
        short = [size * (number + 1) / total - had for size, had in zip(sizes, dealt, strict=True)]
        # never more than its size in a round: what rounding has left is taken by those that are short
        choice = max(range(len(sizes)), key=lambda which: (short[which], sizes[which]))
        dealt[choice] += 1
    return choice


@lru_cache(maxsize=65536)
def _rungs(config: HalvingConfig, trial: int, epochs: int) -> tuple[int, ...]:
    found, rung = [], config.first_rung
    while rung < epochs:
        found.append(rung)
        rung *= config.reduction
    possible = len(found) + 1
    brackets = possible if config.brackets == "all" else config.brackets
    if brackets > possible:
        raise ValueError(
            f"stopping.halving.brackets = {brackets}: {epochs} epochs with the first rung at {config.first_rung}"
            f' have {possible}; set brackets to "all" or at most {possible}, or train for more epochs'
        )
    return tuple(found[bracket_of(trial, bracket_sizes(len(found), config.reduction)[:brackets]) :])
