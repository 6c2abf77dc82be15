"""`Ensemble`: several potentials as one, whose disagreement tells how sure they are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from potentials.answering import Answering
from potentials.derivatives import TensorInputs, prepare
from potentials.edges import largest_of_segments
from potentials.graph import AtomicGraph
from potentials.potential import Potential, PotentialConfig
from potentials.quantities import UNCERTAINTIES, VOIGT, Quantity
from potentials.radial_tables import RadialTables
from potentials.references import References
from potentials.stack import Stack, of_one

Values = dict[str, Tensor]


class Ensemble(Answering, nn.Module):
    """Mean energy, forces and stress of several potentials, and their spread.

    ``ensemble(graph)`` gives what a `Potential` gives, averaged over the members, and standard deviations (of a sample)
    among them: energy_uncertainty [G] in eV, forces_uncertainty [N] in eV/Å (root mean square of those of the three
    components), stress_uncertainty [G] in eV/Å³ (of the six), and uncertainty [G], the largest forces_uncertainty of
    the structure. Members of one architecture are computed at once (`potentials.stack`); all share one graph. There are
    no gradients to weights.

    Args:
        members: potentials of the same heads (in any order) and outputs, on one device, in one dtype; two or more.
            They are copied.
        names: of the members, for people; numbers where there are none.

    Raises:
        ValueError: fewer than two, or heads, outputs, dtypes or the sight of charges differ.
    """

    KIND = "ensemble"
    config: PotentialConfig

    def __init__(self, members: Sequence[Potential], names: Sequence[str] = ()) -> None:
        super().__init__()
        _check(members)
        self.names = tuple(names) or tuple(str(number) for number in range(len(members)))
        assert len(self.names) == len(members)
        self.heads = members[0].heads
        self.cutoff = max(member.cutoff for member in members)
        plain = [(member if member.heads == self.heads else member.part(self.heads)) for member in members]
        plain = [member.without_uncertainty() for member in plain]
        self.config = plain[0].config
        alike: dict[str, list[int]] = {}
        for number, member in enumerate(plain):
            alike.setdefault(_architecture(member), []).append(number)
        self.places = list(alike.values())
        self.parts = nn.ModuleList(
            Stack([plain[number] for number in numbers]) if len(numbers) > 1 else copy.deepcopy(plain[numbers[0]])
            for numbers in self.places
        )
        self.configs = tuple(member.config for member in plain)
        self.eval().requires_grad_(requires_grad=False)
        self.references = _shared_references(plain)

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self.configs)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the networks; energies are summed in float64 whatever it is."""
        found = self.parts[0].dtype
        assert isinstance(found, torch.dtype)
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.references.e0_DZ.device

    @property
    def uncertainties(self) -> tuple[str, ...]:
        """Names of the uncertainties that come out."""
        return tuple(UNCERTAINTIES)

    @property
    def one_cutoff(self) -> bool:
        """Whether all members see equally far."""
        return all(config.backbone.cutoff == self.cutoff for config in self.configs)

    def members(self) -> list[Potential]:
        """The potentials, in their order, sharing nothing with this one."""
        found: dict[int, Potential] = {}
        for part, numbers in zip(self.parts, self.places, strict=True):
            for row, number in enumerate(numbers):
                assert isinstance(part, Stack | Potential)
                found[number] = part.member(row) if isinstance(part, Stack) else copy.deepcopy(part)
        return [found[number] for number in range(self.size)]

    def known_uncertainties(self, head: str) -> tuple[str, ...]:
        """Names of the uncertainties that a branch knows: all; errors as `head_index`."""
        self.head_index(head)
        return self.uncertainties

    def trained_outputs(self, head: str) -> dict[str, Quantity]:
        """Outputs that a branch has learnt in all members, by name."""
        learnt = [member.trained_outputs(head) for member in self.members()]
        return {name: row for name, row in learnt[0].items() if all(name in other for other in learnt)}

    def only(self, head: str) -> Ensemble:
        """An ensemble of one branch, sharing nothing with this one."""
        return self.part((head,))

    def part(self, heads: Sequence[str]) -> Ensemble:
        """An ensemble of some of the branches, sharing nothing with this one."""
        return Ensemble([member.part(heads) for member in self.members()], self.names)

    def in_float64(self) -> Ensemble:
        """A copy with the networks in float64, on the CPU."""
        return Ensemble([member.in_float64() for member in self.members()], self.names)

    def tabulated(self) -> Ensemble | None:
        """A copy whose radial functions are tables, as `Potential.tabulated`; none where no member has any."""
        members = self.members()
        tables = [member.tabulated() for member in members]
        knots = [_knots(one) for one in tables if one is not None]
        if not knots:
            return None
        if len({count for counts in knots for count in counts}) > 1:  # tables of one size can be stacked
            most = max(max(counts) for counts in knots)
            tables = [member.tabulated(most) for member in members]
        return Ensemble([table or member for table, member in zip(tables, members, strict=True)], self.names)

    def forward(self, graph: AtomicGraph | TensorInputs, *, derivatives: bool = True) -> Values:
        """Mean and spread of all quantities of all graphs of the batch.

        Tensors instead of a graph are for compilers, and members are computed one after another. Without `derivatives`
        there are no forces, virial and stress, and no pass back to compute them.
        """
        if isinstance(graph, AtomicGraph):
            graph_index, n_graphs = graph.graph_index, graph.n_graphs
        else:
            graph_index, n_graphs = graph.graph_index, graph.cell.shape[0]
        return _mean_and_spread(self.of_members(graph, derivatives=derivatives), graph_index, n_graphs)

    def of_members(self, graph: AtomicGraph | TensorInputs, *, derivatives: bool = True) -> Values:
        """[M, ...] what each member gives, in their order; arguments as `forward`.

        Raises:
            ValueError: tensors instead of a graph, and members of different cutoffs.
        """
        cutoffs = {config.backbone.cutoff for config in self.configs}
        traced = not isinstance(graph, AtomicGraph)
        if isinstance(graph, AtomicGraph):
            # what members of one cutoff see is made ready once
            near = {cutoff: graph if cutoff == self.cutoff else within(graph, cutoff) for cutoff in cutoffs}
            inputs = {cutoff: prepare(one, self.dtype) for cutoff, one in near.items()}
        elif self.one_cutoff:
            inputs = {self.cutoff: graph}
        else:
            raise ValueError(SEVERAL_CUTOFFS)
        found: list[Values] = []
        for part in self.parts:
            assert isinstance(part, Potential | Stack)
            own = inputs[part.config.backbone.cutoff]
            if isinstance(part, Potential):
                single = of_one(part.of_edges, own, derivatives=derivatives)
                found.append({name: value[None] for name, value in single.items()})
            else:
                found.append((part.one_by_one if traced else part)(own, derivatives=derivatives))
        if len(found) == 1:
            return found[0]
        order = [number for numbers in self.places for number in numbers]
        rows = [order.index(number) for number in range(self.size)]
        return {name: torch.cat([one[name] for one in found])[rows] for name in found[0]}


SEVERAL_CUTOFFS = (
    "members of this ensemble have different cutoffs and cannot be compiled as one: use compile=False, or members of"
    " one cutoff"
)


AnyPotential = Potential | Ensemble


def within(graph: AtomicGraph, cutoff: float) -> AtomicGraph:
    """The graph with the edges that are shorter, Å."""
    neighbour, centre = graph.edge_index
    own_E = graph.graph_index[centre]
    shift_E3 = (graph.edge_shift[:, None] @ graph.cell[own_E])[:, 0]
    vectors_E3 = graph.positions[neighbour] + shift_E3 - graph.positions[centre]
    near_E = vectors_E3.norm(dim=1) < cutoff
    near_E &= near_E[graph.edge_reverse]  # both or none, whatever rounding does
    number_E = near_E.cumsum(0) - 1
    return replace(
        graph,
        edge_index=graph.edge_index[:, near_E],
        edge_shift=graph.edge_shift[near_E],
        edge_reverse=number_E[graph.edge_reverse[near_E]],
    )


def _mean_and_spread(of_members: Values, graph_index: Tensor, n_graphs: int) -> Values:
    results = {name: value.mean(0) for name, value in of_members.items()}
    results["energy_uncertainty"] = of_members["energy"].std(0)
    if "forces" not in of_members:
        return results
    forces_N = of_members["forces"].var(0).mean(1).sqrt()
    rows, columns = zip(*VOIGT, strict=True)
    return {
        **results,
        "forces_uncertainty": forces_N,
        "uncertainty": largest_of_segments(forces_N, graph_index, n_graphs),
        "stress_uncertainty": of_members["stress"].var(0)[:, rows, columns].mean(1).sqrt(),
    }


def _check(members: Sequence[Potential]) -> None:
    if len(members) < 2:
        raise ValueError(f"an ensemble has two members or more; {len(members)} given")
    first = members[0]
    for number, member in enumerate(members):
        for what, one, other in (
            ("heads", sorted(first.heads), sorted(member.heads)),
            ("outputs", first.config.outputs, member.config.outputs),
            ("charge_and_spin", first.config.charge_and_spin, member.config.charge_and_spin),
            ("dtype", first.dtype, member.dtype),
        ):
            if one != other:
                raise ValueError(
                    f"members of an ensemble must agree in their {what}: the first has {one}, member {number} {other}"
                )


def _architecture(member: Potential) -> str:
    """The same for members whose tensors can be stacked."""
    shapes = {name: tuple(value.shape) for name, value in [*member.named_parameters(), *member.named_buffers()]}
    return f"{member.config.model_dump_json()} {shapes}"


def _shared_references(members: Sequence[Potential]) -> References:
    """Means of the members' references; an element is known where all know it."""
    shared = References(members[0].heads).to(members[0].device)
    for name, buffer in shared.named_buffers():
        of_all = torch.stack([dict(member.references.named_buffers())[name] for member in members])
        buffer.copy_(of_all.all(0) if of_all.dtype == torch.bool else of_all.mean(0))
    return shared


def _knots(potential: Potential) -> list[int]:
    return [len(part.table) for part in potential.modules() if isinstance(part, RadialTables)]
