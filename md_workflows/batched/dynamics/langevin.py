"""Langevin dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.dynamics.base import Integrator, drift, kick, kinetic_energy
from md_workflows.batched.dynamics.freedom import freedom
from md_workflows.batched.dynamics.random import atom_normals
from md_workflows.batched.dynamics.targets import add_temperature, follow, of_settings
from md_workflows.batched.fleet import Fleet


def add_friction(fleet: Fleet, ensembles: Sequence[Any]) -> None:
    """Columns of what has friction and noise on every free component: friction, freedom and the heat taken up [G]."""
    add_temperature(fleet, ensembles)
    friction = of_settings(fleet, ensembles, "friction_per_fs") / units.fs
    all_of_them = torch.zeros(fleet.n_structures, dtype=torch.bool, device=fleet.device)
    fleet.graph.update(friction=friction, freedom=freedom(fleet, all_of_them), heat=torch.zeros_like(friction))


def rub(fleet: Fleet, time: Tensor) -> None:
    """Friction and noise on the momenta for a time [G], exactly: an Ornstein–Uhlenbeck process."""
    rate, kT = fleet.graph["friction"] * time, fleet.graph["kT"]
    noise = fleet.of_atoms((-torch.expm1(-2 * rate) * kT).sqrt())[:, None] * fleet.atom["masses"].sqrt()
    heat, momenta = kinetic_energy(fleet), fleet.atom["momenta"]
    momenta.mul_(fleet.of_atoms(torch.exp(-rate))[:, None])
    momenta.add_(noise * atom_normals(fleet) * fleet.atom["free"])
    fleet.graph["heat"].add_(kinetic_energy(fleet) - heat)


class Langevin(Integrator):
    """Constant temperature: BAOAB of Leimkuhler & Matthews, J. Chem. Phys. 138, 174102 (2013).

    All free components are degrees of freedom; the total momentum is not conserved.
    """

    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """The temperature held, friction, freedom and heat."""
        add_friction(fleet, ensembles)

    def before(self, fleet: Fleet) -> None:
        """Half a kick, half a drift, friction and noise, half a drift."""
        follow(fleet)
        time = fleet.graph["timestep"]
        kick(fleet, time / 2)
        drift(fleet, time / 2)
        rub(fleet, time)
        drift(fleet, time / 2)

    def after(self, fleet: Fleet) -> None:
        """Half a kick."""
        kick(fleet, fleet.graph["timestep"] / 2)

    def conserved(self, fleet: Fleet) -> Tensor:
        """Potential and kinetic energy, less the heat taken up."""
        return fleet.graph["energy"] + kinetic_energy(fleet) - fleet.graph["heat"]
