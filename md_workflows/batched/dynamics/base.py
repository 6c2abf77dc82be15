"""What an integrator is, and the pieces that most of them are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from md_workflows.batched.fleet import Fleet


class Integrator(ABC):
    """One way to advance a fleet by a time step of each structure's own.

    Everything it has to know from step to step is in columns of the fleet, in ASE's units (time in Å √(u/eV)): a copy
    of the columns is a state to restart from, to the bit. Momenta [N, 3] are the column "momenta"; "timestep" [G],
    "step" [G] (taken since the very beginning, int64; one more only after `after`) and "seed" [G] (int64) are there for
    all. Random numbers are functions of seed, step and the atom's number in its structure alone, so that they do not
    depend on who else is in the fleet. Columns are changed in place.
    """

    needs_stress = False

    @abstractmethod
    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """Add its columns; `ensembles` are the settings of each structure, temperatures and pressures its own."""

    @abstractmethod
    def before(self, fleet: Fleet) -> None:
        """From one geometry, of which forces (and stresses) are known, to the next."""

    @abstractmethod
    def after(self, fleet: Fleet) -> None:
        """Forces (and stresses) of the new geometry are known: complete the step."""

    @abstractmethod
    def conserved(self, fleet: Fleet) -> Tensor:
        """[G] eV: what the exact equations of motion keep, potential and kinetic energy included."""


def kick(fleet: Fleet, time: Tensor) -> None:
    """Momenta by the forces, for a time [G]; held components stay zero."""
    push = fleet.of_atoms(time)[:, None] * fleet.atom["forces"] * fleet.atom["free"]
    fleet.atom["momenta"].add_(push)


def drift(fleet: Fleet, time: Tensor) -> None:
    """Positions by the momenta, for a time [G]."""
    fleet.atom["positions"].add_(fleet.of_atoms(time)[:, None] * fleet.atom["momenta"] / fleet.atom["masses"])


def kinetic_energy(fleet: Fleet) -> Tensor:
    """[G] eV."""
    return fleet.sum((fleet.atom["momenta"].square() / fleet.atom["masses"]).sum(1)) / 2


class VelocityVerlet(Integrator):
    """Constant energy: Swope et al., J. Chem. Phys. 76, 637 (1982)."""

    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """It has none of its own."""

    def before(self, fleet: Fleet) -> None:
        """Half a kick, and a drift."""
        kick(fleet, fleet.graph["timestep"] / 2)
        drift(fleet, fleet.graph["timestep"])

    def after(self, fleet: Fleet) -> None:
        """Half a kick."""
        kick(fleet, fleet.graph["timestep"] / 2)

    def conserved(self, fleet: Fleet) -> Tensor:
        """Potential and kinetic energy."""
        return torch.add(fleet.graph["energy"], kinetic_energy(fleet))
