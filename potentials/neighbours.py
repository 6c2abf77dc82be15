"""Neighbour lists: complete, canonical, exact for mixed periodicity.

Whatever back end finds the pairs, the result is the same list in the same order: all pairs closer than the cutoff, with
as many periodic images as there are, sorted by centre, neighbour and shift. Nothing is truncated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COINCIDENT_ANGSTROM = 1e-3
"""Two atoms closer than this are one atom written twice, not a structure."""

MATSCIPY_BINS_PER_ATOM = 1000
"""matscipy fills the box with bins of the size of the cutoff: in one emptier than this they would take gigabytes."""


@dataclass(frozen=True)
class NeighbourList:
    """All directed pairs within a cutoff, sorted by centre, neighbour and shift.

    Attributes:
        centre: [E] index of the atom that has the neighbour.
        neighbour: [E] index of the neighbour.
        shift: [E, 3] whole cells from the neighbour to the image meant.
        reverse: [E] index of the pair seen from the other end.
    """

    centre: Ints
    neighbour: Ints
    shift: Ints
    reverse: Ints

    def keep(self, mask: NDArray[np.bool_]) -> NeighbourList:
        """The pairs for which `mask` [E] is true; it must be the same for a pair and its reverse."""
        kept = np.flatnonzero(mask)
        renumbered = np.cumsum(mask) - 1
        return NeighbourList(
            self.centre.take(kept),
            self.neighbour.take(kept),
            self.shift.take(kept, axis=0),
            renumbered.take(self.reverse.take(kept)),
        )


@dataclass(frozen=True)
class Surroundings:
    """A structure made ready for any back end.

    Attributes:
        positions: [N, 3] Å.
        cell: [3, 3] Å, of full rank: open directions are boxed beyond the cutoff.
        pbc: [3] which directions repeat.
        cutoff: Å, a hair beyond the wanted one: the exact selection comes later, the same for all back ends.
    """

    positions: Floats
    cell: Floats
    pbc: NDArray[np.bool_]
    cutoff: float


Pairs = tuple[Ints, Ints, Ints]
"""Centre [P], neighbour [P] and shift [P, 3]."""


def neighbour_list(
    positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float, backend: str = "vesin"
) -> NeighbourList:
    """All pairs of atoms, periodic images included, closer than the cutoff.

    Args:
        positions: [N, 3] Å; need not lie in the cell.
        cell: [3, 3] Å, rows are the lattice vectors; those of directions that do not repeat may be zero.
        pbc: [3] which directions repeat.
        cutoff: Å.
        backend: one of `BACKENDS`.

    Raises:
        ValueError: an unknown back end, positions that are not finite, a repeating direction without a lattice vector,
            lattice vectors that lie in one plane, or two atoms in one place.
    """
    check_backend(backend)
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    if not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise ValueError(f"position of atom {atom} is {positions[atom]}; positions must be finite numbers")
    cell, pbc = np.asarray(cell, dtype=np.float64), np.asarray(pbc, dtype=bool)
    full_cell = complete_cell(positions, cell, pbc, cutoff)
    if not len(positions):
        empty = np.zeros(0, dtype=np.int64)
        return NeighbourList(empty, empty, np.zeros((0, 3), dtype=np.int64), empty)
    surroundings = Surroundings(positions, full_cell, pbc, cutoff * (1 + 1e-9) + 1e-9)
    centre, neighbour, shift = BACKENDS[backend](surroundings)
    squared = squared_distances(positions, full_cell, centre, neighbour, shift)
    check_coincident(squared, centre, neighbour)
    near = squared < cutoff**2
    return _canonical(centre[near], neighbour[near], shift[near])


def check_backend(backend: str) -> None:
    """Raise ValueError where there is no such back end; the message names those there are."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown neighbour-list back end {backend!r}; there are {', '.join(sorted(BACKENDS))}")


def squared_distances(positions: Floats, cell: Floats, centre: Ints, neighbour: Ints, shift: Ints) -> Floats:
    """[E] Å²; exactly the same number for a pair and its reverse, so that lists stay symmetric at the cutoff."""
    vectors = (positions[neighbour] - positions[centre]) + shift @ cell
    squared: Floats = np.einsum("ec,ec->e", vectors, vectors)
    return squared


def complete_cell(positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> Floats:
    """The cell with every direction that does not repeat replaced by a box longer than structure plus cutoff.

    Raises:
        ValueError: a repeating direction has no lattice vector, or the repeating ones are linearly dependent.
    """
    periodic = cell[pbc]
    lengths = np.linalg.norm(periodic, axis=1)
    if not np.isfinite(cell).all() or (lengths < 1e-6).any():
        raise ValueError(
            f"pbc is {pbc.tolist()} but the cell is {cell.tolist()}: every direction that repeats needs a lattice"
            " vector; set atoms.cell, or atoms.pbc = False"
        )
    if len(periodic):
        unit = periodic / lengths[:, None]
        if np.sqrt(max(np.linalg.det(unit @ unit.T), 0.0)) < 1e-6:
            raise ValueError(f"the lattice vectors {periodic.tolist()} are linearly dependent; the cell has no volume")
    full = cell.copy()
    # rows of v_transposed beyond the rank span what is orthogonal to the repeating directions
    v_transposed = np.linalg.svd(periodic)[2] if len(periodic) else np.eye(3)
    for row, direction in zip(np.flatnonzero(~pbc), v_transposed[len(periodic) :], strict=True):
        along = positions @ direction if len(positions) else np.zeros(1)
        full[row] = direction * (np.ptp(along) + 2 * cutoff + 1.0)
    return full


def check_coincident(squared: Floats, centre: Ints, neighbour: Ints) -> None:
    """Raise ValueError where two atoms of pairs with these squared distances [E] (Å²) are in one place."""
    if len(squared) and squared.min() < COINCIDENT_ANGSTROM**2:
        pair = int(squared.argmin())
        raise ValueError(
            f"atoms {min(centre[pair], neighbour[pair])} and {max(centre[pair], neighbour[pair])} are"
            f" {np.sqrt(squared[pair]):.1e} Å apart; two atoms cannot be in one place (periodic images included)"
        )


def _canonical(centre: Ints, neighbour: Ints, shift: Ints) -> NeighbourList:
    """Sorted by centre, neighbour and shift, with the reverse of every pair."""
    span = int(np.abs(shift).max(initial=0))
    n_atoms = int(centre.max(initial=-1)) + 1
    width = 2 * span + 1
    if n_atoms**2 * width**3 >= 2**62:
        order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], neighbour, centre))
        back = np.lexsort((-shift[order, 2], -shift[order, 1], -shift[order, 0], centre[order], neighbour[order]))
    else:
        weights = np.array([width**2, width, 1], dtype=np.int64)
        order = np.argsort((centre * n_atoms + neighbour) * width**3 + (shift + span) @ weights)
        centre, neighbour, shift = centre[order], neighbour[order], shift[order]
        back = np.argsort((neighbour * n_atoms + centre) * width**3 + (span - shift) @ weights)
        return NeighbourList(centre, neighbour, shift, back)
    return NeighbourList(centre[order], neighbour[order], shift[order], back)


def _vesin(around: Surroundings) -> Pairs:
    from vesin import NeighborList

    finder = NeighborList(cutoff=around.cutoff, full_list=True)
    i, j, shift = finder.compute(points=around.positions, box=around.cell, periodic=around.pbc, quantities="ijS")
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64).reshape(-1, 3)


def _matscipy(around: Surroundings) -> Pairs:
    from matscipy.neighbours import neighbour_list as matscipy_list

    heights = 1 / np.linalg.norm(np.linalg.inv(around.cell), axis=0)
    bins = float(np.prod(np.maximum(heights / around.cutoff, 1)))
    if bins > MATSCIPY_BINS_PER_ATOM * len(around.positions) + 1e6:
        return _vesin(around)
    # every direction is given as repeating: open ones are boxed so long that no image comes within the cutoff
    i, j, shift = matscipy_list(
        "ijS", cell=around.cell, pbc=np.ones(3, dtype=bool), positions=around.positions, cutoff=around.cutoff
    )
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64).reshape(-1, 3)


def _ase(around: Surroundings) -> Pairs:
    from ase.neighborlist import primitive_neighbor_list

    i, j, shift = primitive_neighbor_list(
        "ijS", around.pbc, around.cell, around.positions, around.cutoff, self_interaction=False
    )
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64).reshape(-1, 3)


def _torch_cluster(around: Surroundings) -> Pairs:
    if around.pbc.any():
        raise ValueError("torch_cluster finds neighbours in open systems only; use backend='vesin' for periodic ones")
    try:
        import torch_cluster
    except ImportError:
        raise ValueError("backend='torch_cluster' needs the extra: pip install gfm-ase[cluster]") from None
    import torch

    points = torch.from_numpy(around.positions)
    # its default of 32 neighbours truncates in silence
    j, i = torch_cluster.radius_graph(points, r=around.cutoff, max_num_neighbors=len(points), loop=False).numpy()
    return i.astype(np.int64), j.astype(np.int64), np.zeros((len(i), 3), dtype=np.int64)


def _brute_force(around: Surroundings) -> Pairs:
    """Every atom against every image of every atom: the oracle. Only for small or very sparse systems."""
    heights = 1 / np.linalg.norm(np.linalg.inv(around.cell), axis=0)
    fractional = around.positions @ np.linalg.inv(around.cell)
    reach = np.where(around.pbc, np.ceil(around.cutoff / heights + np.ptp(fractional, axis=0)), 0).astype(np.int64)
    found = []
    for image in np.ndindex(*(2 * reach + 1)):
        shift = np.array(image) - reach
        vectors = around.positions[None] + shift @ around.cell - around.positions[:, None]
        near = np.einsum("ijc,ijc->ij", vectors, vectors) < around.cutoff**2
        if not shift.any():
            np.fill_diagonal(near, val=False)
        i, j = np.nonzero(near)
        found.append((i, j, np.broadcast_to(shift, (len(i), 3))))
    i, j, shifts = (np.concatenate(part) for part in zip(*found, strict=True))
    return i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64)


BACKENDS: dict[str, Callable[[Surroundings], Pairs]] = {
    "vesin": _vesin,
    "matscipy": _matscipy,
    "torch_cluster": _torch_cluster,
    "ase": _ase,
    "brute_force": _brute_force,
}
