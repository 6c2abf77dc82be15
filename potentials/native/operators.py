"""The kernels as torch operators: functions of tensors that compilers leave alone, with shapes known in advance.

`torch.ops.gfm_ase.edge_form` and `atom_form` are derivatives of forms that are linear in each of their factors,

    T = Σ_edges Σ_k cg_k out[centre, o_k] radial[pair, p_k] left[neighbour, a_k] right[edge, b_k]
    T = Σ_atoms Σ_k cg_k out[atom, o_k] left[atom, a_k] right[atom, b_k] (weight[atom, p_k])

with respect to the factor named by `role`; all but the first form's `right` have channels, over which T sums too. The
factors given are the others, in the order of `EDGE_ROLES` and `ATOM_ROLES` (`weight` may be left out); `links` are
those of `links_of`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potentials.edges import Edges
from potentials.native.build import library
from potentials.native.tables import ATOM_ROLES, Coupling, atom_table, edge_table

EDGE_ROLES = ("out", "radial", "left", "right")

LIBRARY: Any = torch.library.Library("gfm_ase", "DEF")  # type: ignore[no-untyped-call]  # torch leaves it untyped
LIBRARY.define("edge_form(str role, str coupling, Tensor[] factors, Tensor[] links) -> Tensor")
LIBRARY.define("atom_form(str role, str coupling, Tensor[] factors) -> Tensor")


def links_of(edges: Edges) -> list[Tensor]:
    """Neighbour, centre, reverse, starts, pair and first of edges."""
    return [edges.neighbour, edges.centre, edges.reverse, edges.starts, edges.pair, edges.first]


def _empty_on_edges(role: str, coupling: str, factors: Sequence[Tensor], links: Sequence[Tensor]) -> Tensor:
    table = Coupling.of(coupling)
    left, right, out = table.sizes
    # from the factors, not from `starts`: one more than a number is another number to a compiler
    n_edges, n_atoms = links[0].shape[0], factors[1 if role == "out" else 0].shape[0]
    channels = factors[0].shape[-1]  # of `radial` where `out` is wanted, else of `out`
    shape = {
        "out": [n_atoms, out, channels],
        "radial": [links[5].shape[0], len(table.paths), channels],
        "left": [n_atoms, left, channels],
        "right": [n_edges, right],
    }
    return factors[0].new_empty(shape[role])


def _edge_native(role: str, coupling: str, factors: Sequence[Tensor], links: Sequence[Tensor]) -> Tensor:
    kernels = library()
    if kernels is None:
        return edge_plain(role, coupling, factors, links)
    neighbour, centre, reverse, starts, pair, first = (link.contiguous() for link in links)
    factors = [factor.contiguous() for factor in factors]
    result = _empty_on_edges(role, coupling, factors, links)
    table, values = edge_table(coupling)
    function = getattr(kernels, f"edge_{role}_{suffix(result)}")
    sizes = (starts.shape[0] - 1, first.shape[0], factors[0].shape[-1])
    function(
        *(ctypes.c_int64(size) for size in sizes),
        torch.get_num_threads(),
        *(ctypes.c_void_p(array.ctypes.data) for array in (table, values)),
        *pointers(neighbour, centre, reverse, starts, pair, first, *factors, result),
    )
    return result


def edge_plain(role: str, coupling: str, factors: Sequence[Tensor], links: Sequence[Tensor]) -> Tensor:
    """The same in terms of torch, for other devices and machines without a compiler: a part per path."""
    table, (neighbour, centre, _, _, pair, _) = Coupling.of(coupling), links
    ends = {"out": centre, "left": neighbour, "radial": pair}
    on_edges = dict(zip((name for name in EDGE_ROLES if name != role), factors, strict=True))
    on_edges = {n: factor.index_select(0, ends[n]) if n in ends else factor for n, factor in on_edges.items()}
    result = _empty_on_edges(role, coupling, factors, links).zero_()
    per_edge = result.new_zeros([len(neighbour), *result.shape[1:]])
    letters = {"out": "eok", "radial": "ek", "left": "eak", "right": "eb"}
    for number, where, values in _paths(table, result):
        _add_path(per_edge, role, on_edges, {**where, "radial": number}, (values, letters))
    return result.index_add_(0, ends[role], per_edge) if role in ends else per_edge


def _add_path(
    result: Tensor,
    role: str,
    factors: dict[str, Tensor],
    where: dict[str, Any],
    values_and_letters: tuple[Tensor, dict[str, str]],
) -> None:
    values, letters = values_and_letters
    equation = ",".join(["abo", *(letters[name] for name in factors)]) + "->" + letters[role]
    parts = [factor[:, where[name]] for name, factor in factors.items()]
    result[:, where[role]] += torch.einsum(equation, values, *parts)


def _paths(table: Coupling, like: Tensor) -> list[tuple[int, dict[str, Any], Tensor]]:
    """Of each path its number, its components of left, right and out, and the dense numbers that couple them."""
    slots = [_slices(table.left), _slices(table.right), _slices(table.out)]
    found = []
    for number, (a, b, o) in enumerate(table.paths):
        alone = Coupling((table.left[a],), (table.right[b],), (table.out[o],), ((0, 0, 0),))
        rows, values = alone.entries()
        dense = torch.zeros(alone.sizes, dtype=torch.float64)
        dense[tuple(torch.from_numpy(rows[:, :3].T.copy()))] = torch.from_numpy(values)
        where = dict(zip(("left", "right", "out"), (slots[0][a], slots[1][b], slots[2][o]), strict=True))
        found.append((number, where, dense.to(like.device, like.dtype)))
    return found


def _slices(degrees: Sequence[int]) -> list[slice]:
    end, slices = 0, []
    for degree in degrees:
        slices.append(slice(end, end + 2 * degree + 1))
        end += 2 * degree + 1
    return slices


def _empty_on_atoms(role: str, coupling: str, factors: Sequence[Tensor]) -> Tensor:
    table = Coupling.of(coupling)
    left, right, out = table.sizes
    components = {"left": left, "right": right, "out": out, "weight": len(table.paths)}[role]
    return factors[0].new_empty([factors[0].shape[0], components, factors[0].shape[2]])


def _atom_native(role: str, coupling: str, factors: Sequence[Tensor]) -> Tensor:
    kernels = library()
    if kernels is None:
        return _atom_plain(role, coupling, factors)
    factors = [factor.contiguous() for factor in factors]
    result = _empty_on_atoms(role, coupling, factors)
    table, values = atom_table(coupling, role)
    third = factors[2].data_ptr() if len(factors) > 2 else None
    getattr(kernels, f"atom_product_{suffix(result)}")(
        *(ctypes.c_int64(size) for size in (result.shape[0], result.shape[2])),
        torch.get_num_threads(),
        *(ctypes.c_void_p(array.ctypes.data) for array in (table, values)),
        *pointers(*factors[:2]),
        ctypes.c_void_p(third),
        *pointers(result),
    )
    return result


def _atom_plain(role: str, coupling: str, factors: Sequence[Tensor]) -> Tensor:
    """The same in terms of torch."""
    roles = [name for name in ATOM_ROLES if name != role]
    named = dict(zip(roles, factors, strict=False))  # without the weight where there is none
    letters = {"out": "nok", "left": "nak", "right": "nbk", "weight": "nk"}
    result = _empty_on_atoms(role, coupling, factors).zero_()
    for number, where, values in _paths(Coupling.of(coupling), result):
        _add_path(result, role, named, {**where, "weight": number}, (values, letters))
    return result


def suffix(tensor: Tensor) -> str:
    """How the kernels for a tensor's dtype are called."""
    return str(tensor.dtype).removeprefix("torch.")


def pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    """Where the numbers of contiguous tensors begin."""
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


_IMPLEMENTATIONS: tuple[tuple[str, Any, Any, Any], ...] = (
    ("edge_form", _edge_native, edge_plain, _empty_on_edges),
    ("atom_form", _atom_native, _atom_plain, _empty_on_atoms),
)
for _name, _native, _plain, _empty in _IMPLEMENTATIONS:
    LIBRARY.impl(_name, _native, "CPU")
    LIBRARY.impl(_name, _plain, "CompositeExplicitAutograd")
    torch.library.register_fake(f"gfm_ase::{_name}", _empty, lib=LIBRARY)
