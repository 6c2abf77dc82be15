"""ASE's constraints on the structures of a fleet.

FixAtoms and FixCartesian are a column of ones and zeros. All others are asked themselves, as ASE would ask them: they
keep their own `Atoms`, and adjust forces, stress, energy, positions and cell of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.structures import one_line

Array = NDArray[np.float64]

BY_MASK = (FixAtoms, FixCartesian)


def free_components(atoms: Atoms) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[N, 3]: 0 where FixAtoms or FixCartesian hold a component, else 1."""
    free = np.ones((len(atoms), 3))
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = 0.0
        elif isinstance(constraint, FixCartesian):
            rows = np.atleast_1d(constraint.index)
            free[rows] *= ~np.broadcast_to(np.asarray(constraint.mask, dtype=bool), (len(rows), 3))
    return free


def others(atoms: Atoms) -> list[str]:
    """Names of the constraints that are no columns."""
    return [type(constraint).__name__ for constraint in atoms.constraints if not isinstance(constraint, BY_MASK)]


@dataclass
class Held:
    """The structures whose constraints have to be asked, by their keys."""

    atoms: dict[int, Atoms] = field(default_factory=dict)

    def admit(self, key: int, structure: Atoms) -> None:
        """Note a structure, if it is one of them."""
        if others(structure):
            self.atoms[key] = structure.copy()

    def rows(self, fleet: Fleet) -> list[tuple[int, Atoms, slice]]:
        """Those in the fleet: row, structure and rows of its atoms."""
        if not self.atoms:
            return []
        starts = fleet.starts().tolist()
        return [
            (row, self.atoms[key], slice(starts[row], starts[row + 1]))
            for row, key in enumerate(fleet.keys)
            if key in self.atoms
        ]

    def adjust(self, fleet: Fleet) -> dict[int, str]:
        """Fill the columns pull [N, 3], tension [G, 3, 3] and bias [G]: forces, stress and energy of constraints.

        Returns a reason for rows that fail; forces and stress of the model stay as they are.
        """
        fleet.atom["pull"].copy_(fleet.atom["forces"]).mul_(fleet.atom["free"])
        fleet.graph["tension"].copy_(fleet.graph["stress"])
        failed = {}
        for row, atoms, mine in self.rows(fleet):
            atoms.set_cell(fleet.graph["cell"][row].cpu().numpy(), apply_constraint=False)
            atoms.set_positions(fleet.atom["positions"][mine].cpu().numpy(), apply_constraint=False)
            pull = fleet.atom["pull"][mine].cpu().numpy().copy()
            stress = full_3x3_to_voigt_6_stress(fleet.graph["stress"][row].cpu().numpy())
            try:
                fleet.graph["bias"][row] = _asked(atoms, pull, stress)
            except Exception as error:  # a constraint that gives up is about this structure
                failed[row] = one_line(error)
                continue
            fleet.atom["pull"][mine] = torch.from_numpy(pull).to(fleet.device)
            fleet.graph["tension"][row] = torch.from_numpy(voigt_6_to_full_3x3_stress(stress)).to(fleet.device)
        return failed

    def place(self, fleet: Fleet) -> dict[int, str]:
        """Let constraints adjust positions and cells that are new in the fleet; returns a reason for rows that fail."""
        failed = {}
        for row, atoms, mine in self.rows(fleet):
            try:
                cell = fleet.graph["cell"][row].cpu().numpy()
                if not np.array_equal(cell, atoms.cell.array):
                    atoms.set_cell(cell, scale_atoms=True)
                atoms.set_positions(fleet.atom["positions"][mine].cpu().numpy())
            except Exception as error:  # a constraint that gives up is about this structure
                failed[row] = one_line(error)
                continue
            fleet.graph["cell"][row] = torch.tensor(atoms.cell.array, dtype=DOUBLE, device=fleet.device)
            fleet.atom["positions"][mine] = torch.tensor(atoms.positions, dtype=DOUBLE, device=fleet.device)
        return failed

    def leave(self, keys: list[int]) -> None:
        """Forget those that have gone."""
        for key in keys:
            self.atoms.pop(key, None)


def _asked(atoms: Atoms, pull: Array, stress: Array) -> float:
    """Let constraints adjust forces [N, 3] and stress [6] in place; returns the energy they add, eV."""
    bias = 0.0
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, pull)
        if hasattr(constraint, "adjust_stress"):
            constraint.adjust_stress(atoms, stress)
        if hasattr(constraint, "adjust_potential_energy"):
            bias += float(constraint.adjust_potential_energy(atoms))
    return bias
