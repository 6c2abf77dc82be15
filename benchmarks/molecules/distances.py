"""The distribution of distances between atoms, h(r), as Fu et al. (arXiv:2210.07237) compare it with that of DFT."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FARTHEST, BINS = 10.0, 500
"""Å, and bins up to there: 0.02 Å each. No distance in the ten molecules is larger than 13 Å; few are beyond 10."""


class Distances:
    """Counts distances of all pairs of atoms, frame after frame."""

    def __init__(self, farthest: float = FARTHEST, bins: int = BINS) -> None:
        self.edges = np.linspace(0.0, farthest, bins + 1)
        self._counts = np.zeros(bins)
        self._pairs = 0

    def add(self, positions: Floats) -> None:
        """Take a frame, [N, 3] Å, of a structure without a cell."""
        first, second = np.triu_indices(len(positions), 1)
        lengths = np.linalg.norm(positions[first] - positions[second], axis=1)
        self._counts += np.histogram(lengths, self.edges)[0]
        self._pairs += len(lengths)

    def density(self) -> Floats:
        """[bins] 1/Å; its integral is the part of all pairs that is nearer than the last edge.

        Raises:
            ValueError: no frame was taken.
        """
        if not self._pairs:
            raise ValueError("no frame was taken; h(r) needs at least one of two atoms")
        density: Floats = self._counts / self._pairs / np.diff(self.edges)
        return density


def density_of(frames: Iterable[Floats]) -> Distances:
    """Those of frames, [N, 3] Å each."""
    found = Distances()
    for positions in frames:
        found.add(positions)
    return found


def difference(one: Distances, other: Distances) -> float:
    """The integral of |h₁ - h₂|: 0 where they are alike, 2 where they share no distance."""
    return float((np.abs(one.density() - other.density()) * np.diff(one.edges)).sum())
