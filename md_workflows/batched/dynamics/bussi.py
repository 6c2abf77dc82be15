"""Canonical sampling by rescaling velocities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.dynamics.base import Integrator, drift, kick, kinetic_energy
from md_workflows.batched.dynamics.freedom import freedom_of
from md_workflows.batched.dynamics.random import atom_normals, structure_normals
from md_workflows.batched.dynamics.targets import add_temperature, follow, of_settings
from md_workflows.batched.fleet import Fleet


class Bussi(Integrator):
    """Constant temperature: Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007), equations A7 and A8.

    The kinetic energy goes as it would under friction and noise on every degree of freedom, but all momenta are scaled
    alike. The sum of squared normal numbers is that of one number of the structure and as many of its atoms' as there
    are other degrees of freedom.
    """

    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """The temperature held, its time, freedom, which numbers are summed, and heat.

        Raises:
            ValueError: a structure is at rest, which no factor can change.
        """
        if bool((kinetic_energy(fleet) == 0).any()):
            raise ValueError("Bussi scales velocities, and all of them are zero; give initial velocities.")
        add_temperature(fleet, ensembles)
        degrees = freedom_of(fleet, ensembles)
        damp = of_settings(fleet, ensembles, "tdamp_fs") * units.fs
        fleet.graph.update(tdamp=damp, freedom=degrees, heat=torch.zeros_like(damp))
        of_atom = fleet.atom["free"].sum(1)
        before = of_atom.cumsum(0) - of_atom
        before = before - fleet.of_atoms(before.index_select(0, fleet.starts()[:-1]))
        number = before[:, None] + fleet.atom["free"].cumsum(1)
        fleet.atom["summed"] = fleet.atom["free"] * (number < fleet.of_atoms(degrees)[:, None])

    def before(self, fleet: Fleet) -> None:
        """Scale, half a kick, a drift."""
        follow(fleet)
        self._scale(fleet)
        kick(fleet, fleet.graph["timestep"] / 2)
        drift(fleet, fleet.graph["timestep"])

    def after(self, fleet: Fleet) -> None:
        """Half a kick."""
        kick(fleet, fleet.graph["timestep"] / 2)

    def conserved(self, fleet: Fleet) -> Tensor:
        """Potential and kinetic energy, less the heat taken up."""
        return fleet.graph["energy"] + kinetic_energy(fleet) - fleet.graph["heat"]

    @staticmethod
    def _scale(fleet: Fleet) -> None:
        noise = atom_normals(fleet) * fleet.atom["summed"]
        first = structure_normals(fleet, 1)[:, 0]
        squares = first.square() + fleet.sum(noise.square().sum(1))
        kinetic = kinetic_energy(fleet)
        kept = torch.exp(-fleet.graph["timestep"] / fleet.graph["tdamp"])
        fresh = (1 - kept) * fleet.graph["kT"] / 2
        scaled = kept * kinetic + fresh * squares + 2 * first * (kept * fresh * kinetic).sqrt()
        sign = torch.where(first * fresh.sqrt() + (kept * kinetic).sqrt() < 0, -1.0, 1.0)
        factor = sign * (scaled.clamp_min(0) / kinetic).sqrt()
        fleet.atom["momenta"].mul_(fleet.of_atoms(factor)[:, None])
        fleet.graph["heat"].add_(scaled - kinetic)
