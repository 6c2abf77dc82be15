"""What computes energies, forces and stresses of a fleet: a potential, all at once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from md_workflows.batched.fleet import Fleet
from md_workflows.batched.parts import part_of
from md_workflows.batched.sizing import MemoryMeter, Sizer, free_cached, is_out_of_memory
from md_workflows.batched.verlet import BatchedVerlet, StructuresFailedError
from md_workflows.structures import one_line
from md_workflows.uncertainty import UNCERTAINTIES, Level
from potentials.graph import AtomicGraph
from potentials.structures import check_elements

Evaluate = Callable[[AtomicGraph], dict[str, Tensor]]

ATOM_COST = 10.0
"""What an atom costs without its edges, in edges."""


@dataclass(frozen=True)
class Computed:
    """What a model says of a fleet.

    energy [G] eV · forces [N, 3] eV/Å, without constraints · stress [G, 3, 3] eV/Å³, ASE's sign, NaN where there is
    none; None from a model that has no stress · outputs: by name, whatever else the model tells: [G] of each structure
    or [N] of each atom, as its `outputs` say.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor | None
    outputs: dict[str, Tensor] = dataclasses.field(default_factory=dict)


class Model(Protocol):
    """Energies, forces and stresses of many structures."""

    @property
    def identity(self) -> str:
        """Text that changes whenever the energies would."""

    @property
    def device(self) -> torch.device:
        """Where fleets have to be."""

    @property
    def has_stress(self) -> bool:
        """Whether it gives stresses."""

    @property
    def outputs(self) -> Mapping[str, Level]:
        """What else it tells, by name: a number for each structure ("graph") or for each atom ("atom")."""

    @property
    def remembers(self) -> bool:
        """Whether results may depend, if only in their last bits, on earlier ones, until it is told to forget."""

    @property
    def room(self) -> float:
        """The cost of structures that it pays to advance at once; below that of one, it is one."""

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where it cannot compute this structure."""

    def cost(self, atoms: Atoms) -> float:
        """What a structure asks of time and memory, in units of an edge."""

    def compute(self, fleet: Fleet) -> Computed:
        """Everything, of all structures.

        Raises:
            StructuresFailedError: of some it cannot be computed; the rest can, without them.
        """

    def forget(self) -> None:
        """Drop what is kept from step to step: what follows does not depend on what came before."""


class GraphModel:
    """A potential: one call for all structures.

    Args:
        evaluate: from graphs to energy, forces and stress.
        cutoff: Å.
        device: where `evaluate` wants its graphs.
        identity: text that changes whenever the energies would.
        check: raises ValueError for a structure that the potential does not know.
        skin: Å, of the neighbour lists; results do not depend on it.
        outputs: what `evaluate` tells beside, and of what: a number for each "graph" or for each "atom". Of names alone
            those that are known as such in `UNCERTAINTIES` are of atoms, all others of structures.
    """

    has_stress = True
    remembers = False

    def __init__(
        self,
        evaluate: Evaluate,
        cutoff: float,
        *,
        device: torch.device,
        identity: str,
        check: Callable[[Atoms], None],
        skin: float = 0.5,
        outputs: Mapping[str, Level] | Sequence[str] = (),
    ) -> None:
        self._evaluate = evaluate
        self.outputs = levels(outputs)
        self._check = check
        self.device = device
        self.identity = identity
        self.lists = BatchedVerlet(cutoff, skin)
        self.sizer = Sizer(device)
        self.seconds = 0.0  # spent in the potential

    @property
    def room(self) -> float:
        """The cost of what goes into one call."""
        return self.sizer.budget

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where the potential does not know this structure."""
        check_elements(atoms)
        self._check(atoms)

    def cost(self, atoms: Atoms) -> float:
        """Its atoms and the edges they will have, guessed from the density."""
        n = len(atoms)
        volume = float(atoms.cell.volume) if atoms.pbc.any() else 0.0
        sphere = 4 / 3 * np.pi * self.lists.cutoff**3
        near = n * sphere / volume if volume > 0 else 0.0
        return n * (ATOM_COST + (near if atoms.pbc.all() else max(near, min(n - 1.0, sphere / 12))))

    def compute(self, fleet: Fleet) -> Computed:
        """Energy, forces and stress of all structures: in one call, or in as few as fit into memory."""
        graph = self._graph(fleet)
        costs, guessed = self._costs(graph, fleet)
        parts: list[dict[str, Tensor]] = []
        first = 0
        while first < graph.n_graphs:
            last = self._last(costs, first)
            cost = float(costs[first:last].sum())
            try:
                loaded = self.sizer.loaded(guessed[first:last].tolist())
                parts.append(self._call(part_of(graph, first, last), cost, loaded))
            except Exception as error:
                if not is_out_of_memory(error) or last - first == 1:
                    raise self._blamed(graph, range(first, last), error) from error
                self.sizer.halve(cost)
                free_cached(self.device)
                continue
            first = last
        energy, forces, stress = (torch.cat([part[name] for part in parts]) for name in ("energy", "forces", "stress"))
        beside = {name: torch.cat([part[name].reshape(-1) for part in parts]) for name in self.outputs}
        return Computed(energy, forces, stress, beside)

    def _call(self, graph: AtomicGraph, cost: float, loaded: float) -> dict[str, Tensor]:
        with MemoryMeter(self.device, idle=not self.sizer.wants_memory(cost)) as memory:
            start = time.perf_counter()
            results = self._evaluate(graph)
            self._wait()
            seconds = time.perf_counter() - start
        self.seconds += seconds
        self.sizer.note(cost, seconds, memory.used, loaded)
        return results

    def _blamed(self, graph: AtomicGraph, rows: range, error: Exception) -> StructuresFailedError:
        """Which structures a call fails for: each is tried by itself."""
        if len(rows) == 1:
            return StructuresFailedError({rows.start: one_line(error)})
        reasons = {}
        for row in rows:
            try:
                self._evaluate(part_of(graph, row, row + 1))
            except Exception as own:  # whatever it raises is about this structure
                reasons[row] = one_line(own)
        if not reasons:  # each alone is well: it is not about any of them
            raise error
        return StructuresFailedError(reasons)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _graph(self, fleet: Fleet) -> AtomicGraph:
        pairs = self.lists.update(fleet)
        return AtomicGraph(
            positions=fleet.atom["positions"],
            numbers=fleet.atom["numbers"],
            graph_index=fleet.atom["owner"],
            cell=fleet.graph["cell"],
            pbc=fleet.graph["pbc"],
            edge_index=pairs.edge_index,
            edge_shift=pairs.shift,
            edge_reverse=pairs.reverse,
            charge=fleet.graph["charge"],
            spin=fleet.graph["spin"],
            dataset=torch.zeros_like(fleet.graph["key"]),
        )

    @staticmethod
    def _costs(graph: AtomicGraph, fleet: Fleet) -> Tensor:
        """[2, G] what each structure costs, in edges, and what it was let in for, on the CPU."""
        starts = fleet.starts()
        first_edge = torch.searchsorted(graph.edge_index[1], starts)  # edges ascend by their centre
        costs = (first_edge.diff() + ATOM_COST * starts.diff()).double()
        return torch.stack([costs, fleet.graph.get("cost", costs)]).cpu()

    def _last(self, costs: Tensor, first: int) -> int:
        """The structures from `first` on that go into one call: one at least, and no small rest."""
        limit = min(self.sizer.ceiling, 1.5 * max(self.sizer.budget, float(costs[first])))
        return first + max(1, int((costs[first:].cumsum(0) <= limit).sum()))

    def forget(self) -> None:
        """Make every neighbour list anew."""
        self.lists.forget()


def levels(outputs: Mapping[str, Level] | Sequence[str]) -> dict[str, Level]:
    """What each output is of, where only names may be given."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    return {name: UNCERTAINTIES.get(name, "graph") for name in outputs}
