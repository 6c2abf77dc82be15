"""What is told of a fleet in motion: temperatures, pressures, volumes, rows of the log."""

from __future__ import annotations

import math

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.dynamics.base import kinetic_energy
from md_workflows.batched.fleet import Fleet


def temperature(fleet: Fleet) -> Tensor:
    """[G] K, over the degrees of freedom that constraints leave, as ASE counts them; 0 where none is left.

    These are the column "counted"; "freedom" is what a thermostat holds at its temperature.
    """
    degrees = fleet.graph["counted"].clamp(min=1)
    return torch.div(2 * kinetic_energy(fleet) / units.kB, degrees)


def volume(fleet: Fleet) -> Tensor:
    """[G] Å³; NaN where the cell is none."""
    found = torch.linalg.det(fleet.graph["cell"]).abs()
    return torch.where(found > 0, found, torch.nan)


def pressure(fleet: Fleet) -> Tensor:
    """[G] GPa, the kinetic part included; NaN where a direction is open or there is no stress."""
    gas = 2 * kinetic_energy(fleet) / (3 * volume(fleet))
    inner = -fleet.graph["stress"].diagonal(dim1=1, dim2=2).mean(1)
    return torch.where(fleet.graph["pbc"].all(1), (inner + gas) / units.GPa, torch.nan)


def log_rows(fleet: Fleet) -> list[str]:
    """A line of the log for each structure, its columns those of `md_files.LOG_COLUMNS`; unknown numbers are empty."""
    potential, kinetic, count = fleet.graph["energy"], kinetic_energy(fleet), fleet.graph["count"]
    total = potential + kinetic
    columns = [fleet.graph["step"] * fleet.graph["timestep_fs"], potential, kinetic, total]
    columns += [potential / count, total / count, temperature(fleet), pressure(fleet), volume(fleet)]
    values = torch.stack(columns, 1).tolist()
    steps = fleet.graph["step"].tolist()
    return [
        ",".join([str(step), *("" if math.isnan(value) else repr(value) for value in row)])
        for step, row in zip(steps, values, strict=True)
    ]
