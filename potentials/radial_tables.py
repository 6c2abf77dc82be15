"""Learnt radial functions as tables: splines that stand for a network at inference, within a bound that is checked.

A radial network is a function of the distance. Between knots it is replaced by the polynomial of
fifth degree that has its value, slope and curvature at both ends: energies stay smooth to the second derivative, forces
are the exact derivatives of the energies that the tables give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import potentials.native.spline_operators  # noqa: F401 - defines the operators
from potentials.edges import Edges
from potentials.native.spline_operators import radial_from_table
from potentials.native.tables import Coupling

RadialFunction = Callable[[Tensor], Tensor]
"""[K] distances in Å (float64) to [K, P, C]."""

FIRST = 0.05
"""Å, the first knot; nearer than that no structure is, and the first interval's polynomial goes on."""

BOUNDS = {torch.float32: 1e-7, torch.float64: 1e-11}
"""Largest deviation of a table from the network, as a part of the largest value: roundings of the dtype, or less."""

FEWEST_KNOTS, MOST_KNOTS = 128, 4096


class RadialTables(nn.Module):
    """Radial factors read from a table; see `tabulate`.

    Args:
        table: [knots, 3, P * C].
        grid: distance of the first knot and step, Å.
        bound: the deviation that was found, as a part of the largest value.
    """

    table: Tensor

    def __init__(self, table: Tensor, grid: tuple[float, float], bound: float) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.grid, self.bound = grid, bound

    def sum_products(
        self, coupling: Coupling, distance_E: Tensor, left_NLC: Tensor, right_EM: Tensor, edges: Edges
    ) -> Tensor:
        """`edge_product` with the radial factors of the table."""
        summed: Tensor = _SplineSum.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            coupling.key, self.grid, edges, self.table, distance_E, left_NLC, right_EM
        )
        return summed


class _SplineSum(torch.autograd.Function):
    """First derivatives to distance, left and right: what energies, forces and stress need."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd takes no records
        coupling: str,
        grid: tuple[float, float],
        edges: Edges,
        table: Tensor,
        distance_E: Tensor,
        left_NLC: Tensor,
        right_EM: Tensor,
    ) -> Tensor:
        inputs = [distance_E, left_NLC, right_EM]
        result: Tensor = torch.ops.gfm_ase.spline_sum(coupling, list(grid), table, inputs, _links(edges))
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        coupling, grid, edges, table = inputs[:4]
        ctx.rest, ctx.links = (coupling, list(grid), table), _links(edges)
        ctx.save_for_backward(*inputs[4:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        of_left = ctx.needs_input_grad[5]
        distance, left, right = torch.ops.gfm_ase.spline_gradients(
            *ctx.rest, list(ctx.saved_tensors), ctx.links, grads[0], of_left
        )
        return None, None, None, None, distance, left if of_left else None, right

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        """Each member has a table of its own; what their edges have in common, the kernel makes once."""
        tensors = [
            value.expand(info.batch_size, *value.shape) if place is None else value.movedim(place, 0)
            for value, place in zip(inputs[3:], in_dims[3:], strict=True)
        ]
        sums: Tensor = _SplineSum.apply(*inputs[:3], *tensors)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return sums, 0


def _links(edges: Edges) -> list[Tensor]:
    return [edges.neighbour, edges.centre, edges.reverse, edges.starts]


def tabulate(function: RadialFunction, cutoff: float, like: Tensor, fewest: int = FEWEST_KNOTS) -> RadialTables:
    """A table of a radial function.

    Args:
        function: smooth, zero at the cutoff; evaluated in float64.
        cutoff: Å.
        like: the table gets its dtype and device.
        fewest: knots to begin with.

    Raises:
        ValueError: no table of a sensible size comes near enough.
    """
    knots, deviation = fewest, 0.0
    while knots <= MOST_KNOTS:
        grid = (FIRST, (cutoff - FIRST) / (knots - 1))
        table = _rows(function, grid, knots)
        deviation = _deviation(function, grid, table)
        if deviation <= BOUNDS[like.dtype]:
            return RadialTables(table.to(like), grid, deviation)
        knots *= 2
    raise ValueError(
        f"radial functions of this potential are too rough for tables: with {knots // 2} knots they are off by"
        f" {deviation:.1e} of the largest value; use tabulate=False"
    )


def _rows(function: RadialFunction, grid: tuple[float, float], knots: int) -> Tensor:
    """[knots, 3, P * C] float64."""
    with torch.enable_grad():
        distance_K = (grid[0] + grid[1] * torch.arange(knots, dtype=torch.float64)).requires_grad_()
        values = function(distance_K).flatten(1)
        slopes = _slopes(values, distance_K)
        curvatures = _slopes(slopes, distance_K)
    return torch.stack([values, slopes * grid[1], curvatures * grid[1] ** 2], dim=1).detach()


def _slopes(values_KF: Tensor, r_K: Tensor) -> Tensor:
    """[K, F] derivatives of F functions of each distance: the gradient to r is linear in what it is asked for."""
    asked_KF = torch.zeros_like(values_KF).requires_grad_()
    (pulled_K,) = torch.autograd.grad(values_KF, r_K, asked_KF, create_graph=True)
    (slopes_KF,) = torch.autograd.grad(pulled_K.sum(), asked_KF, create_graph=True)
    return slopes_KF


def _deviation(function: RadialFunction, grid: tuple[float, float], table: Tensor) -> float:
    """Largest difference between table and function at a half and a third of each interval, over the largest value."""
    places = torch.arange(len(table) - 1, dtype=torch.float64)
    distance_K = grid[0] + grid[1] * torch.cat([places + 0.5, places + 1 / 3])
    exact = function(distance_K).flatten(1)
    found, _ = radial_from_table(grid, table, distance_K)
    return float((found - exact).abs().max()) / max(float(exact.abs().max()), 1e-300)
