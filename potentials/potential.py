"""`Potential`: backbone, branches, references and derivatives in one module."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from potentials.answering import Answering
from potentials.backbones import BACKBONES, AnyBackboneConfig
from potentials.backbones.base import AtomInputs
from potentials.backbones.painn import PaiNNConfig
from potentials.derivatives import More, TensorInputs, assemble, prepare, without_derivatives
from potentials.edges import EdgeGeometry, Edges
from potentials.graph import AtomicGraph
from potentials.heads import SiteEnergyHeads, StructureContext
from potentials.last_layer import GIVEN, LastLayer
from potentials.output_config import OutputConfig, distinct
from potentials.outputs import Outputs
from potentials.quantities import Quantity
from potentials.radial_tables import FEWEST_KNOTS
from potentials.references import References
from potentials.repulsion import Repulsion

HEAD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class PotentialConfig(BaseModel):
    """What a potential is made of.

    Attributes:
        backbone: architecture and its settings; `name` chooses.
        heads: names of the data sets (levels of theory), one branch each.
        head_width: hidden features of each branch.
        charge_and_spin: let total charge and spin of the structure act on its atoms.
        repulsion: add the screened repulsion of nuclei to the energy (`potentials.repulsion`).
        outputs: what it gives beyond energy, forces and stress.
        last_layer: give uncertainties of energy and forces by its last layer (`potentials.last_layer`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: AnyBackboneConfig = PaiNNConfig()
    heads: Annotated[tuple[str, ...], Field(min_length=1)]
    head_width: Annotated[int, Field(gt=0)] = 64
    charge_and_spin: bool = False
    repulsion: bool = False
    outputs: tuple[OutputConfig, ...] = ()
    last_layer: bool = False

    @field_validator("outputs")
    @classmethod
    def _distinct_outputs(cls, outputs: tuple[OutputConfig, ...]) -> tuple[OutputConfig, ...]:
        return distinct(outputs)

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


class Potential(Answering, nn.Module):
    """Energy, energies per atom, forces and stress of atomic graphs.

    ``potential(graph)`` gives energy [G] and energies [N] in eV, forces [N, 3] in eV/Å, virial [G, 3, 3] in eV (dE/dε,
    the sign of ASE) and stress [G, 3, 3] in eV/Å³ where the cell has a volume (elsewhere NaN), and each of
    ``config.outputs`` by its name, all in float64; with ``config.last_layer`` the `UNCERTAINTIES` too.

    Weights are initialised under `seed`, and the global random state is left alone.
    """

    KIND = "potential"
    config: PotentialConfig

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
            # last: energies of a seed are the same with and without
            self.outputs = _outputs(config, self.backbone.width)
        self.references = References(config.heads)
        self.repulsion = Repulsion(self.cutoff) if config.repulsion else None
        self.last_layer = LastLayer(config.heads, config.head_width) if config.last_layer else None

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network; energies are summed in float64 whatever it is."""
        return next(self.backbone.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    @property
    def uncertainties(self) -> tuple[str, ...]:
        """Names of the uncertainties that come out."""
        return () if self.last_layer is None else GIVEN

    def known_uncertainties(self, head: str) -> tuple[str, ...]:
        """Names of the uncertainties that a branch knows.

        Raises:
            ValueError: there is no such branch.
        """
        row = self.head_index(head)
        return () if self.last_layer is None else self.last_layer.known(row)

    def trained_outputs(self, head: str) -> dict[str, Quantity]:
        """Outputs that a branch has learnt, by name; others are there, but say nothing.

        Raises:
            ValueError: there is no such branch.
        """
        row = self.head_index(head)
        if self.outputs is None:
            return {}
        return {
            output.name: output.quantity
            for output in self.config.outputs
            if bool(self.outputs.output(output.name).trained_D[row])
        }

    def only(self, head: str) -> Potential:
        """A potential of one branch, sharing nothing with this one.

        Raises:
            ValueError: there is no such branch.
        """
        return self.part((head,))

    def part(self, heads: Sequence[str]) -> Potential:
        """A potential of some of the branches, sharing nothing with this one.

        Raises:
            ValueError: there is no such branch.
        """
        rows = [self.head_index(head) for head in heads]
        own = self.state_dict()
        per_head = {
            name
            for name in own
            if name.startswith(("references.", "outputs.", "last_layer.")) and name.endswith(("_D", "_DZ", "_DHH"))
        }
        state = {name: value[rows] if name in per_head else value for name, value in own.items()}
        return self._with(state, heads=tuple(heads))

    def renamed(self, heads: Sequence[str]) -> Potential:
        """A potential of the same branches under other names, in their order, sharing nothing with this one."""
        assert len(heads) == len(self.heads)
        # names of tensors have those of branches between dots, after the word
        names = {f".branches.{old}.": f".branches.{new}." for old, new in zip(self.heads, heads, strict=True)}
        state = {}
        for name, value in self.state_dict().items():
            old = next((part for part in names if part in f".{name}"), None)
            state[name if old is None else f".{name}".replace(old, names[old])[1:]] = value
        return self._with(state, heads=tuple(heads))

    def _with(self, state: dict[str, Tensor], **changes: Any) -> Potential:
        """A potential of another configuration that has of these tensors those it knows."""
        other = Potential(self.config.model_copy(update=changes)).to(self.device, self.dtype)
        other.load_state_dict({name: state[name] for name in other.state_dict()}, strict=True)
        return other.train(self.training)

    def tabulated(self, fewest: int = FEWEST_KNOTS) -> Potential | None:
        """A copy whose radial functions are tables of so many knots or more; none where the backbone has none.

        It gives energies, forces and stress, but no gradients to weights. Errors as `Backbone.tabulated`.
        """
        backbone = self.backbone.tabulated(fewest)
        if backbone is None:
            return None
        tables = copy.deepcopy(self)
        tables.backbone = backbone
        return tables

    def without_uncertainty(self) -> Potential:
        """The same without what its last layer tells of its uncertainty; itself where it tells nothing."""
        return self if self.last_layer is None else self._with(self.state_dict(), last_layer=False)

    def in_float64(self) -> Potential:
        """A copy with the network in float64, on the CPU."""
        copied = Potential(self.config).double()  # before the weights come: they may be float64 themselves
        copied.load_state_dict({name: value.cpu() for name, value in self.state_dict().items()}, strict=True)
        return copied

    def features(self, inputs: TensorInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """[N, width] invariant features of atoms."""
        context_NF = None
        if self.context is not None:
            context_NF = self.context(inputs.charge, inputs.spin, inputs.graph_index)
        atoms = AtomInputs(inputs.numbers, inputs.graph_index, inputs.atom_starts, context_NF)
        features_NF: Tensor = self.backbone(atoms, geometry, edges)
        return features_NF

    def features_of(self, graph: AtomicGraph) -> tuple[Tensor, TensorInputs]:
        """[N, width] invariant features of the atoms of a graph, and what they were made from."""
        inputs = prepare(graph, self.dtype)
        return self.features(inputs, EdgeGeometry(inputs.distance, inputs.direction), inputs.edges), inputs

    def of_edges(self, inputs: TensorInputs, geometry: EdgeGeometry, edges: Edges) -> tuple[Tensor, More]:
        """[N] energies of atoms in eV, float64, as a function of distances and directions of edges; and the outputs."""
        features_NF = self.features(inputs, geometry, edges)
        dataset_N = inputs.dataset[inputs.graph_index]
        energies_N = self.references(self.branches(features_NF, dataset_N), inputs.numbers, dataset_N)
        if self.repulsion is not None:
            energies_N = energies_N + self.repulsion(inputs.numbers, geometry, edges)

        def more(forces_N3: Tensor | None) -> dict[str, Tensor]:
            found = {} if self.outputs is None else self.outputs(features_NF, inputs, geometry, edges)
            if self.last_layer is not None:
                found |= self.last_layer(self.branches.hidden(features_NF, dataset_N), forces_N3, inputs)
            return found

        return energies_N, more

    def forward(self, graph: AtomicGraph | TensorInputs, *, derivatives: bool = True) -> dict[str, Tensor]:
        """All quantities of all graphs of the batch; differentiable to the weights while gradients are on.

        Without `derivatives` there are no forces, virial and stress, and no pass back to compute them; nor are there
        uncertainties of forces.
        """
        inputs = prepare(graph, self.dtype) if isinstance(graph, AtomicGraph) else graph
        if not derivatives:
            return without_derivatives(self.of_edges, inputs)
        return assemble(self.of_edges, inputs, training=torch.is_grad_enabled())


def _outputs(config: PotentialConfig, width: int) -> Outputs | None:
    if not config.outputs:
        return None
    return Outputs(config.outputs, config.heads, width, config.backbone.cutoff, config.backbone.radial_size)
