"""Replays: energy, restarts and verdicts by hand; several workers; what every rule has to hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.train.simulated_studies import study
from train.search.curves import Curve, Verdict
from train.search.halving import error_by
from train.search.replay import curve_of, replay
from train.search.stopping import (
    ExtrapolationConfig,
    HalvingConfig,
    PatienceConfig,
    StoppingConfig,
    rule_of,
)

RULES = {
    "none": StoppingConfig(),
    "asha": StoppingConfig(halving=HalvingConfig()),
    "hyperband": StoppingConfig(halving=HalvingConfig(brackets="all")),
    "extrapolation": StoppingConfig(extrapolation=ExtrapolationConfig()),
    "combined": StoppingConfig(
        halving=HalvingConfig(), extrapolation=ExtrapolationConfig(), patience=PatienceConfig(validations=9)
    ),
}


def trial(number: int, *errors: float, joules: float = 10.0, epochs: int = 4) -> Curve:
    rows = [(epoch, 2.0 * epoch, joules * epoch, error) for epoch, error in enumerate(errors, 1)]
    return curve_of(number, rows, epochs)


def test_energy_restarts_and_wrong_stops_by_hand() -> None:
    """Halving by two at epochs 1 and 2 of 4: worked out on paper."""
    recorded = [
        trial(0, 4.0, 3.0, 2.5, 2.0),  # alone, it goes through all rungs
        trial(1, 5.0, 1.0, 0.8, 0.5),  # worse at its first rung: paused, later promoted as the second of four
        trial(2, 6.0, 5.0, 5.0, 5.0),  # paused for good
        trial(3, 7.0, 0.3, 0.2, 0.1),  # paused for good, and would have been the best of all
    ]
    found = replay(recorded, rule_of(StoppingConfig(halving=HalvingConfig(reduction=2))), restart_joules=3.0)
    assert [curve.points[-1].epoch for curve in found.curves] == [4, 4, 1, 1]
    assert [curve.state for curve in found.curves] == ["finished", "finished", "paused", "paused"]
    assert found.restarts == 1
    assert found.joules == 40 + 40 + 10 + 10 + 3
    assert found.seconds == 20
    assert (found.best, found.recorded_best, found.recorded_joules) == (0.5, 0.1, 160)
    assert found.saved == pytest.approx(160 / 103)
    assert found.excess == pytest.approx(4)
    assert [(one.curve.trial, one.final) for one in found.wrong] == [(3, 0.1)]
    assert [one.reason for one in found.ended] == [
        "epoch 1: error 6 is number 3 of 3, of which 1 go on by now",
        "epoch 1: error 7 is number 4 of 4, of which 2 go on by now",
    ]


def test_without_a_rule_everything_is_as_recorded() -> None:
    recorded = [*study(0)[:4], trial(9, 1.0, 1.0)]
    found = replay(recorded, rule_of(StoppingConfig()))
    assert found.curves == tuple(recorded)
    assert found.curves[-1].state == "failed"
    assert (found.saved, found.excess, found.ended, found.restarts) == (1, 0, (), 0)
    assert found.best == min(error_by(curve, 27) for curve in recorded[:4]), "a failed trial has left nothing"


@dataclass
class Watched:
    """Notes what is asked of a rule that lets everybody go on."""

    running: list[int] = field(default_factory=list)

    def next_pause(self, trial: int, epoch: int, epochs: int) -> int | None:
        return None

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        self.running.append(1 + sum(other.state == "running" for other in others))
        return Verdict("go_on")

    def promote(self, curves: Sequence[Curve]) -> int | None:
        return None


def test_workers_train_at_the_same_time() -> None:
    recorded = [trial(number, 4.0, 3.0, 2.0, 1.0) for number in range(6)]
    for workers in (1, 2, 4):
        watched = Watched()
        found = replay(recorded, watched, workers=workers)
        assert max(watched.running) == workers
        assert found.joules == found.recorded_joules


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("workers", [1, 3])
def test_what_every_rule_holds(name: str, workers: int) -> None:
    recorded = study(7, trials=16)
    found = replay(recorded, rule_of(RULES[name]), workers=workers)
    assert found == replay(recorded, rule_of(RULES[name]), workers=workers), "nothing is left to chance"
    assert any(curve.state == "finished" for curve in found.curves)
    assert len(found.ended) + sum(curve.state == "finished" for curve in found.curves) == 16
    for curve, whole in zip(found.curves, recorded, strict=True):
        assert curve.points == whole.points[: len(curve.points)]
    assert all(one.reason.startswith("epoch ") for one in found.ended)
    assert (found.saved > 1) == (name != "none")
    assert found.best >= found.recorded_best


def test_errors_that_are_none_cost_one_validation_and_no_study() -> None:
    recorded = [trial(0, 4.0, 3.0, 2.0, 1.0), trial(1, 3.0, math.nan, math.nan, math.nan), trial(2, *[math.inf] * 4)]
    for name, config in RULES.items():
        found = replay(recorded, rule_of(config))
        assert found.best == 1.0, name
        assert len(found.curves[2].points) == 1, name
        assert len(found.curves[1].points) <= 2, name


def test_curves_that_a_rule_has_cut_short_are_refused() -> None:
    with pytest.raises(ValueError, match="no trial is given"):
        replay([], rule_of(StoppingConfig()))
    stopped = Curve(3, trial(3, 1.0).points, 4, "stopped")
    with pytest.raises(ValueError, match=r"trial 3 is stopped with 1 validations; a rule can be replayed on trials"):
        replay([stopped], rule_of(StoppingConfig()))
