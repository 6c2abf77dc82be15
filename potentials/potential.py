"""`Potential`: backbone, branches, references and derivatives in one module."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from potentials.backbones import BACKBONES, AnyBackboneConfig
from potentials.backbones.base import AtomInputs
from potentials.backbones.painn import PaiNNConfig
from potentials.derivatives import TensorInputs, assemble, prepare
from potentials.edges import EdgeGeometry, Edges
from potentials.graph import AtomicGraph
from potentials.heads import SiteEnergyHeads, StructureContext
from potentials.references import References

HEAD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class PotentialConfig(BaseModel):
    """What a potential is made of.

    Attributes:
        backbone: architecture and its settings; `name` chooses.
        heads: names of the data sets (levels of theory), one branch each.
        head_width: hidden features of each branch.
        charge_and_spin: let total charge and spin of the structure act on its atoms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: AnyBackboneConfig = PaiNNConfig()
    heads: Annotated[tuple[str, ...], Field(min_length=1)]
    head_width: Annotated[int, Field(gt=0)] = 64
    charge_and_spin: bool = False

    @field_validator("heads")
    @classmethod
    def _distinct_names(cls, heads: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({head for head in heads if heads.count(head) > 1})
        if twice:
            raise ValueError(f"two heads are called {twice[0]!r}; names must differ")
        for head in heads:
            if not HEAD_NAME.fullmatch(head):
                raise ValueError(f"head {head!r}: a name is letters, digits, '_' and '-', a letter or digit first")
        return heads


class Potential(nn.Module):
    """Energy, energies per atom, forces and stress of atomic graphs.

    ``potential(graph)`` gives energy [G] and energies [N] in eV, forces [N, 3] in eV/Å, virial [G, 3, 3] in eV (dE/dε,
    the sign of ASE) and stress
    [G, 3, 3] in eV/Å³ where the cell has a volume (elsewhere NaN), all in float64.

    Weights are initialised under `seed`, and the global random state is left alone.
    """

    def __init__(self, config: PotentialConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.heads = config.heads
        self.cutoff = config.backbone.cutoff
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _, backbone = BACKBONES[config.backbone.name]
            self.backbone = backbone(config.backbone)
            self.branches = SiteEnergyHeads(config.heads, self.backbone.width, config.head_width)
            self.context = StructureContext(self.backbone.width) if config.charge_and_spin else None
        self.references = References(config.heads)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network; energies are summed in float64 whatever it is."""
        return next(self.backbone.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    def head_index(self, head: str) -> int:
        """Row of a branch.

        Raises:
            ValueError: there is no such branch; the message names those there are.
        """
        if head not in self.heads:
            raise ValueError(f"unknown head {head!r}; this potential has {', '.join(self.heads)}")
        return self.heads.index(head)

    def only(self, head: str) -> Potential:
        """A potential of one branch, sharing nothing with this one.

        Raises:
            ValueError: there is no such branch.
        """
        row = self.head_index(head)
        single = Potential(self.config.model_copy(update={"heads": (head,)})).to(self.device, self.dtype)
        state = {}
        for name, value in self.state_dict().items():
            if name.startswith("references."):
                state[name] = value[row : row + 1]
            elif not name.startswith("branches.") or name.startswith(f"branches.branches.{head}."):
                state[name] = value
        single.load_state_dict(state, strict=True)
        return single.train(self.training)

    def tabulated(self, numbers: Sequence[int]) -> Potential | None:
        """A copy for atoms of some elements whose radial functions are tables; none where the backbone has none.

        It gives energies, forces and stress, but no gradients to weights. Errors as `Backbone.tabulated`.
        """
        backbone = self.backbone.tabulated(numbers)
        if backbone is None:
            return None
        tables = copy.deepcopy(self)
        tables.backbone = backbone
        return tables

    def site_energies(self, inputs: TensorInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """[N] energies of atoms in eV, float64, as a function of the edges' distances and directions."""
        context_NF = None
        if self.context is not None:
            context_NF = self.context(inputs.charge, inputs.spin, inputs.graph_index)
        dataset_N = inputs.dataset[inputs.graph_index]
        atoms = AtomInputs(inputs.numbers, inputs.graph_index, inputs.atom_starts, context_NF)
        features_NF = self.backbone(atoms, geometry, edges)
        output_N = self.branches(features_NF, dataset_N)
        energies_N: Tensor = self.references(output_N, inputs.numbers, dataset_N)
        return energies_N

    def forward(self, graph: AtomicGraph | TensorInputs) -> dict[str, Tensor]:
        """All quantities of all graphs of the batch; differentiable to the weights while gradients are on."""
        inputs = prepare(graph, self.dtype) if isinstance(graph, AtomicGraph) else graph
        return assemble(self.site_energies, inputs, training=torch.is_grad_enabled())
