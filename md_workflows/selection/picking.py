"""Greedy choice among points: uncertain ones, unlike each other and what is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from md_workflows.progress import ProgressCallback

Vectors: TypeAlias = NDArray[np.float32]
Numbers: TypeAlias = NDArray[np.float64]

SAMPLE = 500
"""Points that the unit of distance is taken from."""

ROWS = 1024
"""Points whose distances are computed at once."""


@dataclass(frozen=True)
class Field:
    """What candidates are scored by. uncertainty [n] eV/Å · distance [n] to the nearest one chosen or known, in units ·
    rng: for what is random."""

    uncertainty: Numbers
    distance: Numbers
    rng: np.random.Generator


Score: TypeAlias = Callable[[Field], Numbers]


def _both(field: Field) -> Numbers:
    """Greedy k-centre (T. Gonzalez, 1985; core sets: O. Sener, S. Savarese, ICLR 2018) weighted by uncertainty."""
    return field.uncertainty * field.distance


SCORES: dict[str, Score] = {
    "both": _both,
    "uncertainty": lambda field: field.uncertainty,
    "diversity": lambda field: field.distance,
    "random": lambda field: field.rng.random(len(field.distance)),
}
"""By what the next one is chosen: the largest of these; distance is that to the nearest one chosen or known."""

NEED_UNCERTAINTY = frozenset({"both", "uncertainty"})


@dataclass(frozen=True)
class Pick:
    """One that was chosen. index: its place · distance: to the nearest of those before and of the known ones, in units;
    infinite for a first one that nothing is known beside."""

    index: int
    distance: float


@dataclass(frozen=True)
class Wanted:
    """How many, by which of SCORES, how far from all others at least (in units), and the seed of what is random."""

    count: int
    by: str
    apart: float
    seed: int


def pick(
    vectors: Vectors,
    uncertainty: Numbers,
    known: Vectors,
    wanted: Wanted,
    progress: ProgressCallback | None = None,
) -> list[Pick]:
    """Choose one after another, in n · (m + k) distances: [n, D] candidates, [m, D] known points.

    A point that is nearer than `apart` to a known or a chosen one is as good as there already. There may be fewer than
    asked for in the end.
    """
    rng = np.random.default_rng(wanted.seed)
    if not len(vectors):
        return []
    unit = unit_of(vectors, rng)
    nearest = nearest_distance(vectors, known) / unit if len(known) else np.full(len(vectors), np.inf)
    picked: list[Pick] = []
    while len(picked) < wanted.count:
        free = nearest >= wanted.apart
        if not free.any():
            break
        distance = nearest if picked or len(known) else _from_the_middle(vectors) / unit
        score = np.where(free, SCORES[wanted.by](Field(uncertainty, distance, rng)), -np.inf)
        index = int(np.argmax(score))
        picked.append(Pick(index, float(nearest[index])))
        nearest = np.minimum(nearest, _distance_to(vectors, vectors[index]) / unit)
        nearest[index] = -1.0  # itself: rounding must not make it free
        if progress is not None:
            progress(len(picked), wanted.count)
    return picked


def _from_the_middle(vectors: Vectors) -> Numbers:
    """[n] where nothing is known, what is farthest from the middle is most unlike the others."""
    return _distance_to(vectors, vectors.mean(axis=0))


def unit_of(vectors: Vectors, rng: np.random.Generator) -> float:
    """The median distance between two points, of a sample; 1 where all are one point."""
    few = vectors[rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)]
    among = [np.linalg.norm(few[row + 1 :] - few[row], axis=1) for row in range(len(few) - 1)]
    middle = float(np.median(np.concatenate(among))) if among else 0.0
    return middle if middle > 0 else 1.0


def _distance_to(points: Vectors, one: Vectors) -> Numbers:
    """[n] distance of each point to one; by differences, for squares would cancel where points are alike."""
    found = np.empty(len(points))
    for start in range(0, len(points), ROWS):
        found[start : start + ROWS] = np.linalg.norm(points[start : start + ROWS] - one, axis=1)
    return found


def nearest_distance(points: Vectors, known: Vectors) -> Numbers:
    """[n] distance of each point to the nearest known one; in float64, in which squares may be subtracted."""
    middle = known.mean(axis=0, dtype=np.float64)
    there = known - middle
    squares = (there**2).sum(axis=1)
    found = np.empty(len(points))
    for start in range(0, len(points), ROWS):
        part = points[start : start + ROWS] - middle
        among = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ there.T
        found[start : start + ROWS] = np.sqrt(np.maximum(among.min(axis=1), 0.0))
    return found
