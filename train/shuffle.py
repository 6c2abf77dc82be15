"""Random orders of any length: of one data set, and of several mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LARGE = 1 << 16
"""From this length on an order is computed where it is asked for instead of being held in memory."""

ROUNDS = 6
TWICE = 3
"""Times that a shuffled table may lie in memory: an epoch's, and those of the data sets' passes."""


class Shuffle:
    """A random permutation of 0 ... n - 1, the same for the same key; random access, no memory that grows with n.

    Long ones are Feistel networks on numbers of as many bits as n needs, applied again where they leave the range
    (Black and Rogaway, CT-RSA 2002); short ones are tables.

    Args:
        length: n.
        key: what the permutation depends on.
    """

    def __init__(self, length: int, key: Sequence[int]) -> None:
        self.length = length
        random = np.random.default_rng(list(key))
        self._table = random.permutation(length) if length < LARGE else None
        self._half = np.uint64((max(length - 1, 1).bit_length() + 1) // 2)
        self._mask = np.uint64((1 << int(self._half)) - 1)
        self._keys = random.integers(0, 1 << 63, ROUNDS, dtype=np.uint64)

    def __len__(self) -> int:
        return self.length

    def at(self, positions: Array) -> Array:
        """[M] what stands at each of the positions [M], each from 0 to below n."""
        positions = np.asarray(positions, dtype=np.int64)
        if self._table is not None:
            table: Array = self._table[positions]
            return table
        found = self._rounds(positions.astype(np.uint64))
        while (outside := found >= self.length).any():
            found[outside] = self._rounds(found[outside])
        return found.astype(np.int64)

    def _rounds(self, numbers: Array) -> Array:
        left, right = numbers >> self._half, numbers & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right + key) & self._mask)
        whole: Array = (left << self._half) | right
        return whole


def _mixed(numbers: Array) -> Array:
    """Every bit of the result depends on every bit given: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = numbers ^ (numbers >> np.uint64(31))
    return mixed


class Order:
    """In which order the structures of several data sets come, epoch by epoch.

    A data set that is repeated r times has r epochs of its own in an epoch of the run: its structures come in a random
    order, and none a second time before all have come; the end of one such pass and the beginning of the next may fall
    into one epoch of the run. With r = 1 each comes once in each epoch.

    Args:
        counts: structures of each data set.
        seed: of the run.
        repeats: r of each data set; 1 where left out.
    """

    def __init__(self, counts: Sequence[int], seed: int, repeats: Sequence[float] | None = None) -> None:
        self.counts, self.seed = [int(count) for count in counts], seed
        self.repeats = [1.0] * len(self.counts) if repeats is None else [float(repeat) for repeat in repeats]
        self.first = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        self._kept: dict[tuple[int, ...], Shuffle] = {}

    def __len__(self) -> int:
        """Structures of all data sets, however often they come."""
        return int(self.first[-1])

    def length(self, epoch: int) -> int:
        """How many structures come in an epoch."""
        return sum(self._passed(which, epoch + 1) - self._passed(which, epoch) for which in range(len(self.counts)))

    def at(self, epoch: int, positions: Array) -> Array:
        """[M] numbers of the structures at positions [M] of an epoch; those of a data set follow those of the last."""
        begins = [self._passed(which, epoch) for which in range(len(self.counts))]
        lengths = [self._passed(which, epoch + 1) - begin for which, begin in enumerate(begins)]
        first = np.concatenate([[0], np.cumsum(lengths)])
        slots = self._shuffle(int(first[-1]), (self.seed, epoch)).at(positions)
        found = np.empty_like(slots)
        for which, count in enumerate(self.counts):
            here = (slots >= first[which]) & (slots < first[which + 1])
            places = slots[here] - first[which] + begins[which]
            numbers = np.empty_like(places)
            for turn in np.unique(places // max(count, 1)).tolist():
                chosen = places // count == turn
                shuffled = self._shuffle(count, (self.seed, which, turn, 0))
                numbers[chosen] = shuffled.at(places[chosen] % count)
            found[here] = numbers + self.first[which]
        return found

    def _passed(self, which: int, epochs: int) -> int:
        """Structures of a data set that have come in so many epochs."""
        return int(np.floor(epochs * self.repeats[which] * self.counts[which] + 1e-9))

    def _shuffle(self, length: int, key: tuple[int, ...]) -> Shuffle:
        if key not in self._kept:
            while len(self._kept) > TWICE * (1 + len(self.counts)):
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = Shuffle(length, key)
        return self._kept[key]


def tempered(counts: Sequence[int], temperature: float) -> list[float]:
    """How often each data set is to be repeated so that its share of an epoch follows counts^(1 / temperature).

    The epoch keeps its length. 1 leaves the shares as they are; higher temperatures make them more alike.

    Args:
        counts: structures of each data set.
        temperature: above 0.
    """
    sizes = np.array(counts, dtype=np.float64)
    shares = np.where(sizes > 0, sizes ** (1 / temperature), 0.0)
    wanted = shares / shares.sum() * sizes.sum()
    repeats: list[float] = np.divide(wanted, sizes, out=np.ones_like(sizes), where=sizes > 0).tolist()
    return repeats
