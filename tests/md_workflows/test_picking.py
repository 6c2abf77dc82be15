"""The greedy choice among points, against its definition."""

import math
from typing import Any

import numpy as np
import pytest

from md_workflows.selection.features import SIZE
from md_workflows.selection.picking import Wanted, nearest_distance, pick, unit_of


def clusters(counts: tuple[int, ...], seed: int = 0) -> tuple[Any, Any]:
    """Points around far-apart middles, and the number of each one's cluster."""
    rng = np.random.default_rng(seed)
    middles = 100.0 * np.eye(len(counts), SIZE)
    which = np.repeat(np.arange(len(counts)), counts)
    return (middles[which] + rng.normal(0, 0.1, (len(which), SIZE))).astype(np.float32), which


@pytest.mark.parametrize("by", ["both", "diversity", "uncertainty"])
@pytest.mark.parametrize("known", [0, 4])
def test_the_greedy_choice_is_that_of_its_definition(by: str, known: int) -> None:
    """Against loops over all pairs in float64."""
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, SIZE)).astype(np.float32)
    there = rng.normal(size=(known, SIZE)).astype(np.float32)
    uncertainty = rng.lognormal(size=40)
    found = pick(points, uncertainty, there, Wanted(8, by, 0.0, 0))
    taken: list[int] = []
    for each in found:
        others = [*there.astype(float), *points[taken].astype(float)] or [points.astype(float).mean(axis=0)]
        distance = np.array([min(np.linalg.norm(point - other) for other in others) for point in points.astype(float)])
        score = {"both": uncertainty * distance, "diversity": distance, "uncertainty": uncertainty}[by]
        free = [place for place in range(40) if place not in taken]
        assert each.index == max(free, key=lambda place: score[place])
        if taken or known:
            assert each.distance * unit_of(points, np.random.default_rng(0)) == pytest.approx(distance[each.index])
        else:
            assert each.distance == math.inf
        taken.append(each.index)
    assert len(set(taken)) == 8


def test_a_rare_kind_is_found_by_distance_and_missed_at_random() -> None:
    points, which = clusters((300, 5, 2, 1))
    alike = np.ones(len(points))
    for by in ("both", "diversity"):
        found = pick(points, alike, points[:3], Wanted(4, by, 1e-3, 0))
        assert {int(which[each.index]) for each in found[:3]} == {1, 2, 3}
    at_random = pick(points, alike, points[:3], Wanted(4, "random", 1e-3, 0))
    assert 3 not in {int(which[each.index]) for each in at_random}


def test_what_is_there_already_is_not_chosen() -> None:
    points, _ = clusters((5, 5))
    twice = np.concatenate([points, points])
    found = pick(twice, np.ones(20), points[:2], Wanted(20, "uncertainty", 1e-3, 0))
    assert len(found) == 8  # ten points, two of them known
    assert len({each.index % 10 for each in found}) == 8
    assert pick(points[:0], np.ones(0), points, Wanted(3, "both", 1e-3, 0)) == []
    assert len(pick(points[:1].repeat(4, axis=0), np.ones(4), points[:0], Wanted(3, "both", 1e-3, 0))) == 1


def test_distances_of_like_points_are_exact() -> None:
    """Far from the origin, where differences of squares in float32 would lose all digits."""
    rng = np.random.default_rng(2)
    points = (1e3 + rng.normal(0, 1e-2, (30, SIZE))).astype(np.float32)
    among = np.linalg.norm(points[:, None].astype(float) - points[None, :7], axis=-1).min(axis=1)
    np.testing.assert_allclose(nearest_distance(points, points[:7]), among, atol=1e-6)


@pytest.mark.slow
def test_a_hundred_thousand_candidates() -> None:
    """In minutes and within the memory of the vectors: 100 MB, and a few of those."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(100_000, SIZE)).astype(np.float32)
    assert len(pick(points, rng.random(100_000), points[:1000], Wanted(100, "both", 1e-3, 0))) == 100
