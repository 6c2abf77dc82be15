"""The motion of cells: Martyna, Tobias & Klein, J. Chem. Phys. 101, 4177 (1994), as in `ase.md.nose_hoover_chain`.

The cell's rate, its momentum over its mass, is a symmetric matrix, of which atoms' positions and momenta feel the
eigenvalues along the eigenvectors; symmetric, so that the cell does not turn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.dynamics.random import structure_normals
from md_workflows.batched.dynamics.targets import add_pressure, of_settings
from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.batched.strain import rotate

_OFF = ((0, 1), (0, 2), (1, 2))


class Modes(NamedTuple):
    """Rates [G, 3] along axes [G, 3, 3], the columns; None where every direction is one."""

    rates: Tensor
    axes: Tensor | None


class CellMotion(ABC):
    """Columns: cell_momentum, cell_damp [G] in ASE's time, pressure [G] eV/Å³; freedom and kT are there already."""

    internal: float
    """Degrees of freedom of the cell."""
    as_ase: float
    """Those that ASE counts."""
    thermostat_weight: float
    """Of a chain on it, where that is not its freedom."""

    @abstractmethod
    def momentum(self, fleet: Fleet) -> Tensor:
        """A momentum of zero."""

    @abstractmethod
    def mass(self, fleet: Fleet) -> Tensor:
        """[G] of the cell."""

    @abstractmethod
    def modes(self, fleet: Fleet) -> Modes:
        """Rates of the cell and their axes."""

    @abstractmethod
    def kick(self, fleet: Fleet, time: Tensor) -> None:
        """Momentum of the cell by the pressures inside and outside, for a time [G]."""

    @abstractmethod
    def noise(self, fleet: Fleet) -> Tensor:
        """A thermal momentum of the cell, for this step."""

    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """Add them."""
        add_pressure(fleet, ensembles)
        fleet.graph["cell_damp"] = of_settings(fleet, ensembles, "pdamp_fs") * units.fs
        fleet.graph["cell_momentum"] = self.momentum(fleet)

    def doubled_energy(self, fleet: Fleet) -> Tensor:
        """[G] eV: twice the kinetic energy of the cell."""
        return fleet.graph["cell_momentum"].square().flatten(1).sum(1) / self.mass(fleet)

    def energy(self, fleet: Fleet) -> Tensor:
        """[G] eV: kinetic energy of the cell, and pressure times volume."""
        return self.doubled_energy(fleet) / 2 + fleet.graph["pressure"] * volume(fleet)

    def kick_atoms(self, fleet: Fleet, time: Tensor) -> None:
        """Momenta of atoms by the forces and by the rate of the cell, for a time [G]."""
        rates, axes = self.modes(fleet)
        drag = -(rates + rates.sum(1, keepdim=True) / fleet.graph["freedom"][:, None]) * time[:, None]
        forces = fleet.atom["forces"]
        if axes is None:
            momenta = fleet.atom["momenta"] * fleet.of_atoms(torch.exp(drag))
            momenta = momenta + forces * fleet.of_atoms(time[:, None] * _exprel(drag))
        else:
            kept, pushed = _along(axes, torch.exp(drag)), _along(axes, time[:, None] * _exprel(drag))
            momenta = rotate(fleet.atom["momenta"], fleet.of_atoms(kept)) + rotate(forces, fleet.of_atoms(pushed))
        fleet.atom["momenta"].copy_(momenta)

    def move(self, fleet: Fleet, time: Tensor) -> None:
        """Positions and cell, for a time [G]."""
        rates, axes = self.modes(fleet)
        strain = rates * time[:, None]
        velocities = fleet.atom["momenta"] / fleet.atom["masses"]
        if axes is None:
            positions = fleet.atom["positions"] * fleet.of_atoms(torch.exp(strain))
            positions = positions + velocities * fleet.of_atoms(time[:, None] * _exprel(strain))
            cell = fleet.graph["cell"] * torch.exp(strain)[:, None]
        else:
            scale, drift = _along(axes, torch.exp(strain)), _along(axes, time[:, None] * _exprel(strain))
            positions = rotate(fleet.atom["positions"], fleet.of_atoms(scale))
            positions = positions + rotate(velocities, fleet.of_atoms(drift))
            cell = fleet.graph["cell"] @ scale
        fleet.atom["positions"].copy_(positions)
        fleet.graph["cell"].copy_(cell)


class Isotropic(CellMotion):
    """One number: the rate of the logarithm of the length. cell_momentum is [G, 1]."""

    internal, as_ase, thermostat_weight = 1.0, 1.0, 9.0

    def momentum(self, fleet: Fleet) -> Tensor:
        """[G, 1] zeros."""
        return torch.zeros(fleet.n_structures, 1, dtype=DOUBLE, device=fleet.device)

    def mass(self, fleet: Fleet) -> Tensor:
        """3 (N + 1) kT times the square of the damping time."""
        return 3 * (fleet.graph["count"] + 1) * fleet.graph["kT"] * fleet.graph["cell_damp"].square()

    def modes(self, fleet: Fleet) -> Modes:
        """One rate in every direction."""
        return Modes((fleet.graph["cell_momentum"] / self.mass(fleet)[:, None]).expand(-1, 3), None)

    def kick(self, fleet: Fleet, time: Tensor) -> None:
        """By three times the volume times the difference of pressures, and the kinetic energy's part."""
        doubled = fleet.sum((fleet.atom["momenta"].square() / fleet.atom["masses"]).sum(1))
        stress = fleet.graph["stress"].diagonal(dim1=1, dim2=2).sum(1)
        work = -volume(fleet) * (stress + 3 * fleet.graph["pressure"]) + doubled
        fleet.graph["cell_momentum"].add_((time * (work + 3 * doubled / fleet.graph["freedom"]))[:, None])

    def noise(self, fleet: Fleet) -> Tensor:
        """[G, 1]."""
        return (self.mass(fleet) * fleet.graph["kT"]).sqrt()[:, None] * structure_normals(fleet, 1)


class Full(CellMotion):
    """All lengths and angles: six rates. cell_momentum is [G, 3, 3], symmetric."""

    internal, as_ase, thermostat_weight = 6.0, 9.0, 0.0

    def momentum(self, fleet: Fleet) -> Tensor:
        """[G, 3, 3] zeros."""
        return torch.zeros_like(fleet.graph["cell"])

    def mass(self, fleet: Fleet) -> Tensor:
        """(N + 1) kT times the square of the damping time."""
        return (fleet.graph["count"] + 1) * fleet.graph["kT"] * fleet.graph["cell_damp"].square()

    def modes(self, fleet: Fleet) -> Modes:
        """Eigenvalues and eigenvectors of the rate; those that ran away are no numbers, and do not stop the others."""
        momentum = fleet.graph["cell_momentum"]
        finite = torch.isfinite(momentum).all(2).all(1)
        values, axes = torch.linalg.eigh(torch.where(finite[:, None, None], momentum, 0.0))
        return Modes(torch.where(finite[:, None], values, torch.nan) / self.mass(fleet)[:, None], axes)

    def kick(self, fleet: Fleet, time: Tensor) -> None:
        """By the volume times the difference of pressures, and the kinetic energy's part."""
        momenta = fleet.atom["momenta"]
        pairs = (momenta[:, :, None] * (momenta / fleet.atom["masses"])[:, None]).flatten(1)
        kinetic = fleet.sum(pairs).view(-1, 3, 3)
        one = torch.eye(3, dtype=DOUBLE, device=fleet.device)
        stress = fleet.graph["stress"] + fleet.graph["pressure"][:, None, None] * one
        trace = kinetic.diagonal(dim1=1, dim2=2).sum(1) / fleet.graph["freedom"]
        force = kinetic - volume(fleet)[:, None, None] * stress + trace[:, None, None] * one
        fleet.graph["cell_momentum"].add_(time[:, None, None] * (force + force.transpose(1, 2)) / 2)

    def noise(self, fleet: Fleet) -> Tensor:
        """[G, 3, 3] symmetric: each of what is off the diagonal stands in two places, with half of the variance."""
        drawn = structure_normals(fleet, 6) * (self.mass(fleet) * fleet.graph["kT"]).sqrt()[:, None]
        noise = torch.diag_embed(drawn[:, :3])
        for place, (row, column) in enumerate(_OFF, start=3):
            noise[:, row, column] = noise[:, column, row] = drawn[:, place] * 0.5**0.5
        return noise


def volume(fleet: Fleet) -> Tensor:
    """[G] Å³."""
    determinant: Tensor = torch.linalg.det(fleet.graph["cell"])
    return determinant.abs()


def _exprel(x: Tensor) -> Tensor:
    """(exp(x) - 1) / x, and 1 at 0."""
    ratio: Tensor = torch.where(x == 0, 1.0, torch.expm1(x) / torch.where(x == 0, 1.0, x))
    return ratio


def _along(axes: Tensor, values: Tensor) -> Tensor:
    """[G, 3, 3] symmetric, with these eigenvectors and eigenvalues."""
    return (axes * values[:, None]) @ axes.transpose(1, 2)
