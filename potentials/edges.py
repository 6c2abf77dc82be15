"""Moving features between atoms and edges without scattering.

Edges are sorted by centre, and every edge knows its reverse. So a sum over the edges of an atom is a sum over
consecutive rows, and the gradient of a gather over neighbours, elsewhere a scatter with atomic additions, is the same
sum over the reversed edges. Both run as one `embedding_bag`: threaded, vectorised, deterministic, on CPU and GPU. The
autograd functions below are each other's derivatives, so any order of derivative stays scatter-free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from potentials.graph import AtomicGraph


def _segment_sum(values: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """Sums of ``values[rows[starts[i]:starts[i + 1]]]`` for each i: [E, ...] to [N, ...]."""
    flat = values.reshape(values.shape[0], math.prod(values.shape[1:])).contiguous()
    summed: Tensor = torch.ops.aten._embedding_bag_forward_only(flat, rows, starts, False, 0, False, None, True)[0]
    return summed.view((starts.shape[0] - 1, *values.shape[1:]))


def sum_segments(values: Tensor, index: Tensor, starts: Tensor) -> Tensor:
    """Differentiable sums of consecutive rows, [N, ...] to [G, ...].

    Args:
        values: [N, ...].
        index: [N] which sum each row belongs to, ascending.
        starts: [G + 1] first row of each sum.
    """
    return _apply(_SegmentSum, values, index, torch.arange(index.shape[0], device=index.device), starts)


def gather_segments(values: Tensor, index: Tensor, starts: Tensor) -> Tensor:
    """Each row's copy of what belongs to its segment, [G, ...] to [N, ...]; its derivative is `sum_segments`.

    Args:
        values: [G, ...].
        index: [N] which segment each row belongs to, ascending.
        starts: [G + 1] first row of each segment.
    """
    return _apply(_Gather, values, index, torch.arange(index.shape[0], device=index.device), starts)


def largest_of_segments(values: Tensor, index: Tensor, count: int) -> Tensor:
    """[N] values that are 0 or more to the largest of each of `count` segments, 0 where one is empty; [N] index."""
    return values.new_zeros(count).scatter_reduce(0, index, values, "amax")


def _apply(function: type[torch.autograd.Function], *tensors: Tensor) -> Tensor:
    result: Tensor = function.apply(*tensors)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, index: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
        del index
        return _segment_sum(values, rows, starts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _apply(_Gather, grads[0], *ctx.saved_tensors), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], values: Tensor, *links: Tensor) -> tuple[Tensor, int]:
        return _of_members(_SegmentSum, info.batch_size, in_dims, values, _segments(info.batch_size, *links))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, index: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
        del rows, starts
        return values.index_select(0, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _apply(_SegmentSum, grads[0], *ctx.saved_tensors), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], values: Tensor, *links: Tensor) -> tuple[Tensor, int]:
        return _of_members(_Gather, info.batch_size, in_dims, values, _segments(info.batch_size, *links))


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        del inverse
        return values.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        order, inverse = ctx.saved_tensors
        return _apply(_Permute, grads[0], inverse, order), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], values: Tensor, *links: Tensor) -> tuple[Tensor, int]:
        counts = [order.shape[0] for order in links]
        return _of_members(_Permute, info.batch_size, in_dims, values, _shifted(info.batch_size, links, counts))


def _of_members(
    function: type[torch.autograd.Function],
    members: int,
    in_dims: tuple[int | None, ...],
    values: Tensor,
    links: Sequence[Tensor],
) -> tuple[Tensor, int]:
    """Many values on the same edges at once, as if each had edges of its own: one sum or copy for all of them."""
    assert in_dims[0] is not None
    assert all(where is None for where in in_dims[1:]), "members of a batch share their edges"
    values = values.movedim(in_dims[0], 0)
    result = _apply(function, values.flatten(0, 1), *links)
    return result.view(members, -1, *result.shape[1:]), 0


def _segments(members: int, index: Tensor, rows: Tensor, starts: Tensor) -> list[Tensor]:
    n_segments, n_rows = starts.shape[0] - 1, index.shape[0]  # `len` would fix a size that compilers leave open
    index, rows, starts = _shifted(members, (index, rows, starts[:-1]), (n_segments, n_rows, n_rows))
    return [index, rows, torch.cat([starts, starts.new_full((1,), members * n_rows)])]


def _shifted(members: int, links: Sequence[Tensor], by: Sequence[int]) -> list[Tensor]:
    """[members * ...]: each link once for each member, moved on by so much."""
    return [
        (link + step * torch.arange(members, device=link.device)[:, None]).flatten()
        for link, step in zip(links, by, strict=True)
    ]


@dataclass(frozen=True)
class EdgeGeometry:
    """Where the neighbours are.

    Attributes:
        distance: [E] Å.
        direction: [E, 3] unit vectors from the centre to the neighbour.
    """

    distance: Tensor
    direction: Tensor


@dataclass(frozen=True)
class Edges:
    """Who is connected to whom.

    Attributes:
        neighbour: [E] atom at the far end of each edge.
        centre: [E] atom that collects, ascending.
        reverse: [E] the same pair seen from the other end.
        starts: [N + 1] first edge of each atom.
        rows: [E] 0, 1, 2, ...: every edge, in order.
        pair: [E] the pair that each edge is of, one with its reverse.
        first: [P] the edge of each pair that comes first.
    """

    neighbour: Tensor
    centre: Tensor
    reverse: Tensor
    starts: Tensor
    rows: Tensor
    pair: Tensor
    first: Tensor

    @staticmethod
    def of(graph: AtomicGraph) -> Edges:
        """The edges of a graph."""
        centre = graph.edge_index[1].contiguous()
        counts = torch.bincount(centre, minlength=graph.n_atoms)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        reverse, rows = graph.edge_reverse, torch.arange(graph.n_edges, device=centre.device)
        first = torch.nonzero(rows < reverse)[:, 0]
        number = (rows < reverse).cumsum(0) - 1
        pair = number.index_select(0, torch.minimum(rows, reverse))
        return Edges(graph.edge_index[0].contiguous(), centre, reverse, starts, rows, pair, first)

    def gather_centre(self, values: Tensor) -> Tensor:
        """[N, ...] to [E, ...]: the value of each edge's centre."""
        return _apply(_Gather, values, self.centre, self.rows, self.starts)

    def gather_neighbour(self, values: Tensor) -> Tensor:
        """[N, ...] to [E, ...]: the value of each edge's neighbour."""
        return _apply(_Gather, values, self.neighbour, self.reverse, self.starts)

    def sum_to_centre(self, values: Tensor) -> Tensor:
        """[E, ...] to [N, ...]: the sum over the edges around each atom."""
        return _apply(_SegmentSum, values, self.centre, self.rows, self.starts)

    def sum_to_neighbour(self, values: Tensor) -> Tensor:
        """[E, ...] to [N, ...]: the sum over the edges in which each atom is the neighbour."""
        return _apply(_SegmentSum, values, self.neighbour, self.reverse, self.starts)

    def swap_ends(self, values: Tensor) -> Tensor:
        """[E, ...] to [E, ...]: the value of each edge's reverse."""
        return _apply(_Permute, values, self.reverse, self.reverse)

    def of_pairs(self, values: Tensor) -> Tensor:
        """[E, ...] to [P, ...]: what an edge and its reverse have in common, once."""
        is_first = self.first.index_select(0, self.pair) == self.rows
        return gather_segments(values, self.first, torch.cat([self.starts.new_zeros(1), is_first.cumsum(0)]))
