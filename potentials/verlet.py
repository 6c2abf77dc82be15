"""A neighbour list that is reused while no atom and no cell vector has moved too far, and stays exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from potentials.neighbours import (
    Floats,
    Ints,
    NeighbourList,
    check_backend,
    check_coincident,
    complete_cell,
    neighbour_list,
)


@dataclass(frozen=True)
class _Half:
    """One of each pair and its reverse: both are as long, to the bit, so one need not be measured."""

    edge: Ints
    reverse: Ints
    centre: Ints
    neighbour: Ints
    shift: Floats


def _half(pairs: NeighbourList) -> _Half:
    edge = np.flatnonzero(pairs.reverse > np.arange(len(pairs.reverse)))
    shift = pairs.shift[edge].astype(np.float64)
    return _Half(edge, pairs.reverse[edge], pairs.centre[edge], pairs.neighbour[edge], shift)


@dataclass(frozen=True)
class _Reference:
    pairs: NeighbourList
    positions: Floats
    cell: Floats
    pbc: NDArray[np.bool_]
    half: _Half


class VerletList:
    """Pairs within a cutoff, from a longer list that is rebuilt only when it could miss one (Verlet 1967).

    Every answer equals a list made from nothing, order included: pairs beyond the cutoff are dropped at each call.
    A deformation of the cell is followed too. With the affine part F of the motion taken out of the displacements d, a
    pair that was not in the long list is still at least ``σ_min(F) · (cutoff + skin) - 2 max|d|`` apart.

    Args:
        cutoff: Å.
        skin: Å; 0 rebuilds at every call.
        backend: as in `neighbour_list`.

    Raises:
        ValueError: the skin is negative, or there is no such back end.
    """

    def __init__(self, cutoff: float, skin: float = 1.0, backend: str = "vesin") -> None:
        if not skin >= 0:
            raise ValueError(f"skin is {skin} Å; it must be 0 (rebuild at every step) or more")
        check_backend(backend)
        self.cutoff = cutoff
        self.skin = skin
        self.backend = backend
        self.n_builds = 0
        self._reference: _Reference | None = None

    def update(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> NeighbourList:
        """The pairs within the cutoff; arguments and errors as in `neighbour_list`."""
        reference = self._reference
        if self.skin == 0 or not len(positions):
            self.n_builds += 1
            return neighbour_list(positions, cell, pbc, self.cutoff, self.backend)
        if reference is None or not self._covers(reference, positions, cell, pbc):
            reference = self._rebuild(positions, cell, pbc)
        half = reference.half
        vectors: Floats = positions.take(half.neighbour, axis=0)
        vectors -= positions.take(half.centre, axis=0)
        vectors += half.shift @ cell
        squared = np.einsum("ec,ec->e", vectors, vectors)
        check_coincident(squared, half.centre, half.neighbour)
        near = np.empty(len(reference.pairs.centre), dtype=bool)
        near[half.edge] = near[half.reverse] = squared < self.cutoff**2
        return reference.pairs.keep(near)

    def _rebuild(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> _Reference:
        pairs = neighbour_list(positions, cell, pbc, self.cutoff + self.skin, self.backend)
        full = complete_cell(positions, cell, pbc, self.cutoff)
        self._reference = _Reference(pairs, positions.copy(), full, pbc.copy(), _half(pairs))
        self.n_builds += 1
        return self._reference

    def _covers(self, reference: _Reference, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> bool:
        if positions.shape != reference.positions.shape or not np.array_equal(pbc, reference.pbc):
            return False
        if not np.isfinite(cell).all():
            return False  # the rebuild says what is wrong
        displacement, smallest_stretch = positions - reference.positions, 1.0
        full = np.where(pbc[:, None], cell, reference.cell)
        if not np.array_equal(full, reference.cell):
            deformation = np.linalg.solve(reference.cell, full)
            displacement = positions - reference.positions @ deformation
            smallest_stretch = float(np.linalg.svd(deformation, compute_uv=False)[-1])
        furthest = np.sqrt(np.einsum("nc,nc->n", displacement, displacement).max())
        margin = smallest_stretch * (self.cutoff + self.skin) - 2 * furthest - self.cutoff
        return bool(margin > 1e-6)  # a not-a-number is not greater: it goes to the rebuild, which names the atom
