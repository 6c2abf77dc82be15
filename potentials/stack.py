"""Potentials of one architecture as one: their weights lie one upon another, and all are computed at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from potentials.derivatives import (
    More,
    OfEdges,
    TensorInputs,
    assemble,
    collect,
    gradient_of_edges,
    without_derivatives,
)
from potentials.edges import EdgeGeometry, Edges, sum_segments
from potentials.exact import ExactBuffers
from potentials.potential import Potential

Values = dict[str, Tensor]


class _Tensors(nn.Module):
    """Tensors in an order."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for number, tensor in enumerate(tensors):
            self.register_buffer(str(number), tensor)

    def all(self) -> list[Tensor]:
        """In their order."""
        return [tensor for tensor in self._buffers.values() if tensor is not None]


class _ExactTensors(_Tensors, ExactBuffers):
    """Tensors that keep their precision."""


class _OfEdges(nn.Module):
    """`Potential.of_edges` as a module, which can be called with the weights of any member."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, inputs: TensorInputs, distance_E: Tensor, direction_E3: Tensor) -> tuple[Tensor, Values]:
        """Energies of atoms [N] and the outputs."""
        energies_N, more = self.potential.of_edges(inputs, EdgeGeometry(distance_E, direction_E3), inputs.edges)
        return energies_N, more(None)


class Stack(nn.Module):
    """M potentials of one architecture, computed by `torch.func.vmap` over their stacked weights.

    What is the same in all members, constants, or the backbone of branches, is kept and computed once.

    Args:
        members: of the same configuration, dtype and device; two or more.
    """

    def __init__(self, members: Sequence[Potential]) -> None:
        super().__init__()
        first = members[0]
        assert len(members) > 1
        assert all(member.config == first.config for member in members)
        self.size, self.config = len(members), first.config
        # not a submodule: it has no weights of its own
        self._template = (_OfEdges(copy.deepcopy(first).to("meta").eval().requires_grad_(requires_grad=False)),)
        whole = _OfEdges(first)
        own = [dict(_named(_OfEdges(member))) for member in members]
        self._names: dict[str, list[str]] = {"stacked": [], "stacked_exact": [], "shared": [], "shared_exact": []}
        found: dict[str, list[Tensor]] = {kind: [] for kind in self._names}
        for name, tensor in own[0].items():
            of_all = [tensors[name].detach() for tensors in own]
            # one tensor is stacked in any case: members that are all alike are still so many
            same = not name.endswith("references.scale_D") and all(torch.equal(tensor, other) for other in of_all[1:])
            exact = isinstance(whole.get_submodule(name.rpartition(".")[0]), ExactBuffers)
            kind = ("shared" if same else "stacked") + ("_exact" if exact else "")
            self._names[kind].append(name)
            found[kind].append(of_all[0].clone() if same else torch.stack(of_all))
        self.parts = nn.ModuleDict(
            {kind: (_ExactTensors if "exact" in kind else _Tensors)(tensors) for kind, tensors in found.items()}
        )
        stacked = (*self._names["stacked"], *self._names["stacked_exact"])
        self.one_backbone = not any(name.startswith(("potential.backbone.", "potential.context.")) for name in stacked)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the networks."""
        # weights alone are no exact numbers
        return next(tensor.dtype for kind in ("stacked", "shared") for tensor in self.parts[kind].buffers())

    def member(self, row: int) -> Potential:
        """One of the potentials, sharing nothing with the others."""
        state = {**self._tensors("shared"), **{name: value[row] for name, value in self._tensors("stacked").items()}}
        found = copy.deepcopy(self._template[0])
        for name, tensor in state.items():
            module_name, _, last = name.rpartition(".")
            module = found.get_submodule(module_name)
            if last in module._parameters:
                module._parameters[last] = nn.Parameter(tensor.clone(), requires_grad=False)
            else:
                module._buffers[last] = tensor.clone()
        return found.potential.eval()

    def _tensors(self, kind: str) -> Values:
        found: Values = {}
        for part in (kind, f"{kind}_exact"):
            tensors = self.parts[part]
            assert isinstance(tensors, _Tensors)
            found |= dict(zip(self._names[part], tensors.all(), strict=True))
        return found

    def forward(self, inputs: TensorInputs, *, derivatives: bool = True) -> Values:
        """Everything that each member gives, [M, ...]; without gradients."""
        with torch.set_grad_enabled(derivatives):
            geometry = self._geometry(inputs, derivatives=derivatives)
            energies_MN, more = self._of_edges(inputs, *geometry)
            gradients = self._gradients(energies_MN, geometry) if derivatives else None
        results = {name: value.detach() for name, value in more.items()}
        if gradients is None:
            return {**self._energies(inputs, energies_MN), **results}
        gradient_ME3 = gradient_of_edges(inputs, *gradients)
        collected: Values = vmap(lambda e, g: collect(inputs, e, g))(energies_MN.detach(), gradient_ME3)
        return {**collected, **results}

    def one_by_one(self, inputs: TensorInputs, *, derivatives: bool = True) -> Values:
        """As `forward`, one member after another: what is compiled, for `vmap` ties its programs to sizes.

        What members share is computed for each.
        """
        found = [of_one(self._member_of_edges(row), inputs, derivatives=derivatives) for row in range(self.size)]
        return {name: torch.stack([one[name] for one in found]) for name in found[0]}

    def _member_of_edges(self, row: int) -> OfEdges:
        own = {name: value[row] for name, value in self._tensors("stacked").items()}
        weights = {**self._tensors("shared"), **own}

        def of_edges(inputs: TensorInputs, geometry: EdgeGeometry, _: Edges) -> tuple[Tensor, More]:
            energies_N, values = functional_call(
                self._template[0], weights, (inputs, geometry.distance, geometry.direction)
            )
            return energies_N, lambda _: values

        return of_edges

    @staticmethod
    def _energies(inputs: TensorInputs, energies_MN: Tensor) -> Values:
        energy_MG: Tensor = vmap(lambda e: sum_segments(e, inputs.graph_index, inputs.atom_starts))(energies_MN)
        return {"energy": energy_MG, "energies": energies_MN}

    def _geometry(self, inputs: TensorInputs, *, derivatives: bool) -> tuple[Tensor, Tensor]:
        """Distances and directions that energies can be derived to: for each member, for each has its gradient."""
        distance, direction = inputs.distance.detach(), inputs.direction.detach()
        if not self.one_backbone:
            distance, direction = (one.expand(self.size, *one.shape).contiguous() for one in (distance, direction))
        return distance.requires_grad_(derivatives), direction.requires_grad_(derivatives)

    def _of_edges(self, inputs: TensorInputs, distance: Tensor, direction: Tensor) -> tuple[Tensor, Values]:
        shared, stacked = self._tensors("shared"), self._tensors("stacked")

        def member(own: Values, distance_E: Tensor, direction_E3: Tensor) -> tuple[Tensor, Values]:
            energies: tuple[Tensor, Values] = functional_call(
                self._template[0], {**shared, **own}, (inputs, distance_E, direction_E3)
            )
            return energies

        place = None if self.one_backbone else 0
        found: tuple[Tensor, Values] = vmap(member, in_dims=(0, place, place))(stacked, distance, direction)
        return found

    def _gradients(self, energies_MN: Tensor, geometry: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """[M, E] and [M, E, 3]."""
        if not self.one_backbone:
            return _derived(energies_MN.sum(), geometry)
        # one pass forward for all of them, and one back for each
        found = [_derived(energies_N.sum(), geometry, more=True) for energies_N in energies_MN]
        along, across = zip(*found, strict=True)
        return torch.stack(along), torch.stack(across)


def of_one(of_edges: OfEdges, inputs: TensorInputs, *, derivatives: bool) -> Values:
    """What one potential gives, without gradients to weights."""
    with torch.no_grad():
        if derivatives:
            return assemble(of_edges, inputs, training=False)
        return without_derivatives(of_edges, inputs)


def _derived(total: Tensor, geometry: tuple[Tensor, Tensor], *, more: bool = False) -> tuple[Tensor, Tensor]:
    along, across = torch.autograd.grad(total, geometry, retain_graph=more, materialize_grads=True)
    return along, across


def _named(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]
