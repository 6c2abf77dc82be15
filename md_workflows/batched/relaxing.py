"""Relaxation of a fleet: constraints, cells, descent and an honest `converged`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from md_workflows.batched.constraints import Held, free_components
from md_workflows.batched.descent import DESCENTS, Vector
from md_workflows.batched.doubts import doubt_columns, note_row
from md_workflows.batched.fleet import Fleet
from md_workflows.batched.models import Model
from md_workflows.batched.strain import StrainedCells
from md_workflows.cell import check_cell
from md_workflows.relaxation import RelaxResult, RelaxSettings, StopReason, too_uncertain
from md_workflows.uncertainty import drop_uncertainties


class Relaxation:
    """Moves structures downhill until the largest force, on atoms and strain, is below ``fmax``."""

    def __init__(self, model: Model, settings: RelaxSettings, name: str) -> None:
        self._settings, self._model, self._name = settings, model, name
        if settings.optimizer not in DESCENTS:
            known = " or ".join(DESCENTS)
            raise ValueError(f"many structures at once: {settings.optimizer} goes by single structures; take {known}")
        if settings.uncertainty is not None:
            settings.uncertainty.check_known(model.outputs, name)
        self._descent = DESCENTS[settings.optimizer]()
        self._cells = None if settings.cell is None else StrainedCells(settings.cell, model.device)
        self._held = Held()
        self._free: dict[int, Tensor] = {}  # of those that have been admitted and have no columns yet
        self._failed: dict[int, str] = {}

    def admit(self, key: int, atoms: Atoms) -> None:
        """Raise ValueError where the settings make no sense for a structure."""
        if self._settings.cell is not None:
            check_cell(atoms, self._settings.cell, self._model.has_stress, self._name)
        self._held.admit(key, atoms)
        self._free[key] = torch.from_numpy(free_components(atoms))

    def columns(self, fleet: Fleet) -> None:
        """Add those of constraints, cells and descent."""
        fleet.atom["free"] = torch.cat([self._free.pop(key) for key in fleet.keys]).to(fleet.device)
        fleet.atom["pull"] = torch.zeros_like(fleet.atom["positions"])
        fleet.graph["steps"] = torch.zeros_like(fleet.graph["count"])
        fleet.graph["fmax"] = torch.full_like(fleet.graph["energy"], torch.nan)
        fleet.graph["bias"] = torch.zeros_like(fleet.graph["energy"])
        fleet.graph["tension"] = torch.zeros_like(fleet.graph["stress"])
        if self._cells is not None:
            self._cells.columns(fleet)
        self._descent.columns(fleet)

    def start(self, fleet: Fleet) -> None:
        """Take the first forces."""
        self._measure(fleet)

    def arrive(self, fleet: Fleet) -> None:
        """Count the step and take the new forces."""
        fleet.graph["steps"] += 1
        self._measure(fleet)

    def _measure(self, fleet: Fleet) -> None:
        failed = self._held.adjust(fleet)
        largest = fleet.largest(fleet.atom["pull"].square().sum(1)).sqrt()
        if self._cells is not None:
            self._cells.forces(fleet)
            largest = torch.maximum(largest, self._force(fleet).longest(fleet))
        fleet.graph["fmax"].copy_(largest)
        for row, reason in failed.items():  # no number: it has finished
            fleet.graph["fmax"][row] = torch.nan
            self._failed[int(fleet.graph["key"][row])] = reason

    def _force(self, fleet: Fleet) -> Vector:
        if self._cells is None:
            return Vector(fleet.atom["pull"], torch.zeros_like(fleet.graph["cell"]))
        return Vector(fleet.atom["slope"], fleet.graph["strain_force"])

    def move(self, fleet: Fleet) -> dict[int, str]:
        """Take the next step."""
        if self._cells is None:
            point = Vector(fleet.atom["positions"], torch.zeros_like(fleet.graph["cell"]))
        else:
            scaled = fleet.graph["strain"] * fleet.graph["count"][:, None, None]
            point = Vector(fleet.atom["undeformed"], scaled)
        step = self._descent.step(fleet, point, self._force(fleet))
        if self._cells is None:
            fleet.atom["positions"].add_(step.atoms)
        else:
            self._cells.move(fleet, step.atoms, step.strain)
        failed = self._held.place(fleet)
        if self._cells is not None:
            self._cells.settle(fleet, adjusted=bool(self._held.atoms))
        return failed

    def finished(self, fleet: Fleet) -> Tensor:
        """[G] who has converged, has used its steps up, is too uncertain, or has a force that is no number."""
        fmax, policy = fleet.graph["fmax"], self._settings.uncertainty
        done = ~(fmax >= self._settings.fmax) | (fleet.graph["steps"] >= self._settings.max_steps)
        if policy is not None and policy.action == "stop":
            done |= ~(fleet.graph[policy.output] <= policy.limit)
        return done

    def leave(self, keys: list[int]) -> None:
        """Forget those that have gone, but for what `take_reason` has to tell."""
        self._held.leave(keys)
        for key in keys:  # who was admitted and never got columns
            self._free.pop(key, None)

    def take_reason(self, key: int) -> str:
        """What a constraint of a structure that leaves has raised; empty where none has."""
        return self._failed.pop(key, "")

    def result(self, given: Atoms, fleet: Fleet, finite: bool) -> RelaxResult:
        """What became of a structure that came to its end, from a fleet of it alone."""
        fmax, steps = float(fleet.graph["fmax"][0]), int(fleet.graph["steps"][0])
        atoms = _with_results(given, fleet)
        stress = atoms.calc.results.get("stress")
        energy = float((fleet.graph["energy"] + fleet.graph["bias"])[0])
        if not (finite and np.isfinite(fmax)):
            return RelaxResult(atoms, False, steps, fmax, energy, stress, StopReason.NON_FINITE)
        if too_uncertain(atoms, self._settings):
            return RelaxResult(atoms, False, steps, fmax, energy, stress, StopReason.UNCERTAIN)
        converged = fmax < self._settings.fmax
        reason = StopReason.CONVERGED if converged else StopReason.MAX_STEPS
        return RelaxResult(atoms, converged, steps, fmax, energy, stress, reason)


def _with_results(given: Atoms, fleet: Fleet) -> Atoms:
    """A copy of `given` at the geometry of a fleet of it alone, with the results there."""
    atoms = given.copy()
    drop_uncertainties(atoms)
    atoms.set_cell(fleet.graph["cell"][0].cpu().numpy(), apply_constraint=False)
    atoms.set_positions(fleet.atom["positions"].cpu().numpy(), apply_constraint=False)
    energy = float(fleet.graph["energy"][0])
    results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": fleet.atom["forces"].cpu().numpy()}
    stress = fleet.graph["stress"][0].cpu().numpy()
    if np.isfinite(stress).all():
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
    note_row(atoms, doubt_columns(fleet), 0, slice(None))
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
