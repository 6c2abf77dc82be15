"""The pairs within the cutoff out of longer lists, in one pass on the CPU."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from potentials.native.build import library


class LongPairs(NamedTuple):
    """Pairs of a longer list, ascending by centre, neighbour and shift, each from both ends.

    neighbour, centre, reverse [E] · shift [E, 3] whole cells, float64.
    """

    neighbour: Tensor
    centre: Tensor
    reverse: Tensor
    shift: Tensor


class NearPairs(NamedTuple):
    """Those within the cutoff, in the same order.

    edge_index [2, K] neighbour and centre · shift [K, 3] · reverse [K] · smallest: Å², of all pairs of the longer list.
    """

    edge_index: Tensor
    shift: Tensor
    reverse: Tensor
    smallest: float


def near_pairs(long: LongPairs, positions: Tensor, cells: Tensor, owner: Tensor, cutoff: float) -> NearPairs | None:
    """The pairs nearer than the cutoff; None where there is no kernel, or the tensors are not on the CPU.

    Args:
        long: the longer list.
        positions: [N, 3] Å, float64.
        cells: [G, 3, 3] Å, float64.
        owner: [N] the structure of each atom.
        cutoff: Å.
    """
    functions = _functions()
    given = (*long, positions, cells, owner)
    if functions is None or any(one.device.type != "cpu" or not one.is_contiguous() for one in given):
        return None
    mark, take = functions
    edges = len(long.centre)
    place, smallest = torch.empty(edges, dtype=torch.int64), ctypes.c_double()
    pairs = [one.data_ptr() for one in (long.neighbour, long.centre, long.shift, long.reverse)]
    atoms = [one.data_ptr() for one in (owner, positions, cells)]
    kept = mark(edges, *pairs, *atoms, cutoff**2, place.data_ptr(), ctypes.byref(smallest))
    edge_index, shift = torch.empty(2, kept, dtype=torch.int64), torch.empty(kept, 3, dtype=torch.float64)
    reverse = torch.empty(kept, dtype=torch.int64)
    take(edges, kept, *pairs, *(one.data_ptr() for one in (place, edge_index, shift, reverse)))
    return NearPairs(edge_index, shift, reverse, smallest.value)


@cache
def _functions() -> tuple[Any, Any] | None:
    built = library()
    if built is None:
        return None
    mark, take = built.mark_pairs, built.take_pairs
    pointer, whole, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    mark.argtypes, mark.restype = [whole, *[pointer] * 7, real, pointer, pointer], whole
    take.argtypes, take.restype = [whole, whole, *[pointer] * 8], None
    return mark, take
