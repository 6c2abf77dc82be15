"""Learnt radial functions as tables: splines that stand for a network at inference, within a bound that is checked.

A radial network is a function of the distance and of two elements. Between knots it is replaced by the polynomial of
fifth degree that has its value, slope and curvature at both ends: energies stay smooth to the second derivative, forces
are the exact derivatives of the energies that the tables give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import potentials.native.spline_operators  # noqa: F401 - defines the operators
from potentials.edges import Edges
from potentials.native.spline_operators import radial_from_table
from potentials.native.tables import Coupling

RadialFunction = Callable[[Tensor, int, int], Tensor]
"""[K] distances in Å (float64), atomic numbers of centre and neighbour, to [K, P, C]."""

FIRST = 0.05
"""Å, the first knot; nearer than that no structure is, and the first interval's polynomial goes on."""

BOUNDS = {torch.float32: 1e-7, torch.float64: 1e-11}
"""Largest deviation of a table from the network, as a part of the largest value: roundings of the dtype, or less."""

FEWEST_KNOTS, MOST_KNOTS = 128, 4096
MOST_BYTES = 2**30


class RadialTables(nn.Module):
    """Radial factors of all pairs of some elements, read from tables; see `tabulate`.

    Args:
        table: [kinds, kinds, knots, 3, P * C].
        kind_Z: [119] which kind each atomic number is; -1 for those that were not tabulated.
        grid: distance of the first knot and step, Å.
        bound: the deviation that was found, as a part of the largest value.
    """

    table: Tensor
    kind_Z: Tensor

    def __init__(self, table: Tensor, kind_Z: Tensor, grid: tuple[float, float], bound: float) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("kind_Z", kind_Z, persistent=False)
        self.grid, self.bound = grid, bound

    def sum_products(
        self, coupling: Coupling, distance_E: Tensor, left_NLC: Tensor, right_EM: Tensor, links: tuple[Tensor, Edges]
    ) -> Tensor:
        """`edge_product` with the radial factors of the table; `links` are [N] atomic numbers and the edges."""
        numbers_N, edges = links
        kind_N = self.kind_Z.index_select(0, numbers_N)
        summed: Tensor = _SplineSum.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            coupling.key, self.grid, edges, self.table, kind_N, distance_E, left_NLC, right_EM
        )
        return summed


class _SplineSum(torch.autograd.Function):
    """First derivatives to distance, left and right: what energies, forces and stress need."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd takes no records
        ctx: Any,
        coupling: str,
        grid: tuple[float, float],
        edges: Edges,
        table: Tensor,
        kind_N: Tensor,
        distance_E: Tensor,
        left_NLC: Tensor,
        right_EM: Tensor,
    ) -> Tensor:
        ctx.rest = (coupling, list(grid), table)
        ctx.links = [edges.neighbour, edges.centre, edges.reverse, edges.starts]
        ctx.save_for_backward(kind_N, distance_E, left_NLC, right_EM)
        inputs = [kind_N, distance_E, left_NLC, right_EM]
        result: Tensor = torch.ops.gfm_ase.spline_sum(*ctx.rest, inputs, ctx.links)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        of_left = ctx.needs_input_grad[6]
        distance, left, right = torch.ops.gfm_ase.spline_gradients(
            *ctx.rest, list(ctx.saved_tensors), ctx.links, grads[0], of_left
        )
        return None, None, None, None, None, distance, left if of_left else None, right


def tabulate(function: RadialFunction, numbers: Sequence[int], cutoff: float, like: Tensor) -> RadialTables:
    """Tables of a radial function for all pairs of some elements.

    Args:
        function: smooth, zero at the cutoff; evaluated in float64.
        numbers: atomic numbers, each once.
        cutoff: Å.
        like: tables get its dtype and device.

    Raises:
        ValueError: the tables would not fit into memory, or no table of a sensible size comes near enough.
    """
    knots, deviation = FEWEST_KNOTS, 0.0
    at_cutoff = torch.tensor([cutoff], dtype=torch.float64)
    numbers_a_knot = 3 * len(numbers) ** 2 * function(at_cutoff, numbers[0], numbers[0]).numel()
    while knots <= MOST_KNOTS:
        bytes_wanted = knots * numbers_a_knot * like.element_size()
        if bytes_wanted > MOST_BYTES:  # before any of it is made
            raise ValueError(
                f"radial tables of {len(numbers)} elements would take {bytes_wanted / 2**30:.1f} GiB;"
                " use tabulate=False"
            )
        grid = (FIRST, (cutoff - FIRST) / (knots - 1))
        table = _rows(function, numbers, grid, knots)
        deviation = _deviation(function, numbers, grid, table)
        if deviation <= BOUNDS[like.dtype]:
            kind_Z = torch.full((119,), -1)
            kind_Z[torch.tensor(numbers)] = torch.arange(len(numbers))
            return RadialTables(table.to(like), kind_Z.to(like.device), grid, deviation)
        knots *= 2
    raise ValueError(
        f"radial functions of this potential are too rough for tables: with {knots // 2} knots they are off by"
        f" {deviation:.1e} of the largest value; use tabulate=False"
    )


def _rows(function: RadialFunction, numbers: Sequence[int], grid: tuple[float, float], knots: int) -> Tensor:
    """[kinds, kinds, knots, 3, P * C] float64."""
    distance_K = grid[0] + grid[1] * torch.arange(knots, dtype=torch.float64)

    def rows(centre: int, neighbour: int) -> Tensor:
        with torch.enable_grad():
            r_K = distance_K.clone().requires_grad_()
            values = function(r_K, centre, neighbour).flatten(1)
            slopes = _slopes(values, r_K)
            curvatures = _slopes(slopes, r_K)
        return torch.stack([values, slopes * grid[1], curvatures * grid[1] ** 2], dim=1).detach()

    return torch.stack([torch.stack([rows(one, other) for other in numbers]) for one in numbers])


def _slopes(values_KF: Tensor, r_K: Tensor) -> Tensor:
    """[K, F] derivatives of F functions of each distance: the gradient to r is linear in what it is asked for."""
    asked_KF = torch.zeros_like(values_KF).requires_grad_()
    (pulled_K,) = torch.autograd.grad(values_KF, r_K, asked_KF, create_graph=True)
    (slopes_KF,) = torch.autograd.grad(pulled_K.sum(), asked_KF, create_graph=True)
    return slopes_KF


def _deviation(function: RadialFunction, numbers: Sequence[int], grid: tuple[float, float], table: Tensor) -> float:
    """Largest difference between table and function at a half and a third of each interval, over the largest value."""
    knots, largest, worst = table.shape[2], 1e-300, 0.0
    places = torch.arange(knots - 1, dtype=torch.float64)
    distance_K = grid[0] + grid[1] * torch.cat([places + 0.5, places + 1 / 3])
    ends = torch.zeros(len(distance_K), dtype=torch.int64)
    for row, one in enumerate(numbers):
        for column, other in enumerate(numbers):
            exact = function(distance_K, one, other).flatten(1)
            pair = table[row : row + 1, column : column + 1]
            found, _ = radial_from_table(grid, pair, ends[:1], distance_K, [ends, ends])
            worst = max(worst, float((found - exact).abs().max()))
            largest = max(largest, float(exact.abs().max()))
    return worst / largest
