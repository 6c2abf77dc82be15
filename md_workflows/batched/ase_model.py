"""Any ASE calculator as a model of fleets: one structure after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from md_workflows.attached import check_usable, forget
from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.batched.models import Computed, levels
from md_workflows.batched.verlet import StructuresFailedError
from md_workflows.structures import one_line
from md_workflows.uncertainty import UNCERTAINTIES, Level

TRIED = 3
"""Structures that are computed, at most, to see whether a calculator gives uncertainties that it does not declare."""


class ASEModel:
    """Any ASE calculator: one structure after another, on the CPU.

    Args:
        calculator: with energy and forces.
        identity: text that changes whenever the energies would.
        outputs: which of its results are told beside, as for `GraphModel`; one that is missing is NaN.
        structures: by key, for whatever else the calculator reads of them: tags, magnetic moments, info. Without them
            it sees elements, positions, cell, charge and spin alone.
    """

    device = torch.device("cpu")
    remembers = True
    room = 0.0

    def __init__(
        self,
        calculator: Any,
        identity: str,
        outputs: Mapping[str, Level] | Sequence[str] = (),
        structures: Sequence[Atoms] = (),
    ) -> None:
        self._calculator, self._structures = calculator, structures
        self.identity = identity
        self.outputs = levels(outputs)
        self.has_stress = "stress" in getattr(calculator, "implemented_properties", ())

    def check(self, atoms: Atoms) -> None:
        """Anything may be asked of a calculator; it will tell."""

    def cost(self, atoms: Atoms) -> float:
        """Its atoms."""
        return float(len(atoms))

    def compute(self, fleet: Fleet) -> Computed:
        """Energy, forces and stress, structure by structure."""
        energy, forces, stress, failed = [], [], [], {}
        beside: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self.outputs}
        for row in range(fleet.n_structures):
            atoms = self._atoms(fleet, row)
            atoms.calc = self._calculator
            try:
                forces.append(torch.from_numpy(np.array(atoms.get_forces(), dtype=float)))
                energy.append(float(atoms.get_potential_energy()))
                stress.append(torch.from_numpy(self._stress(atoms)))
                for name, values in beside.items():
                    values.append(self._output(name, len(atoms)))
            except Exception as error:  # whatever a calculator raises is about this structure
                failed[row] = one_line(error)
        if failed:
            raise StructuresFailedError(failed)
        stresses = torch.stack(stress) if self.has_stress else None
        outputs = {name: torch.from_numpy(np.concatenate(values)) for name, values in beside.items()}
        return Computed(torch.tensor(energy, dtype=DOUBLE), torch.cat(forces), stresses, outputs)

    def _output(self, name: str, n_atoms: int) -> NDArray[np.float64]:
        """[1] of the structure or [n_atoms], NaN where it is missing."""
        length = n_atoms if self.outputs[name] == "atom" else 1
        value = np.asarray(self._calculator.results.get(name, np.nan), dtype=float)
        return np.array(np.broadcast_to(value.reshape(-1), length))

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


def given_uncertainties(calculator: Any, structures: Sequence[Atoms]) -> dict[str, Level]:
    """The uncertainties that a calculator gives: those that it declares, or has beside the energy of a structure.

    It computes the first of `structures` that can be, of a few.
    """
    declared = set(getattr(calculator, "implemented_properties", ()))
    if not declared & set(UNCERTAINTIES):
        declared = _results(calculator, structures)
    return {name: level for name, level in UNCERTAINTIES.items() if name in declared}


def _results(calculator: Any, structures: Sequence[Atoms]) -> set[str]:
    for atoms in structures[:TRIED]:
        probe = atoms.copy()
        probe.calc = calculator
        try:
            check_usable(probe)
            probe.get_potential_energy()
        except Exception:  # noqa: S112 - it is told as the outcome of that structure
            continue
        return set(calculator.results)
    return set()
