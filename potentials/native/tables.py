"""Couplings of components as the kernels read them: flat arrays of integers, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from potentials.spherical import clebsch_gordan

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coupling:
    """How two sets of components make a third.

    Each set is a row of slots, a slot of degree l has 2l + 1 components. A path takes a slot of the left and a slot of
    the right factor to a slot of the result; several paths may end in one slot, where they add up.

    Attributes:
        left, right, out: degree of each slot.
        paths: numbers of the slots (left, right, out).
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    out: tuple[int, ...]
    paths: tuple[tuple[int, int, int], ...]

    @property
    def key(self) -> str:
        """The coupling as text, for the arguments of operators."""
        sets = ["".join(str(degree) for degree in degrees) for degrees in (self.left, self.right, self.out)]
        return "|".join([*sets, " ".join(".".join(str(slot) for slot in path) for path in self.paths)])

    @staticmethod
    @cache
    def of(key: str) -> Coupling:
        """The inverse of `key`."""
        left, right, out, paths = key.split("|")
        slots = tuple(tuple(int(slot) for slot in path.split(".")) for path in paths.split())
        degrees = [tuple(int(degree) for degree in text) for text in (left, right, out)]
        return Coupling(degrees[0], degrees[1], degrees[2], tuple((a, b, o) for a, b, o in slots))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Components of left, right and out."""
        left, right, out = (sum(2 * degree + 1 for degree in degrees) for degrees in (self.left, self.right, self.out))
        return left, right, out

    def entries(self) -> tuple[NDArray[np.int64], Floats]:
        """[K, 4] component of left, right, out and path of each number, and [K] the numbers.

        Numbers are Clebsch-Gordan coefficients times sqrt(2 l_out + 1): components of unit size make such components.
        """
        return _entries(self)


@cache
def _entries(coupling: Coupling) -> tuple[NDArray[np.int64], Floats]:
    sets = (coupling.left, coupling.right, coupling.out)
    starts = [np.cumsum([0, *(2 * degree + 1 for degree in degrees)]) for degrees in sets]
    rows, numbers = [], []
    for number, (a, b, o) in enumerate(coupling.paths):
        degree = coupling.out[o]
        values = clebsch_gordan(coupling.left[a], coupling.right[b], degree) * np.sqrt(2 * degree + 1)
        for i, j, k in np.argwhere(values != 0):
            rows.append((starts[0][a] + i, starts[1][b] + j, starts[2][o] + k, number))
            numbers.append(values[i, j, k])
    return np.array(rows, dtype=np.int64).reshape(-1, 4), np.array(numbers, dtype=np.float64)


@cache
def edge_table(key: str) -> tuple[Integers, Floats]:
    """A coupling for sums over edges, laid out as `Coupling` in tensor_products.cpp reads it."""
    coupling = Coupling.of(key)
    rows, numbers = coupling.entries()
    left, right, out = coupling.sizes
    q_of = {pair: q for q, pair in enumerate(sorted({(int(path), int(a)) for a, _, _, path in rows}))}
    q_K = np.array([q_of[int(path), int(a)] for a, _, _, path in rows])
    order = np.lexsort((rows[:, 1], q_K, rows[:, 2]))
    rows, numbers, q_K = rows[order], numbers[order], q_K[order]
    both = np.stack([rows[:, 2], q_K], axis=1)
    first = np.flatnonzero(np.r_[True, (np.diff(both, axis=0) != 0).any(axis=1)])
    pair_out, pair_q = both[first].T
    by_q = np.argsort(pair_q, kind="stable")
    q_path, q_left = zip(*q_of, strict=True)
    one = np.isin(np.arange(len(rows)), first)  # of each pair its first entry, and what else there is
    pair_K = one.cumsum() - 1
    header = [left, right, out, len(coupling.paths), len(q_of), len(first), len(rows) - len(first)]
    parts: list[Sequence[int] | NDArray[np.int64]] = [
        header,
        q_path,
        q_left,
        _starts(pair_out, out),
        pair_q,
        pair_out,
        _starts(pair_q, len(q_of)),
        by_q,
        rows[one, 1],
        pair_K[~one],
        rows[~one, 1],
    ]
    table = np.concatenate([np.asarray(part, dtype=np.int32) for part in parts])
    return table, np.concatenate([numbers[one], numbers[~one]])


ATOM_ROLES = ("out", "left", "right", "weight")
"""Factors of a product on an atom; `weight`, a number of each path, may be left out."""


@cache
def atom_table(key: str, role: str) -> tuple[Integers, Floats]:
    """A coupling that makes the components of one `role` of the others, in their order, as `atom_product` reads it."""
    coupling = Coupling.of(key)
    rows, numbers = coupling.entries()
    left, right, out = coupling.sizes
    sizes = {"out": out, "left": left, "right": right, "weight": len(coupling.paths)}
    columns = {"out": rows[:, 2], "left": rows[:, 0], "right": rows[:, 1], "weight": rows[:, 3]}
    others = [name for name in ATOM_ROLES if name != role]
    order = np.lexsort([*(columns[name] for name in reversed(others)), columns[role]])
    header = [*(sizes[name] for name in others), sizes[role]]
    parts = [header, _starts(columns[role], sizes[role]), *(columns[name][order] for name in others)]
    return np.concatenate([np.asarray(part, dtype=np.int32) for part in parts]), numbers[order]


def _starts(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Where each of `count` groups begins in ascending group numbers, and where the last one ends."""
    return np.searchsorted(np.sort(groups), np.arange(count + 1))
