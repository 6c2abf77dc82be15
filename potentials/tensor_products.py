"""Sums of tensor products over edges and over components, differentiable to any order.

Both are derivatives of one number that is linear in each factor (see `potentials.native.operators`). The derivative of
such a derivative is another one, of the same form: so one autograd function and one kernel a factor do for energies,
forces, and the gradients of a loss of forces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from potentials.edges import Edges
from potentials.native.operators import EDGE_ROLES, links_of
from potentials.native.tables import ATOM_ROLES, Coupling

__all__ = ["Coupling", "edge_product", "product"]


@dataclass(frozen=True)
class _Form:
    """A form that is linear in each of its factors, which are those of `roles`; `edges` for sums over edges."""

    coupling: str
    roles: tuple[str, ...]
    edges: Edges | None = None

    def derivative(self, role: str, factors: Mapping[str, Tensor]) -> Tensor:
        """With respect to one factor, given the others."""
        others = [factors[name] for name in self.roles if name != role]
        if self.edges is None:
            result: Tensor = torch.ops.gfm_ase.atom_form(role, self.coupling, others)
        else:
            edges = self.edges
            result = torch.ops.gfm_ase.edge_form(role, self.coupling, others, links_of(edges))
        return result


class _Derivative(torch.autograd.Function):
    @staticmethod
    def forward(form: _Form, role: str, *factors: Tensor) -> Tensor:
        return form.derivative(role, dict(zip(_others(form, role), factors, strict=True)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        ctx.form, ctx.role = inputs[:2]
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        form, role = ctx.form, ctx.role
        names = _others(form, role)
        factors = dict(zip(names, ctx.saved_tensors, strict=True)) | {role: grads[0]}
        needed = ctx.needs_input_grad[2:]
        found = [
            _apply(form, name, {key: value for key, value in factors.items() if key != name}) if wanted else None
            for name, wanted in zip(names, needed, strict=True)
        ]
        return (None, None, *found)

    @staticmethod
    def vmap(info: Any, in_dims: Any, form: _Form, role: str, *factors: Tensor) -> tuple[Tensor, int]:
        """Products on atoms at once, as if there were so many more atoms; on edges one member after another."""
        members, places = info.batch_size, in_dims[2:]
        if form.edges is None:
            pairs = zip(factors, places, strict=True)
            flat = [_with_members(factor, place, members).flatten(0, 1) for factor, place in pairs]
            result = _apply(form, role, dict(zip(_others(form, role), flat, strict=True)))
            return result.view(members, -1, *result.shape[1:]), 0
        found = []
        for member in range(members):
            own = [f if place is None else f.select(place, member) for f, place in zip(factors, places, strict=True)]
            found.append(_apply(form, role, dict(zip(_others(form, role), own, strict=True))))
        return torch.stack(found), 0


def _with_members(factor: Tensor, place: int | None, members: int) -> Tensor:
    return factor.expand(members, *factor.shape) if place is None else factor.movedim(place, 0)


def _others(form: _Form, role: str) -> list[str]:
    return [name for name in form.roles if name != role]


def _apply(form: _Form, role: str, factors: Mapping[str, Tensor]) -> Tensor:
    # here and not in each of the kernels that read a factor: its derivatives do so again
    ordered = [factors[name].contiguous() for name in _others(form, role)]
    result: Tensor = _Derivative.apply(form, role, *ordered)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


def edge_product(coupling: Coupling, radial_QPC: Tensor, left_NLC: Tensor, right_EM: Tensor, edges: Edges) -> Tensor:
    """[N, O, C]: for each atom the sum over its edges of (features of the neighbour) ⊗ (harmonics of the edge).

    Args:
        coupling: which components make which.
        radial_QPC: [Q, P, C] factor of each path and channel, for each pair: an edge and its reverse have the same.
        left_NLC: [N, L, C] features of atoms, gathered at the neighbours.
        right_EM: [E, M] harmonics of the directions, the same for all channels.
        edges: who is connected to whom.
    """
    factors = {"radial": radial_QPC, "left": left_NLC, "right": right_EM}
    return _apply(_Form(coupling.key, EDGE_ROLES, edges), "out", factors)


def product(coupling: Coupling, left_NLC: Tensor, right_NMC: Tensor, weight_NPC: Tensor | None = None) -> Tensor:
    """[N, O, C]: products of components on each atom, channel by channel; paths add up in the slots they end in.

    `weight_NPC` [N, P, C], where it is given, is a factor of each path.
    """
    factors = {"left": left_NLC, "right": right_NMC}
    if weight_NPC is None:
        return _apply(_Form(coupling.key, ATOM_ROLES[:3]), "out", factors)
    return _apply(_Form(coupling.key, ATOM_ROLES), "out", {**factors, "weight": weight_NPC})
