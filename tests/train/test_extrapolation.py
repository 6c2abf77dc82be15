"""Forecasts of final errors: what they claim holds, on simulated studies and on recorded trainings."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.train.simulated_studies import study
from train.search.curves import Curve, Point
from train.search.extrapolation import Extrapolation, ExtrapolationConfig, predict_final, to_beat
from train.search.families import forecast
from train.search.halving import error_by
from train.search.replay import curve_of

RECORDED = Path(__file__).with_name("recorded_trials.json")
FINISHED = 8


def recorded() -> list[Curve]:
    """Trials that `benchmarks.search_trials` has trained to their ends."""
    trials = json.loads(RECORDED.read_text(encoding="utf-8"))
    return [curve_of(number, trial["points"], 27, trial["cost"]) for number, trial in enumerate(trials)]


def so_far(curve: Curve, points: int) -> Curve:
    return replace(curve, points=curve.points[:points], state="running")


def shares(studies: Sequence[Sequence[Curve]], step: int = 4) -> tuple[int, float, float, int, int]:
    """Forecasts by the first finished trials of a study for the others, at every few epochs.

    Returns:
        forecasts; shares of them whose final error was below what 95 % are above, and above what 95 % are below;
        trials that the rule stops; such among them that would have had the best error.
    """
    count = below = above = stopped = wrong = 0
    rule = Extrapolation(ExtrapolationConfig())
    for curves in studies:
        finished = curves[:FINISHED]
        for curve in curves[FINISHED:]:
            final, ended = error_by(curve, curve.epochs), False
            for points in range(3, curve.epochs - 1, step):
                predicted = predict_final(so_far(curve, points), finished)
                assert predicted is not None
                count += 1
                below += final < predicted.quantile(0.05)
                above += final > predicted.quantile(0.95)
                if not ended and rule.judge(so_far(curve, points), finished).kind == "stop":
                    ended, stopped = True, stopped + 1
                    wrong += final < min(error_by(other, other.epochs) for other in finished)
    return count, below / count, above / count, stopped, wrong


def test_what_is_stated_with_confidence_holds_on_simulated_studies() -> None:
    count, below, above, stopped, wrong = shares([study(seed) for seed in range(4)])
    # forecasts of one trial are alike, so 64 trials and not `count` forecasts decide how well 5 % is known: 3 sigma
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 64)
    assert below < allowed
    assert above < allowed + 0.05, "the upper end is cut off at the error so far, and leaves out more"
    assert stopped > 32, "most trials cannot reach the front"
    assert wrong <= 0.05 * stopped
    assert count == 4 * 16 * 6


def test_the_measure_of_calibration_sees_one_that_is_wrong() -> None:
    """Trials that fall by a third in the last epoch alone, which no finished one did."""
    curves = study(0)
    fallen = [
        replace(curve, points=(*curve.points[:-1], replace(curve.points[-1], error=curve.points[-1].error / 1.5)))
        for curve in curves[FINISHED:]
    ]
    assert shares([[*curves[:FINISHED], *fallen]])[1] > 0.3


def test_what_is_stated_with_confidence_holds_on_recorded_trainings() -> None:
    curves = recorded()
    assert len(curves) >= 16
    # whatever the order in which they finish
    orders = [curves, curves[::-1], curves[8:] + curves[:8]]
    _, below, _, stopped, wrong = shares(orders)
    assert below <= 0.05
    assert stopped >= 8
    assert wrong <= 0.05 * stopped


def test_finished_trials_tell_of_the_end_what_a_curve_does_not() -> None:
    """Errors that fall by half in the last third of the schedule, of which the first third shows nothing."""
    drop = [1.0] * 18 + [0.9, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.52, 0.5]

    def trial(number: int, level: float) -> Curve:
        rows = [(epoch, epoch, epoch, level * by * (1 + 1 / epoch)) for epoch, by in enumerate(drop, 1)]
        return curve_of(number, rows, 27)

    whole = trial(9, 10.0)
    final = error_by(whole, 27)
    epochs, errors = zip(*((point.epoch, math.log(point.error)) for point in whole.points[:12]), strict=True)
    helped = predict_final(so_far(whole, 12), [trial(number, 8.0 + number) for number in range(6)])
    assert helped is not None
    assert abs(math.log(helped.quantile(0.5) / final)) < 0.08
    assert forecast(epochs, errors, 27).mean - math.log(final) > 0.3


def test_trials_that_came_further_are_evidence_too() -> None:
    off: dict[str, list[float]] = {"few": [], "more": []}
    low = 0
    for curves in (study(seed) for seed in range(4)):
        further = [replace(curve, points=curve.points[:18], state="stopped") for curve in curves[2:14]]
        behind = [replace(curve, points=curve.points[:4], state="stopped") for curve in curves[2:14]]
        for curve in curves[14:]:
            judged, final = so_far(curve, 6), error_by(curve, 27)
            few, more = predict_final(judged, curves[:2]), predict_final(judged, [*curves[:2], *further])
            assert few is not None
            assert more is not None
            assert more.finished == few.finished == 2
            assert predict_final(judged, [*curves[:2], *behind]) == few
            off["few"].append(abs(math.log(few.quantile(0.5) / final)))
            off["more"].append(abs(math.log(more.quantile(0.5) / final)))
            low += final < more.quantile(0.05)
    assert sum(off["more"]) < 0.85 * sum(off["few"])
    assert low / 40 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 40), "ends that are guessed make nobody surer than he may be"


def test_the_front_is_that_of_trials_that_are_not_dearer() -> None:
    curves = [replace(curve, cost=cost) for curve, cost in zip(study(1)[:3], (1.0, 2.0, 3.0), strict=True)]
    finals = [error_by(curve, curve.epochs) for curve in curves]
    judged = Curve(9, curves[0].points[:5], 27, cost=2.0)
    assert to_beat(judged, curves) == min(zip(finals[:2], range(2), strict=True))
    assert to_beat(replace(judged, cost=0.5), curves) is None, "the cheapest of all cannot fail to reach the front"
    assert to_beat(replace(judged, cost=None), curves) == min(zip(finals, range(3), strict=True))
    assert to_beat(judged, [replace(curve, state="stopped") for curve in curves]) is None


def test_reasons_have_numbers_and_confidence_decides() -> None:
    curves = study(0)
    finished = curves[:FINISHED]
    worst = max(curves[FINISHED:], key=lambda curve: error_by(curve, 27))
    verdict = Extrapolation(ExtrapolationConfig()).judge(so_far(worst, 15), finished)
    assert verdict.kind == "stop"
    assert "epoch 15: final error " in verdict.reason
    assert " by 8 finished trials; below " in verdict.reason
    assert verdict.reason.endswith(", less than 0.05")
    chances = [
        final.below(to_beat(one, finished)[0])  # type: ignore[index]
        for curve in curves[FINISHED:]
        if (final := predict_final(one := so_far(curve, 6), finished)) is not None
    ]
    undecided = next(which for which, chance in enumerate(chances) if 0.02 < chance < 0.3)
    curve = so_far(curves[FINISHED + undecided], 6)
    sure, unsure = 1 - chances[undecided] * 0.9, 1 - chances[undecided] * 1.1
    assert Extrapolation(ExtrapolationConfig(confidence=sure)).judge(curve, finished).kind == "go_on"
    assert Extrapolation(ExtrapolationConfig(confidence=unsure)).judge(curve, finished).kind == "stop"


def test_odd_curves_stop_nobody() -> None:
    rule = Extrapolation(ExtrapolationConfig())
    curves = study(2)
    bad = so_far(max(curves, key=lambda curve: error_by(curve, 27)), 20)
    others = [curve for curve in curves[:FINISHED] if curve.trial != bad.trial]
    assert rule.judge(bad, others).kind == "stop"
    assert rule.judge(bad, []).kind == "go_on", "one trial alone"
    assert rule.judge(bad, others[:1]).kind == "go_on", "one finished trial is too little"
    assert rule.judge(so_far(bad, 2), others).kind == "go_on", "two points are too few"
    assert rule.judge(replace(bad, points=curves[bad.trial].points), others).kind == "go_on", "it is at its end"
    nothing = replace(bad, points=tuple(replace(point, error=math.nan) for point in bad.points))
    assert rule.judge(nothing, others).kind == "go_on", "another rule stops what has no error"
    assert predict_final(Curve(0, (), 27), others) is None
    # equal curves leave no doubt, and one that is equal to the best has reached it
    assert (
        rule.judge(so_far(others[0], 20), [replace(others[0], trial=30 + number) for number in range(5)]).kind
        == "go_on"
    )
    # errors that are no numbers, of others or before, are left out
    hole = replace(bad, points=(replace(bad.points[0], error=math.inf), *bad.points[1:]))
    assert rule.judge(hole, [*others, replace(nothing, trial=50, state="finished")]).kind == "stop"
    zero = Curve(60, (Point(27, 1.0, 1.0, 0.0),), 27, "finished")
    assert rule.judge(bad, [*others, zero]).kind == "stop", "nothing is below an error of zero"


def test_other_schedules_are_compared_by_their_share() -> None:
    longer = study(5, epochs=54)
    judged = so_far(study(5)[20], 9)
    predicted = predict_final(judged, longer[:8])
    assert predicted is not None
    assert predicted.finished == 8
    assert predicted.scale < predict_final(judged, []).scale  # type: ignore[union-attr]
