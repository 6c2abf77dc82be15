"""Means with honest errors: averages over blocks of ever doubled length, in memory that grows with the logarithm.

Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989). Which length is long enough is chosen as by Lee, Hebbar et al.,
Phys. Rev. E 83, 066706 (2011), after Wolff, Comput. Phys. Commun. 156, 143 (2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
State = dict[str, NDArray[np.generic]]
"""Arrays by name, as a reporter saves itself."""


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and how long the samples remember.

    samples: how many · correlation_time: integrated autocorrelation time in samples; independent ones have 0.5 ·
    converged: the blocks were long enough; otherwise the error is a lower bound. Error and time are NaN for one sample.
    """

    mean: float
    error: float
    samples: int
    correlation_time: float
    converged: bool


class BlockAverage:
    """Averages of `width` numbers that come one row at a time."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._count = np.zeros(0, dtype=np.int64)  # [L] blocks of length 2**level
        self._mean = np.zeros((0, width))
        self._square = np.zeros((0, width))  # sums of squared deviations from the mean
        self._half = np.zeros((0, width))  # the block that waits for its neighbour, where the count is odd

    def __len__(self) -> int:
        return int(self._count[0]) if len(self._count) else 0

    def add(self, row: Floats) -> None:
        """Take the next sample, [width]."""
        value, level = np.asarray(row, dtype=np.float64), 0
        while True:
            if level == len(self._count):
                self._count = np.append(self._count, 0)
                for name in ("_mean", "_square", "_half"):
                    setattr(self, name, np.vstack([getattr(self, name), np.zeros((1, self.width))]))
            self._count[level] += 1
            change = value - self._mean[level]
            self._mean[level] += change / self._count[level]
            self._square[level] += change * (value - self._mean[level])
            if self._count[level] % 2:
                self._half[level] = value
                return
            value, level = (self._half[level] + value) / 2, level + 1

    def estimates(self) -> list[Estimate]:
        """One for each of the numbers.

        Raises:
            ValueError: there is no sample.
        """
        if not len(self):
            raise ValueError("there is no sample to average; the run or the trajectory is shorter than the interval.")
        return [self._estimate(column) for column in range(self.width)]

    def _estimate(self, column: int) -> Estimate:
        total = len(self)
        mean = float(self._mean[0, column])
        levels = [level for level in range(len(self._count)) if self._count[level] > 1]
        if not levels:
            return Estimate(mean, float("nan"), total, float("nan"), False)
        counts = self._count[levels].astype(np.float64)
        squared = self._square[levels, column] / (counts * (counts - 1))
        if squared[0] == 0:
            return Estimate(mean, 0.0, total, 0.5, True)
        inefficiency = squared / squared[0]
        enough = [level for level in levels if 8.0**level > 2 * total * inefficiency[level] ** 2]
        level = enough[0] if enough else int(np.argmax(squared))
        converged = bool(enough) and counts[level] >= 4
        return Estimate(mean, float(np.sqrt(squared[level])), total, float(inefficiency[level]) / 2, converged)

    def state(self) -> State:
        """Everything a restart needs."""
        return {
            "count": self._count.copy(),
            "mean": self._mean.copy(),
            "square": self._square.copy(),
            "half": self._half.copy(),
        }

    def restore(self, state: State) -> None:
        """Go on from a state."""
        for name in ("count", "mean", "square", "half"):
            setattr(self, f"_{name}", np.array(state[name]))


def average(samples: Floats) -> Estimate:
    """The estimate of a series [T] that is there as a whole."""
    blocks = BlockAverage(1)
    for sample in samples:
        blocks.add(np.array([sample]))
    return blocks.estimates()[0]
