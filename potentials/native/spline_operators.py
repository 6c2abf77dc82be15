"""Sums of tensor products whose radial factors are splines, as torch operators; their first derivatives alone.

`table` is [knots, 3, P * C]: value, slope times step and curvature times step² of each path and channel at each knot.
`inputs` are distance [E], left [N, L, C] and right [E, M]; `grid` is the distance of the first knot and the step, Å;
`links` are neighbour, centre, reverse and starts of `potentials.edges.Edges`. Tables and inputs of several potentials
have one more dimension before these, and so have the results.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from potentials.native.build import library
from potentials.native.operators import LIBRARY, edge_plain, pointers, suffix
from potentials.native.tables import Coupling, edge_table

LIBRARY.define(
    "spline_sum(str coupling, float[] grid, Tensor table, Tensor[] inputs, Tensor[] links) -> Tensor",
)
LIBRARY.define(
    "spline_gradients(str coupling, float[] grid, Tensor table, Tensor[] inputs, Tensor[] links, Tensor out_gradient,"
    " bool of_left) -> (Tensor, Tensor, Tensor)",
)


@dataclass(frozen=True)
class _Sum:
    """What both operators take first."""

    coupling: str
    grid: Sequence[float]
    table: Tensor
    inputs: Sequence[Tensor]
    links: Sequence[Tensor]

    def in_order(self) -> _Sum:
        """The same with tensors that kernels can read."""
        return replace(
            self,
            table=self.table.contiguous(),
            inputs=[value.contiguous() for value in self.inputs],
            links=[link.contiguous() for link in self.links],
        )

    def links_of_single_edges(self) -> list[Tensor]:
        """As `potentials.native.operators.links_of` has them, if each edge were a pair of its own."""
        rows_E = torch.arange(self.links[0].shape[0], device=self.links[0].device)
        return [*self.links, rows_E, rows_E]

    def members(self) -> list[_Sum]:
        """One sum for each of several potentials."""
        return [
            replace(self, table=table, inputs=[value[member] for value in self.inputs])
            for member, table in enumerate(self.table)
        ]

    @property
    def several(self) -> bool:
        """Whether it is of several potentials."""
        return self.table.ndim > 3

    def arguments(self) -> list[Any]:
        """What both kernels take before their inputs."""
        neighbour, _, reverse, starts = self.links
        numbers, values = edge_table(self.coupling)
        left_NLC, knots = self.inputs[1], self.table.shape[-3]
        members = self.table.shape[0] if self.several else 1
        return [
            *(ctypes.c_int64(size) for size in (left_NLC.shape[-3], left_NLC.shape[-1])),
            torch.get_num_threads(),
            *(ctypes.c_void_p(array.ctypes.data) for array in (numbers, values)),
            *pointers(neighbour, reverse, starts, self.table),
            ctypes.c_int64(knots),
            *(ctypes.c_double(number) for number in self.grid),
            *(ctypes.c_int64(size) for size in (members, self.table.numel() // members)),
        ]


def radial_from_table(grid: Sequence[float], table: Tensor, distance_E: Tensor) -> tuple[Tensor, Tensor]:
    """[E, P * C] radial factors and their derivatives to the distance, in terms of torch."""
    start, step = grid
    knots = table.shape[0]
    x_E = ((distance_E.double() - start) / step).clamp(max=knots - 1)
    knot_E = x_E.long().clamp(0, knots - 2)
    t = x_E - knot_E
    t2, t3, t4, t5 = t**2, t**3, t**4, t**5
    far = 10 * t3 - 15 * t4 + 6 * t5
    weights = [1 - far, t - 6 * t3 + 8 * t4 - 3 * t5, 0.5 * t2 - 1.5 * t3 + 1.5 * t4 - 0.5 * t5]
    weights += [far, -4 * t3 + 7 * t4 - 3 * t5, 0.5 * t3 - t4 + 0.5 * t5]
    far = 30 * t2 - 60 * t3 + 30 * t4
    slopes = [-far, 1 - 18 * t2 + 32 * t3 - 15 * t4, t - 4.5 * t2 + 6 * t3 - 2.5 * t4]
    slopes += [far, -12 * t2 + 28 * t3 - 15 * t4, 1.5 * t2 - 4 * t3 + 2.5 * t4]
    rows_E6F = torch.cat([table[knot_E + end] for end in (0, 1)], dim=1)
    values, derivatives = (
        torch.einsum("ek,ekf->ef", torch.stack(each, dim=1).to(table.dtype), rows_E6F) for each in (weights, slopes)
    )
    return values, derivatives / step


def _empty_sum(of: _Sum) -> Tensor:
    left_NLC = of.inputs[1]
    return left_NLC.new_empty([*left_NLC.shape[:-2], Coupling.of(of.coupling).sizes[2], left_NLC.shape[-1]])


def _sum_native(of: _Sum) -> Tensor:
    kernels = library()
    if kernels is None:
        return _sum_plain(of)
    of = of.in_order()
    result = _empty_sum(of)
    function = getattr(kernels, f"spline_out_{suffix(result)}")
    function(*of.arguments(), *pointers(*of.inputs, result))
    return result


def _sum_plain(of: _Sum) -> Tensor:
    if of.several:
        return torch.stack([_sum_plain(member) for member in of.members()])
    distance_E, left_NLC, right_EM = of.inputs
    radial_EF, _ = radial_from_table(of.grid, of.table, distance_E)
    radial_EPC = radial_EF.view(len(radial_EF), -1, left_NLC.shape[2])
    return edge_plain("out", of.coupling, [radial_EPC, left_NLC, right_EM], of.links_of_single_edges())


def _empty_gradients(of: _Sum, out_gradient: Tensor, of_left: bool) -> tuple[Tensor, Tensor, Tensor]:
    del out_gradient
    distance_E, left_NLC, right_EM = of.inputs
    left = torch.empty(left_NLC.shape if of_left else [0], dtype=left_NLC.dtype, device=left_NLC.device)
    return torch.empty_like(distance_E), left, torch.empty(right_EM.shape, dtype=left.dtype, device=left.device)


def _gradients_native(of: _Sum, out_gradient: Tensor, of_left: bool) -> tuple[Tensor, Tensor, Tensor]:
    kernels = library()
    if kernels is None:
        return _gradients_plain(of, out_gradient, of_left)
    of, out_gradient = of.in_order(), out_gradient.contiguous()
    distance, left, right = _empty_gradients(of, out_gradient, of_left)
    function = getattr(kernels, f"spline_gradients_{suffix(right)}")
    function(
        *of.arguments(),
        *pointers(*of.inputs, out_gradient, distance),
        ctypes.c_void_p(left.data_ptr() if of_left else None),
        *pointers(right),
    )
    return distance, left, right


def _gradients_plain(of: _Sum, out_gradient: Tensor, of_left: bool) -> tuple[Tensor, Tensor, Tensor]:
    if of.several:
        pairs = zip(of.members(), out_gradient, strict=True)
        distance, left, right = zip(*(_gradients_plain(one, gradient, of_left) for one, gradient in pairs), strict=True)
        return torch.stack(distance), torch.stack(left) if of_left else left[0], torch.stack(right)
    distance_E, left_NLC, right_EM = of.inputs
    radial_EF, slope_EF = radial_from_table(of.grid, of.table, distance_E)
    radial_EPC = radial_EF.view(len(radial_EF), -1, left_NLC.shape[2])
    links = of.links_of_single_edges()
    to_radial = edge_plain("radial", of.coupling, [out_gradient, left_NLC, right_EM], links)
    to_right = edge_plain("right", of.coupling, [out_gradient, radial_EPC, left_NLC], links)
    to_left = left_NLC.new_empty([0])
    if of_left:
        to_left = edge_plain("left", of.coupling, [out_gradient, radial_EPC, right_EM], links)
    return (to_radial.flatten(1) * slope_EF).sum(1), to_left, to_right


def _operator(implementation: Callable[..., Any]) -> Callable[..., Any]:
    def call(
        coupling: str,
        grid: Sequence[float],
        table: Tensor,
        inputs: Sequence[Tensor],
        links: Sequence[Tensor],
        *more: Any,
    ) -> Any:
        return implementation(_Sum(coupling, grid, table, inputs, links), *more)

    return call


_IMPLEMENTATIONS: tuple[tuple[str, Callable[..., Any], Callable[..., Any], Callable[..., Any]], ...] = (
    ("spline_sum", _sum_native, _sum_plain, _empty_sum),
    ("spline_gradients", _gradients_native, _gradients_plain, _empty_gradients),
)
for _name, _native, _plain, _empty in _IMPLEMENTATIONS:
    LIBRARY.impl(_name, _operator(_native), "CPU")
    LIBRARY.impl(_name, _operator(_plain), "CompositeExplicitAutograd")
    torch.library.register_fake(f"gfm_ase::{_name}", _operator(_empty), lib=LIBRARY)
