"""Rules that look at one trial, several rules as one, and their settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from train.search.curves import Curve, Point, Verdict
from train.search.stopping import (
    ExtrapolationConfig,
    HalvingConfig,
    LimitsConfig,
    PatienceConfig,
    StoppingConfig,
    Together,
    rule_of,
)


def curve(*errors: float, trial: int = 0, state: str = "running", epochs: int = 27) -> Curve:
    points = tuple(Point(epoch, 30.0 * epoch, 100.0 * epoch, error) for epoch, error in enumerate(errors, 1))
    return Curve(trial, points, epochs, state)  # type: ignore[arg-type]


def judged(config: StoppingConfig, *errors: float) -> tuple[str, str]:
    verdict = rule_of(config).judge(curve(*errors), [])
    return verdict.kind, verdict.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_error_that_is_no_number_stops_whatever_is_set(bad: float) -> None:
    assert judged(StoppingConfig(), 2.0, 1.0, bad) == ("stop", f"epoch 3: the error is {bad}")
    assert judged(StoppingConfig(), bad, 1.0) == ("go_on", "")
    # halving would pause it, and nothing can become of it
    assert judged(StoppingConfig(halving=HalvingConfig()), bad)[0] == "stop"


def test_patience() -> None:
    config = StoppingConfig(patience=PatienceConfig(validations=3))
    assert judged(config, 3.0, 2.0, 2.1, 2.2) == ("go_on", "")
    assert judged(config, 3.0, 2.0, 2.1, 2.2, 2.0) == (
        "stop",
        "epoch 5: 3 validations not better than 2 of epoch 2",
    )
    assert judged(config, 3.0, 2.0, 2.1, 2.2, 1.99)[0] == "go_on"
    wide = StoppingConfig(patience=PatienceConfig(validations=3, min_delta=0.1))
    assert judged(wide, 2.0, 1.95, 1.9, 1.85) == (
        "stop",
        "epoch 4: 3 validations not better by 10.00% than 2 of epoch 1",
    )
    assert judged(wide, 2.0, 1.95, 1.9, 1.79)[0] == "go_on", "small steps add up"
    assert judged(config, math.nan, math.nan, 1.0)[0] == "go_on"


def test_limits_of_time_and_energy() -> None:
    assert judged(StoppingConfig(limits=LimitsConfig(max_minutes=1.5)), 1.0, 1.0)[0] == "go_on"
    assert judged(StoppingConfig(limits=LimitsConfig(max_minutes=1.5)), 1.0, 1.0, 1.0) == (
        "stop",
        "epoch 3: 1.5 of 1.5 minutes",
    )
    assert judged(StoppingConfig(limits=LimitsConfig(max_joules=200)), 1.0)[0] == "go_on"
    assert judged(StoppingConfig(limits=LimitsConfig(max_joules=200)), 1.0, 1.0) == (
        "stop",
        "epoch 2: 200 of 200 J",
    )
    with pytest.raises(ValidationError, match="no limit is set; give max_minutes or max_joules, or leave the table"):
        LimitsConfig()


def test_the_strictest_verdict_holds_with_its_reasons() -> None:
    limits, patience = LimitsConfig(max_joules=200), PatienceConfig(validations=1)
    config = StoppingConfig(halving=HalvingConfig(first_rung=2), limits=limits, patience=patience)
    kind, reason = judged(config, 1.0, 1.0)
    assert kind == "stop"
    assert reason == "epoch 2: 200 of 200 J; epoch 2: 1 validations not better than 1 of epoch 1"
    rule = rule_of(StoppingConfig(halving=HalvingConfig(), patience=patience))
    assert rule.judge(curve(2.0), [curve(1.0, trial=1, state="paused")]).kind == "pause"
    assert rule.next_pause(0, 0, 27) == 1
    assert rule.next_pause(0, 9, 27) is None
    assert rule_of(StoppingConfig(patience=patience)).next_pause(0, 0, 27) is None
    assert rule_of(StoppingConfig(patience=patience)).promote([curve(1.0, state="paused")]) is None


@dataclass
class Against:
    """A rule that stops some trials."""

    trials: tuple[int, ...]

    def next_pause(self, trial: int, epoch: int, epochs: int) -> int | None:
        return 7

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        assert curve not in others
        return Verdict("stop" if curve.trial in self.trials else "go_on")

    def promote(self, curves: Sequence[Curve]) -> int | None:
        return None


def test_what_another_rule_would_stop_is_not_promoted() -> None:
    paused = [curve(error, trial=trial, state="paused") for trial, error in enumerate([1.0, 1.1, 1.2, 2.0, 2.1, 2.2])]
    (halving,) = (rule for rule in rule_of(StoppingConfig(halving=HalvingConfig())).rules[1:])  # type: ignore[attr-defined]
    assert Together([halving, Against(())]).promote(paused) == 0
    assert Together([halving, Against((0,))]).promote(paused) == 1
    # two places: who is stopped keeps his, and the third does not get it
    assert Together([halving, Against((0, 1))]).promote(paused) is None
    assert Together([halving, Against(())]).next_pause(0, 3, 27) == 7


def test_settings_are_checked() -> None:
    read = StoppingConfig.model_validate(
        {
            "halving": {"brackets": "all", "first_rung": 2},
            "extrapolation": {"confidence": 0.9},
            "limits": {"max_joules": 5},
        }
    )
    assert read.halving == HalvingConfig(brackets="all", first_rung=2)
    assert read.extrapolation == ExtrapolationConfig(confidence=0.9)
    for wrong in (
        {"halving": {"reduction": 1}},
        {"halving": {"brackets": "some"}},
        {"halving": {"first_rung": 0}},
        {"extrapolation": {"confidence": 0.4}},
        {"extrapolation": {"confidence": 1.0}},
        {"patience": {"validations": 0}},
        {"halfing": {}},
    ):
        with pytest.raises(ValidationError):
            StoppingConfig.model_validate(wrong)


@dataclass
class InFavour(Against):
    """A rule that takes on whichever of its trials is paused."""

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        return Verdict("go_on")

    def promote(self, curves: Sequence[Curve]) -> int | None:
        return next((one.trial for one in curves if one.trial in self.trials and one.state == "paused"), None)


def test_a_trial_that_would_be_taken_on_at_once_does_not_pause() -> None:
    halving = rule_of(StoppingConfig(halving=HalvingConfig())).rules[1]  # type: ignore[attr-defined]
    better = curve(1.0, trial=1, state="paused")
    verdict = Together([halving, InFavour((0,))]).judge(curve(2.0), [better])
    told = "epoch 1: error 2 is number 2 of 2, of which 1 go on by now"
    # the better one is promoted before it
    assert (verdict.kind, verdict.reason) == ("pause", told)
    verdict = Together([InFavour((0,)), halving]).judge(curve(2.0), [better])
    assert (verdict.kind, verdict.reason) == ("go_on", f"{told}; those before it are out of reach")
