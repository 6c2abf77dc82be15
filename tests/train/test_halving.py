"""Successive halving against the algorithm as it was published, and Hyperband against its table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from train.search.curves import Curve, Point
from train.search.halving import Halving, HalvingConfig, bracket_of, bracket_sizes

Segment = tuple[int, int]
"""A trial, and the rung that it is trained to."""


def published(errors: np.ndarray, rungs: Sequence[int], reduction: int) -> list[Segment]:
    """Algorithm 2 of Li et al. (2020) with one worker, until it would begin a trial that there is not.

    Args:
        errors: [trials, rungs].
        rungs: epochs, the last is the end.
        reduction: of it.
    """
    at: list[list[int]] = [[] for _ in rungs]
    promoted: list[set[int]] = [set() for _ in rungs]
    jobs: list[Segment] = []
    begun = 0
    while True:
        for rung in range(len(rungs) - 2, -1, -1):
            best = sorted(at[rung], key=lambda trial: (errors[trial, rung], trial))[: len(at[rung]) // reduction]
            candidates = [trial for trial in best if trial not in promoted[rung]]
            if candidates:
                trial, to = candidates[0], rung + 1
                promoted[rung].add(trial)
                break
        else:
            if begun == len(errors):
                return jobs
            trial, to = begun, 0
            begun += 1
        at[to].append(trial)
        jobs.append((trial, rungs[to]))


def ours(errors: np.ndarray, rungs: Sequence[int], rule: Halving) -> list[Segment]:
    """The same by the rule, asked as a worker asks it."""
    curves: dict[int, Curve] = {}
    jobs: list[Segment] = []
    end = rungs[-1]
    while True:
        trial = rule.promote(list(curves.values()))
        if trial is None:
            if len(curves) == len(errors):
                return jobs
            trial = len(curves)
            curves[trial] = Curve(trial, (), end)
        while True:
            curve = curves[trial]
            to = rule.next_pause(trial, curve.points[-1].epoch if curve.points else 0, end) or end
            jobs.append((trial, to))
            point = Point(to, float(to), float(to), float(errors[trial, list(rungs).index(to)]))
            curve = replace(curve, points=(*curve.points, point), state="finished" if to == end else "running")
            curves[trial] = curve
            if to == end:
                break
            others = [other for number, other in curves.items() if number != trial]
            verdict = rule.judge(curve, others)
            if verdict.kind != "go_on":
                assert verdict.kind == "pause"
                curves[trial] = replace(curve, state="paused")
                break


@pytest.mark.parametrize("reduction", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_trials_are_trained_in_the_order_of_the_published_algorithm(reduction: int, seed: int) -> None:
    rungs = [reduction**power for power in range(4)]
    random = np.random.default_rng(seed)
    # errors fall from rung to rung, and trials overtake each other
    errors = random.uniform(1, 2, (90, 1)) * np.minimum.accumulate(random.uniform(0.5, 1, (90, 4)), axis=1)
    expected = published(errors, rungs, reduction)
    rule = Halving(HalvingConfig(reduction=reduction, at_least=0))
    assert ours(errors, rungs, rule) == expected
    assert any(to == rungs[-1] for _, to in expected)


def test_few_trials_end_with_one_that_is_trained_to_the_end() -> None:
    worse_and_worse = np.repeat(np.linspace(1, 2, 8)[:, None], 4, axis=1)
    rungs = (1, 3, 9, 27)
    assert max(to for _, to in ours(worse_and_worse, rungs, Halving(HalvingConfig(at_least=0)))) == 3
    assert [job for job in ours(worse_and_worse, rungs, Halving(HalvingConfig())) if job[1] == 27] == [(0, 27)]
    jobs = ours(worse_and_worse[::-1], rungs, Halving(HalvingConfig()))
    assert (7, 27) in jobs, "the best of all is promoted from every rung"


def test_brackets_are_those_of_the_table_of_hyperband() -> None:
    """Table 1 of Li et al. (2018): R = 81, η = 3."""
    assert bracket_sizes(4, 3) == (81, 34, 15, 8, 5)
    rule = Halving(HalvingConfig(brackets="all", at_least=0))
    sizes = bracket_sizes(4, 3)
    dealt = [bracket_of(trial, sizes) for trial in range(2 * sum(sizes))]
    for half in (dealt[: sum(sizes)], dealt[sum(sizes) :]):
        assert [half.count(bracket) for bracket in range(5)] == list(sizes)
    first = {dealt[trial]: rule.rungs(trial, 81) for trial in range(143)}
    assert first == {0: (1, 3, 9, 27), 1: (3, 9, 27), 2: (9, 27), 3: (27,), 4: ()}
    for number in range(1, 143):
        for bracket, size in enumerate(sizes):
            assert abs(dealt[:number].count(bracket) - size * number / 143) < 1.5


def test_budgets_of_brackets_are_those_of_the_table() -> None:
    """Where the best trials come first nobody is promoted whom a later one would have kept back."""
    sizes = bracket_sizes(4, 3)
    rungs = (1, 3, 9, 27, 81)
    errors = np.repeat(np.arange(1.0, 144.0)[:, None], 5, axis=1)
    jobs = ours(errors, rungs, Halving(HalvingConfig(brackets="all", at_least=0)))
    table = ([81, 27, 9, 3, 1], [34, 11, 3, 1], [15, 5, 1], [8, 2], [5])
    for bracket, reached in enumerate(table):
        own = [to for trial, to in jobs if bracket_of(trial, sizes) == bracket]
        assert [own.count(rung) for rung in rungs[bracket:]] == reached


def test_more_brackets_than_there_are_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"brackets = 5: 27 epochs with the first rung at 1 have 4; set brackets"):
        Halving(HalvingConfig(brackets=5)).next_pause(0, 0, 27)
    assert Halving(HalvingConfig(brackets=2)).rungs(0, 27) == (1, 3, 9)


def curve(trial: int, *errors: float, state: str = "paused", epochs: int = 27) -> Curve:
    points = tuple(Point(epoch, 1.0, 1.0, error) for epoch, error in enumerate(errors, 1))
    return Curve(trial, points, epochs, state)  # type: ignore[arg-type]


def test_what_is_told_has_place_and_numbers() -> None:
    rule = Halving(HalvingConfig())
    verdict = rule.judge(curve(2, 3.0, state="running"), [curve(0, 2.0), curve(1, 4.0)])
    assert (verdict.kind, verdict.reason) == ("pause", "epoch 1: error 3 is number 2 of 3, of which 1 go on by now")
    verdict = rule.judge(curve(2, 1.0, state="running"), [curve(0, 2.0), curve(1, 4.0)])
    assert (verdict.kind, verdict.reason) == ("go_on", "epoch 1: error 1 is number 1 of 3; 1 go on from here")
    assert rule.judge(curve(2, 1.0, 0.9, state="running"), []).kind == "go_on", "epoch 2 is no rung"


def test_odd_curves() -> None:
    rule = Halving(HalvingConfig())
    assert rule.promote([]) is None
    assert rule.next_pause(0, 0, 1) is None, "one epoch has no rung before its end"
    assert rule.judge(curve(0, 5.0, state="running"), []).kind == "go_on", "one trial alone is the best"
    for bad in (math.nan, math.inf):
        assert rule.judge(curve(1, bad, state="running"), [curve(0, 2.0)]).kind == "pause"
        assert rule.promote([curve(1, bad)]) is None, "no error that is none goes on"
    equal = [curve(trial, 1.0) for trial in range(3)]
    assert rule.promote(equal) == 0
    # stopped and failed trials keep their places, and nobody promotes them
    assert rule.promote([curve(0, 1.0, state="stopped"), curve(1, 2.0), curve(2, 3.0, state="failed")]) is None
    # a trial with a schedule of its own is judged at the rungs that it has
    assert rule.next_pause(0, 1, 3) is None
    assert rule.next_pause(0, 3, 100) == 9
