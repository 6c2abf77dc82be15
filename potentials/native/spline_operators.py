"""Sums of tensor products whose radial factors are splines, as torch operators; their first derivatives alone.

`table` is [centre kinds, neighbour kinds, knots, 3, P * C]: value, slope times step and curvature times step² of each
path and channel at each knot. `inputs` are kind [N], distance [E], left [N, L, C] and right [E, M]; `grid` is the
distance of the first knot and the step, Å; `links` as in `potentials.native.operators`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
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


def _empty_sum(
    coupling: str, grid: Sequence[float], table: Tensor, inputs: Sequence[Tensor], links: Sequence[Tensor]
) -> Tensor:
    del grid, table, links
    left_NLC = inputs[2]
    return left_NLC.new_empty([left_NLC.shape[0], Coupling.of(coupling).sizes[2], left_NLC.shape[2]])


def _arguments(
    coupling: str, grid: Sequence[float], table: Tensor, inputs: Sequence[Tensor], links: Sequence[Tensor]
) -> list[Any]:
    """What both kernels take before their inputs."""
    neighbour, _, reverse, starts = links
    numbers, values = edge_table(coupling)
    left_NLC = inputs[2]
    return [
        *(ctypes.c_int64(size) for size in (left_NLC.shape[0], neighbour.shape[0], left_NLC.shape[2])),
        torch.get_num_threads(),
        *(ctypes.c_void_p(array.ctypes.data) for array in (numbers, values)),
        *pointers(neighbour, reverse, starts, table, inputs[0]),
        *(ctypes.c_int64(size) for size in (table.shape[0], table.shape[2])),
        *(ctypes.c_double(number) for number in grid),
    ]


def _sum_native(
    coupling: str, grid: Sequence[float], table: Tensor, inputs: Sequence[Tensor], links: Sequence[Tensor]
) -> Tensor:
    kernels = library()
    if kernels is None:
        return _sum_plain(coupling, grid, table, inputs, links)
    inputs, links = [value.contiguous() for value in inputs], [link.contiguous() for link in links]
    result = _empty_sum(coupling, grid, table, inputs, links)
    function = getattr(kernels, f"spline_out_{suffix(result)}")
    function(*_arguments(coupling, grid, table, inputs, links), *pointers(*inputs[1:], result))
    return result


def radial_from_table(
    grid: Sequence[float], table: Tensor, kind_N: Tensor, distance_E: Tensor, links: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """[E, P * C] radial factors and their derivatives to the distance, in terms of torch."""
    neighbour, centre = links[:2]
    start, step = grid
    x_E = ((distance_E.double() - start) / step).clamp(max=table.shape[2] - 1)
    knot_E = x_E.long().clamp(0, table.shape[2] - 2)
    t = x_E - knot_E
    t2, t3, t4, t5 = t**2, t**3, t**4, t**5
    far = 10 * t3 - 15 * t4 + 6 * t5
    weights = [1 - far, t - 6 * t3 + 8 * t4 - 3 * t5, 0.5 * t2 - 1.5 * t3 + 1.5 * t4 - 0.5 * t5]
    weights += [far, -4 * t3 + 7 * t4 - 3 * t5, 0.5 * t3 - t4 + 0.5 * t5]
    far = 30 * t2 - 60 * t3 + 30 * t4
    slopes = [-far, 1 - 18 * t2 + 32 * t3 - 15 * t4, t - 4.5 * t2 + 6 * t3 - 2.5 * t4]
    slopes += [far, -12 * t2 + 28 * t3 - 15 * t4, 1.5 * t2 - 4 * t3 + 2.5 * t4]
    of_centre, of_neighbour = kind_N.index_select(0, centre), kind_N.index_select(0, neighbour)
    rows_E6F = torch.cat([table[of_centre, of_neighbour, knot_E + end] for end in (0, 1)], dim=1)
    values, derivatives = (
        torch.einsum("ek,ekf->ef", torch.stack(each, dim=1).to(table.dtype), rows_E6F) for each in (weights, slopes)
    )
    return values, derivatives / step


def _sum_plain(
    coupling: str, grid: Sequence[float], table: Tensor, inputs: Sequence[Tensor], links: Sequence[Tensor]
) -> Tensor:
    kind_N, distance_E, left_NLC, right_EM = inputs
    radial_EF, _ = radial_from_table(grid, table, kind_N, distance_E, links)
    radial_EPC = radial_EF.view(len(radial_EF), -1, left_NLC.shape[2])
    return edge_plain("out", coupling, [radial_EPC, left_NLC, right_EM], links)


def _empty_gradients(  # noqa: PLR0917 - the signature of the operator
    coupling: str,
    grid: Sequence[float],
    table: Tensor,
    inputs: Sequence[Tensor],
    links: Sequence[Tensor],
    out_gradient: Tensor,
    of_left: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    del coupling, grid, table, links, out_gradient
    _, distance_E, left_NLC, right_EM = inputs
    left = torch.empty(left_NLC.shape if of_left else [0], dtype=left_NLC.dtype, device=left_NLC.device)
    return torch.empty_like(distance_E), left, torch.empty(right_EM.shape, dtype=left.dtype, device=left.device)


def _gradients_native(  # noqa: PLR0917 - the signature of the operator
    coupling: str,
    grid: Sequence[float],
    table: Tensor,
    inputs: Sequence[Tensor],
    links: Sequence[Tensor],
    out_gradient: Tensor,
    of_left: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    kernels = library()
    if kernels is None:
        return _gradients_plain(coupling, grid, table, inputs, links, out_gradient, of_left)
    inputs, links = [value.contiguous() for value in inputs], [link.contiguous() for link in links]
    out_gradient = out_gradient.contiguous()
    distance, left, right = _empty_gradients(coupling, grid, table, inputs, links, out_gradient, of_left)
    function = getattr(kernels, f"spline_gradients_{suffix(right)}")
    function(
        *_arguments(coupling, grid, table, inputs, links),
        *pointers(*inputs[1:], out_gradient, distance),
        ctypes.c_void_p(left.data_ptr() if of_left else None),
        *pointers(right),
    )
    return distance, left, right


def _gradients_plain(  # noqa: PLR0917 - the signature of the operator
    coupling: str,
    grid: Sequence[float],
    table: Tensor,
    inputs: Sequence[Tensor],
    links: Sequence[Tensor],
    out_gradient: Tensor,
    of_left: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    kind_N, distance_E, left_NLC, right_EM = inputs
    radial_EF, slope_EF = radial_from_table(grid, table, kind_N, distance_E, links)
    radial_EPC = radial_EF.view(len(radial_EF), -1, left_NLC.shape[2])
    to_radial = edge_plain("radial", coupling, [out_gradient, left_NLC, right_EM], links)
    to_right = edge_plain("right", coupling, [out_gradient, radial_EPC, left_NLC], links)
    to_left = left_NLC.new_empty([0])
    if of_left:
        to_left = edge_plain("left", coupling, [out_gradient, radial_EPC, right_EM], links)
    return (to_radial.flatten(1) * slope_EF).sum(1), to_left, to_right


_IMPLEMENTATIONS: tuple[tuple[str, Any, Any, Any], ...] = (
    ("spline_sum", _sum_native, _sum_plain, _empty_sum),
    ("spline_gradients", _gradients_native, _gradients_plain, _empty_gradients),
)
for _name, _native, _plain, _empty in _IMPLEMENTATIONS:
    LIBRARY.impl(_name, _native, "CPU")
    LIBRARY.impl(_name, _plain, "CompositeExplicitAutograd")
    torch.library.register_fake(f"gfm_ase::{_name}", _empty, lib=LIBRARY)
