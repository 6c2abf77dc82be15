"""What computes energies, forces and stresses of a fleet: a potential all at once, an ASE calculator one by one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from md_workflows.attached import forget
from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.batched.parts import part_of
from md_workflows.batched.sizing import MemoryMeter, Sizer, free_cached, is_out_of_memory
from md_workflows.batched.verlet import BatchedVerlet, StructuresFailedError
from md_workflows.structures import one_line
from potentials.graph import AtomicGraph
from potentials.structures import check_elements

Evaluate = Callable[[AtomicGraph], dict[str, Tensor]]

ATOM_COST = 10.0
"""What an atom costs without its edges, in edges."""


@dataclass(frozen=True)
class Computed:
    """What a model says of a fleet.

    energy [G] eV · forces [N, 3] eV/Å, without constraints · stress [G, 3, 3] eV/Å³, ASE's sign, NaN where there is
    none; None from a model that has no stress · outputs: [G] by name, whatever else the model tells of each structure.
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
    def outputs(self) -> tuple[str, ...]:
        """What else it tells of each structure, a number by this name."""

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
        outputs: what `evaluate` tells beside, a number per structure.
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
        outputs: tuple[str, ...] = (),
    ) -> None:
        self._evaluate = evaluate
        self.outputs = outputs
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


class ASEModel:
    """Any ASE calculator: one structure after another, on the CPU.

    Args:
        calculator: with energy and forces.
        identity: text that changes whenever the energies would.
        outputs: which of its results, a number per structure each, are told beside.
        structures: by key, for whatever else the calculator reads of them: tags, magnetic moments, info. Without them
            it sees elements, positions, cell, charge and spin alone.
    """

    device = torch.device("cpu")
    remembers = True
    room = 0.0

    def __init__(
        self, calculator: Any, identity: str, outputs: tuple[str, ...] = (), structures: Sequence[Atoms] = ()
    ) -> None:
        self._calculator, self._structures = calculator, structures
        self.identity = identity
        self.outputs = outputs
        self.has_stress = "stress" in getattr(calculator, "implemented_properties", ())

    def check(self, atoms: Atoms) -> None:
        """Anything may be asked of a calculator; it will tell."""

    def cost(self, atoms: Atoms) -> float:
        """Its atoms."""
        return float(len(atoms))

    def compute(self, fleet: Fleet) -> Computed:
        """Energy, forces and stress, structure by structure."""
        energy, forces, stress, failed = [], [], [], {}
        beside: dict[str, list[float]] = {name: [] for name in self.outputs}
        for row in range(fleet.n_structures):
            atoms = self._atoms(fleet, row)
            atoms.calc = self._calculator
            try:
                forces.append(torch.from_numpy(np.array(atoms.get_forces(), dtype=float)))
                energy.append(float(atoms.get_potential_energy()))
                stress.append(torch.from_numpy(self._stress(atoms)))
                for name, values in beside.items():
                    values.append(float(self._calculator.results[name]))
            except Exception as error:  # whatever a calculator raises is about this structure
                failed[row] = one_line(error)
        if failed:
            raise StructuresFailedError(failed)
        stresses = torch.stack(stress) if self.has_stress else None
        outputs = {name: torch.tensor(values, dtype=DOUBLE) for name, values in beside.items()}
        return Computed(torch.tensor(energy, dtype=DOUBLE), torch.cat(forces), stresses, outputs)

    def _atoms(self, fleet: Fleet, row: int) -> Atoms:
        """A structure as it is in the fleet, without constraints."""
        there = fleet.atoms(row)
        if not self._structures:
            there.info.update(charge=float(fleet.graph["charge"][row]), spin=float(fleet.graph["spin"][row]))
            return there
        atoms = self._structures[int(fleet.graph["key"][row])].copy()
        atoms.set_constraint()
        atoms.set_cell(there.cell)
        atoms.set_positions(there.positions)
        atoms.set_momenta(there.get_momenta())
        return atoms

    def _stress(self, atoms: Atoms) -> Any:
        if not self.has_stress or not atoms.pbc.any() or atoms.cell.rank < 3:
            return np.full((3, 3), np.nan)
        return np.array(atoms.get_stress(voigt=False), dtype=float)

    def forget(self) -> None:
        """Let the calculator drop what it keeps."""
        forget(self._calculator)
