"""Neighbour lists of many small structures in one call, the same as `neighbour_list` gives for each of them."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potentials.native.build import library
from potentials.neighbours import COINCIDENT_ANGSTROM, NeighbourList, neighbour_list

Array = NDArray[Any]

MANY_ATOMS = 400
"""Where a structure has more, pairs are found by cells instead of looking at all: each list is made by itself."""


class BatchedNeighbours(NamedTuple):
    """Edges of S structures, those of one after those of another; E in all.

    Attributes:
        edge_index: [2, E] neighbour and centre, counted through all structures; ascending by centre, neighbour, shift.
        shift: [E, 3] whole cells from the neighbour to the image meant, float64.
        reverse: [E] index of the pair seen from the other end.
        first_edge: [S + 1].
    """

    edge_index: Array
    shift: Array
    reverse: Array
    first_edge: Array


def batched_neighbours(
    first_atom: Array, positions: Array, cells: Array, pbc: Array, cutoff: float
) -> BatchedNeighbours:
    """All pairs of atoms, periodic images included, closer than the cutoff, of each structure.

    Args:
        first_atom: [S + 1].
        positions: [N, 3] Å.
        cells: [S, 3, 3] Å, rows are the lattice vectors; those of directions that do not repeat may be anything.
        pbc: [S, 3].
        cutoff: Å.

    Raises:
        ValueError: as `neighbour_list`, of the first structure that cannot be right.
    """
    first = np.ascontiguousarray(first_atom, dtype=np.int64)
    positions = np.ascontiguousarray(positions, dtype=np.float64).reshape(-1, 3)
    cells, pbc = np.ascontiguousarray(cells, dtype=np.float64), np.ascontiguousarray(pbc, dtype=np.uint8)
    functions = _functions()
    if functions is None or np.diff(first).max(initial=0) > MANY_ATOMS:
        return _one_by_one(first, positions, cells, pbc, cutoff)
    find, take = functions
    first_edge = np.empty(len(first), dtype=np.int64)
    given = (_at(first), _at(positions), _at(cells), _at(pbc))
    if find(len(first) - 1, *given, cutoff, COINCIDENT_ANGSTROM, _at(first_edge)) >= 0:
        return _one_by_one(first, positions, cells, pbc, cutoff)
    edges = int(first_edge[-1])
    edge_index, shift = np.empty((2, edges), dtype=np.int64), np.empty((edges, 3))
    reverse = np.empty(edges, dtype=np.int64)
    take(_at(edge_index), _at(shift), _at(reverse))
    return BatchedNeighbours(edge_index, shift, reverse, first_edge)


def _one_by_one(first: Array, positions: Array, cells: Array, pbc: Array, cutoff: float) -> BatchedNeighbours:
    lists: list[NeighbourList] = []
    for number in range(len(first) - 1):
        rows = slice(first[number], first[number + 1])
        lists.append(neighbour_list(positions[rows], cells[number], pbc[number].astype(bool), cutoff))
    first_edge = np.concatenate([[0], np.cumsum([len(one.centre) for one in lists])]).astype(np.int64)
    atoms, edges = (np.repeat(starts[:-1], np.diff(first_edge)) for starts in (first, first_edge))
    none = np.zeros(0, dtype=np.int64)
    neighbour = np.concatenate([none, *(one.neighbour for one in lists)]) + atoms
    centre = np.concatenate([none, *(one.centre for one in lists)]) + atoms
    reverse = np.concatenate([none, *(one.reverse for one in lists)]) + edges
    shift = np.concatenate([np.zeros((0, 3)), *(one.shift for one in lists)])
    return BatchedNeighbours(np.stack([neighbour, centre]), shift, reverse, first_edge)


@cache
def _functions() -> tuple[Any, Any] | None:
    built = library()
    if built is None:
        return None
    find, take = built.find_neighbours, built.take_neighbours
    pointer, whole, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    find.argtypes, find.restype = [whole, pointer, pointer, pointer, pointer, real, real, pointer], whole
    take.argtypes, take.restype = [pointer, pointer, pointer], None
    return find, take


def _at(array: Array) -> int:
    return array.ctypes.data
