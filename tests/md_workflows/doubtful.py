"""Models whose uncertainty is a known function of the positions, and atoms whose positions are known beforehand."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from torch import Tensor

from md_workflows.batched.models import GraphModel
from potentials.graph import AtomicGraph

PULL = 2.0
"""eV/Å², of the well that `Well` and `well_model` have at the origin."""


class Free(Calculator):
    """No forces; each atom's uncertainty is its distance from the plane x = 0, in eV/Å, the energy's a tenth of all."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]
    pull = 0.0

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.positions
        each = np.abs(positions[:, 0])
        self.results = {
            "energy": self.pull / 2 * float((positions**2).sum()),
            "forces": -self.pull * positions,
            "forces_uncertainty": each,
            "uncertainty": float(each.max()),
            "energy_uncertainty": 0.1 * float(each.sum()),
        }


class Well(Free):
    """The same in a harmonic well."""

    pull = PULL


def free_model(pull: float = 0.0) -> GraphModel:
    """`Free`, or with a pull `Well`, for batches."""

    def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
        each = graph.positions[:, 0].abs()
        zeros = torch.zeros(graph.n_graphs, dtype=torch.float64)
        return {
            "energy": pull / 2 * zeros.index_add(0, graph.graph_index, graph.positions.square().sum(1)),
            "forces": -pull * graph.positions,
            "stress": torch.full((graph.n_graphs, 3, 3), torch.nan, dtype=torch.float64),
            "forces_uncertainty": each,
            "uncertainty": zeros.scatter_reduce(0, graph.graph_index, each, "amax"),
            "energy_uncertainty": 0.1 * zeros.index_add(0, graph.graph_index, each),
        }

    outputs = ("uncertainty", "energy_uncertainty", "forces_uncertainty")
    where = torch.device("cpu")
    return GraphModel(evaluate, 3.0, device=where, identity="free", check=lambda _: None, outputs=outputs)


def flying(speed: float = 0.05, start: float = 1.0, n_atoms: int = 2) -> Atoms:
    """Atoms of which the last, at x = `start`, flies along x by `speed` Å in a fs; the others rest at x = 0."""
    places = [[0.0, 4.0 * row, 0.0] for row in range(n_atoms)]
    places[-1][0] = start
    atoms = Atoms(f"Cu{n_atoms - 1}Ag", positions=places)
    momenta = np.zeros((n_atoms, 3))
    momenta[-1, 0] = atoms.get_masses()[-1] * speed / units.fs
    atoms.set_momenta(momenta)
    return atoms
