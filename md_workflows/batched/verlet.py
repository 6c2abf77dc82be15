"""Neighbour lists of many structures with a skin: each is made anew only when it could miss a pair."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from md_workflows.batched.fleet import Fleet
from md_workflows.structures import one_line
from potentials.batched_neighbours import BatchedNeighbours, batched_neighbours
from potentials.native.pairs import LongPairs, near_pairs
from potentials.neighbours import COINCIDENT_ANGSTROM, complete_cell

Array = NDArray[Any]


class StructuresFailedError(Exception):
    """Some structures of a fleet cannot be computed; `reasons` has a line for the row of each."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons


@dataclass(frozen=True)
class Pairs:
    """Pairs within the cutoff, sorted by centre, neighbour and shift; columns as in `AtomicGraph`."""

    edge_index: Tensor
    shift: Tensor
    reverse: Tensor


@dataclass(frozen=True)
class _Long:
    """Pairs within cutoff and skin, and where the structures were when they were found.

    who [G, 5] keys, numbers of atoms and pbc: what has to be the same for a list to hold · positions [N, 3] Å ·
    cell [G, 3, 3] Å, open directions boxed · count [G] atoms · edges [G] of each ·
    neighbour, centre, reverse [E] · shift [E, 3] · half [H] the edges that come before their reverse.
    """

    who: Tensor
    positions: Tensor
    cell: Tensor
    count: Tensor
    edges: Tensor
    neighbour: Tensor
    centre: Tensor
    shift: Tensor
    reverse: Tensor
    half: Tensor


class BatchedVerlet:
    """Pairs within a cutoff of every structure of a fleet, from longer lists that are kept while they hold.

    The criterion is that of `potentials.verlet.VerletList`, for each structure by itself; structures are told apart by
    their keys, atoms and pbc, and may come and go. Lists are found on the CPU and kept where the fleet is.

    Args:
        cutoff: Å.
        skin: Å.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        if not skin > 0:
            raise ValueError(f"skin is {skin} Å; it must be more than 0, as 0.5")
        self.cutoff = cutoff
        self.skin = skin
        self.n_builds = 0  # structures whose list was made, each time it was
        self._long: _Long | None = None

    def forget(self) -> None:
        """Make every list anew at the next update."""
        self._long = None

    def update(self, fleet: Fleet) -> Pairs:
        """The pairs of all structures.

        Raises:
            StructuresFailedError: two atoms of a structure are in one place, or a position is not finite.
        """
        long, positions = self._lists(fleet), fleet.atom["positions"]
        listed = LongPairs(long.neighbour, long.centre, long.reverse, long.shift)
        found = near_pairs(listed, positions, fleet.graph["cell"], fleet.atom["owner"], self.cutoff)
        if found is None or found.smallest < COINCIDENT_ANGSTROM**2:
            return self._filtered(fleet, long)
        return Pairs(found.edge_index, found.shift, found.reverse)

    def _filtered(self, fleet: Fleet, long: _Long) -> Pairs:
        """The pairs within the cutoff, by torch: on a GPU, or where there is no compiler."""
        positions = fleet.atom["positions"]
        neighbour, centre = long.neighbour.index_select(0, long.half), long.centre.index_select(0, long.half)
        vectors = positions.index_select(0, neighbour)
        vectors -= positions.index_select(0, centre)
        shift = long.shift.index_select(0, long.half)
        if fleet.n_structures == 1:
            vectors.addmm_(shift, fleet.graph["cell"][0])
        else:
            cell = fleet.graph["cell"].index_select(0, fleet.atom["owner"].index_select(0, centre))
            for row in range(3):
                vectors.addcmul_(shift[:, row, None], cell[:, row])
        squared = vectors.square_().sum(1)
        self._check_apart(fleet, squared, centre)
        near_half = squared < self.cutoff**2
        near = torch.empty(len(long.centre), dtype=torch.bool, device=positions.device)
        near[long.half] = near_half
        near[long.reverse.index_select(0, long.half)] = near_half
        kept = near.nonzero()[:, 0]
        renumbered = near.cumsum(0) - 1
        ends = torch.stack([long.neighbour.index_select(0, kept), long.centre.index_select(0, kept)])
        reverse = renumbered.index_select(0, long.reverse.index_select(0, kept))
        return Pairs(ends, long.shift.index_select(0, kept), reverse)

    def _check_apart(self, fleet: Fleet, squared: Tensor, centre: Tensor) -> None:
        if not len(squared) or float(squared.min()) >= COINCIDENT_ANGSTROM**2:
            return
        where = fleet.atom["owner"].index_select(0, centre[squared < COINCIDENT_ANGSTROM**2])
        raise StructuresFailedError({int(row): "ValueError: two atoms are in one place" for row in set(where.tolist())})

    def _lists(self, fleet: Fleet) -> _Long:
        long = self._long
        if long is None:
            self._long = self._find(fleet)
            return self._long
        who = _who_are(fleet)
        if not torch.equal(long.who, who):
            long = self._rearranged(long, fleet, who)
        stale = ~self._covers(long, fleet)
        if bool(stale.any()):
            long = self._renewed(long, fleet, stale)
        self._long = long
        return long

    def _covers(self, long: _Long, fleet: Fleet) -> Tensor:
        """[G] whether no pair within the cutoff can be missing."""
        moved, smallest_stretch = long.positions, torch.ones(1, dtype=torch.float64, device=fleet.device)
        full = torch.where(fleet.graph["pbc"][:, :, None], fleet.graph["cell"], long.cell)
        if not torch.equal(full, long.cell):
            deformation = torch.linalg.solve(long.cell, full)
            moved = torch.einsum("nc,nck->nk", long.positions, fleet.of_atoms(deformation))
            change = deformation - torch.eye(3, dtype=torch.float64, device=fleet.device)
            # the smallest singular value is at least this (Weyl)
            smallest_stretch = 1 - torch.linalg.matrix_norm(change)
        furthest = fleet.largest((fleet.atom["positions"] - moved).square().sum(1)).sqrt()
        margin = smallest_stretch * (self.cutoff + self.skin) - 2 * furthest - self.cutoff
        return margin > 1e-6  # false for what is not a number

    def _rearranged(self, long: _Long, fleet: Fleet, who: Tensor) -> _Long:
        """The lists of those that stayed, in the fleet's order, with no edges for those that came: to be renewed."""
        known = {tuple(one): row for row, one in enumerate(long.who.tolist())}
        rows = [known.get(tuple(one), -1) for one in who.tolist()]
        stayed = [row for row in rows if row >= 0]
        if stayed != sorted(stayed) or rows[: len(stayed)] != stayed:
            return self._find(fleet)  # another order: all anew
        wanted = torch.zeros(len(long.who), dtype=torch.bool)
        wanted[stayed] = True
        kept = _keep(long, wanted.to(fleet.device))
        if len(stayed) == len(rows):
            return kept
        came = range(len(stayed), len(rows))
        return _join(kept, self._find(fleet.part(came.start, came.stop), list(came)))

    def _renewed(self, long: _Long, fleet: Fleet, stale: Tensor) -> _Long:
        fresh = self._find(fleet.keep(stale), rows=stale.nonzero()[:, 0].tolist())
        if bool(stale.all()):
            return fresh
        joined = _join(_keep(long, ~stale), fresh)
        order = torch.cat([(~stale).nonzero()[:, 0], stale.nonzero()[:, 0]]).argsort()
        return _ordered(joined, order)

    def _find(self, fleet: Fleet, rows: list[int] | None = None) -> _Long:
        """Long lists from nothing; `rows` are the structures' places, for what is said of those that fail."""
        device, count = fleet.device, fleet.graph["count"]
        starts = fleet.starts().cpu().numpy()
        positions, cells = fleet.atom["positions"].cpu().numpy(), fleet.graph["cell"].cpu().numpy()
        pbc, reach = fleet.graph["pbc"].cpu().numpy(), self.cutoff + self.skin
        try:
            found = batched_neighbours(starts, positions, cells, pbc, reach)
            boxes = [
                cells[g] if pbc[g].all() else complete_cell(positions[first:last], cells[g], pbc[g], self.cutoff)
                for g, (first, last) in enumerate(pairwise(starts))
            ]
        except ValueError as error:
            raise self._who(starts, positions, cells, pbc, rows) from error
        self.n_builds += len(count)
        return _long(fleet, found, np.stack(boxes), device)

    def _who(
        self, starts: Array, positions: Array, cells: Array, pbc: Array, rows: list[int] | None
    ) -> StructuresFailedError:
        reasons = {}
        for g, (first, last) in enumerate(pairwise(starts)):
            mine = positions[first:last]
            try:
                batched_neighbours(np.array([0, len(mine)]), mine, cells[g : g + 1], pbc[g : g + 1], self.cutoff)
                complete_cell(mine, cells[g], pbc[g], self.cutoff)
            except ValueError as error:
                reasons[g if rows is None else rows[g]] = one_line(error)
        return StructuresFailedError(reasons)


def _long(fleet: Fleet, found: BatchedNeighbours, boxes: Array, device: torch.device) -> _Long:
    neighbour, centre = (torch.from_numpy(found.edge_index[row]).to(device) for row in (0, 1))
    reverse = torch.from_numpy(found.reverse).to(device)
    half = (reverse > torch.arange(len(reverse), device=device)).nonzero()[:, 0]
    return _Long(
        who=_who_are(fleet),
        positions=fleet.atom["positions"].clone(),
        cell=torch.from_numpy(boxes).to(device),
        count=fleet.graph["count"].clone(),
        edges=torch.from_numpy(np.diff(found.first_edge)).to(device),
        neighbour=neighbour,
        centre=centre,
        shift=torch.from_numpy(found.shift).to(device),
        reverse=reverse,
        half=half,
    )


def _who_are(fleet: Fleet) -> Tensor:
    return torch.cat([fleet.graph["key"][:, None], fleet.graph["count"][:, None], fleet.graph["pbc"].long()], 1)


def _first(sizes: Tensor) -> Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _pick(sizes: Tensor, rows: Tensor) -> Tensor:
    """Places of the elements of segments `rows`, one segment after another, where all have `sizes`."""
    chosen = sizes.index_select(0, rows)
    first = _first(sizes)[:-1].index_select(0, rows)
    begin = _first(chosen)[:-1]
    return torch.arange(int(chosen.sum()), device=sizes.device) + (first - begin).repeat_interleave(chosen)


def _ordered(long: _Long, rows: Tensor) -> _Long:
    """The lists of structures `rows`, in this order."""
    atoms, edges = _pick(long.count, rows), _pick(long.edges, rows)
    count, sizes = long.count.index_select(0, rows), long.edges.index_select(0, rows)
    atom_moved = (_first(count)[:-1] - _first(long.count)[:-1].index_select(0, rows)).repeat_interleave(sizes)
    edge_moved = (_first(sizes)[:-1] - _first(long.edges)[:-1].index_select(0, rows)).repeat_interleave(sizes)
    reverse = long.reverse.index_select(0, edges) + edge_moved
    return _Long(
        who=long.who.index_select(0, rows),
        positions=long.positions.index_select(0, atoms),
        cell=long.cell.index_select(0, rows),
        count=count,
        edges=sizes,
        neighbour=long.neighbour.index_select(0, edges) + atom_moved,
        centre=long.centre.index_select(0, edges) + atom_moved,
        shift=long.shift.index_select(0, edges),
        reverse=reverse,
        half=(reverse > torch.arange(len(reverse), device=reverse.device)).nonzero()[:, 0],
    )


def _keep(long: _Long, wanted: Tensor) -> _Long:
    return long if bool(wanted.all()) else _ordered(long, wanted.nonzero()[:, 0])


def _join(first: _Long, second: _Long) -> _Long:
    atoms, edges = int(first.count.sum()), len(first.centre)
    moved = {"neighbour": atoms, "centre": atoms, "reverse": edges, "half": edges}
    values = {
        name: torch.cat([getattr(first, name), getattr(second, name) + moved.get(name, 0)])
        for name in _Long.__dataclass_fields__
    }
    return _Long(**values)
