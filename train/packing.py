"""Structures into batches of nearly equal cost, within bounds."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ALIKE = 1.02
"""Times the mean that the costliest batch may cost."""

SPARE = 1.04
"""Times as many batches as there have to be, where limits would otherwise keep costs from being alike."""

LARGE = 0.3
"""Share of a limit from which on a structure is hard to find room for."""

TRIES = 8
"""Batches looked at one by one for room, those with the least cost first, before all are looked at together."""


def packed(sizes: Array, costs: Array, limits: Array) -> list[list[int]]:
    """Few batches of nearly equal cost, each within its limits.

    The structures first that fill much of a batch, then the costliest, each into the batch of the least cost so far
    that has room for it (Graham, SIAM J. Appl. Math. 17, 416 (1969)): at first into as few batches as the limits might
    allow, with more where there is no room, then once more into as many as that took, or a few more where limits have
    kept the costs from being alike.

    Args:
        sizes: [S, B] what each structure takes of each bound; no structure alone exceeds a limit.
        costs: [S].
        limits: [B].

    Returns:
        Rows of `sizes` in each batch, ascending; each row is in one.
    """
    share = (sizes / limits).max(1)
    order = np.lexsort((-costs, -np.where(share > LARGE, share, 0.0)))
    count = max(1, int(np.ceil(sizes.sum(0) / limits).max()))
    filled = _filled(count, sizes[order], costs[order], limits)
    sums = [costs[order[batch]].sum() for batch in filled]
    alike = max(sums) <= ALIKE * np.mean(sums)
    if len(filled) > count or not alike:
        wanted = len(filled) if alike else max(len(filled), round(SPARE * count))
        filled = _filled(wanted, sizes[order], costs[order], limits)
    return [np.sort(order[batch]).tolist() for batch in filled if batch]


def _filled(count: int, sizes: Array, costs: Array, limits: Array) -> list[list[int]]:
    room, loads = np.tile(limits, (count, 1)), [0.0] * count
    batches: list[list[int]] = [[] for _ in range(count)]
    least = [(0.0, number) for number in range(count)]
    for index, cost in enumerate(costs.tolist()):
        number, full = _least_with_room(least, loads, room, sizes[index])
        if number is None:
            fits = np.flatnonzero((room >= sizes[index]).all(1))
            number = int(fits[np.array(loads)[fits].argmin()]) if len(fits) else len(batches)
        if number == len(batches):
            batches.append([])
            loads.append(0.0)
            room = np.vstack([room, limits])
        batches[number].append(index)
        room[number] -= sizes[index]
        loads[number] += cost
        for load, other in (*full, (loads[number], number)):
            heapq.heappush(least, (load, other))
    return batches


def _least_with_room(
    least: list[tuple[float, int]], loads: list[float], room: Array, size: Array
) -> tuple[int | None, list[tuple[float, int]]]:
    """One of the batches with the least cost, if it has room, and the entries of those that had none."""
    full: list[tuple[float, int]] = []
    while least and len(full) < TRIES:
        load, number = heapq.heappop(least)
        if load != loads[number]:  # it has got more since
            continue
        if (room[number] >= size).all():
            return number, full
        full.append((load, number))
    return None, full
