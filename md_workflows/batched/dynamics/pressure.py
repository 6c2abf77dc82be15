"""Constant temperature and pressure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.dynamics.barostat import CellMotion, Full, Isotropic
from md_workflows.batched.dynamics.base import Integrator, kinetic_energy
from md_workflows.batched.dynamics.chain import Chain, Chained
from md_workflows.batched.dynamics.langevin import add_friction, rub
from md_workflows.batched.dynamics.targets import follow, of_settings
from md_workflows.batched.fleet import Fleet


class MTK(Chained):
    """Martyna, Tobias & Klein, J. Chem. Phys. 101, 4177 (1994): chains on atoms and cell; ASE's MTKNPT."""

    needs_stress = True
    motion: type[CellMotion] = Full

    def __init__(self) -> None:
        super().__init__()
        self._cell, self._barostat = self.motion(), Chain("barostat")

    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """Those of the thermostat, of the cell and of its chain."""
        super().columns(fleet, ensembles)
        self._cell.columns(fleet, ensembles)
        of_cell = {"internal": self._cell.internal, "ase": self._cell.as_ase}
        degrees = fleet.graph["freedom"].new_tensor([of_cell[each.degrees] for each in ensembles])
        weight = torch.full_like(degrees, self._cell.thermostat_weight) if self._cell.thermostat_weight else degrees
        lengths = [each.pchain for each in ensembles], [each.ploop for each in ensembles]
        damp = fleet.graph["cell_damp"].clone()
        self._barostat.columns(fleet, lengths, damp=damp, freedom=degrees, weight=weight.clone())

    def bath(self, fleet: Fleet) -> Tensor:
        """[G] eV: that of both chains, and of the cell."""
        return super().bath(fleet) + self._barostat.energy(fleet) + self._cell.energy(fleet)

    def before(self, fleet: Fleet) -> None:
        """Chains, half a kick of cell and atoms, and the way to the new geometry."""
        self.follow(fleet)
        half = fleet.graph["timestep"] / 2
        self._chain_of_cell(fleet)
        self.thermostat(fleet)
        self._cell.kick(fleet, half)
        self._cell.kick_atoms(fleet, half)
        self._cell.move(fleet, fleet.graph["timestep"])

    def after(self, fleet: Fleet) -> None:
        """The same backwards."""
        half = fleet.graph["timestep"] / 2
        self._cell.kick_atoms(fleet, half)
        self._cell.kick(fleet, half)
        self.thermostat(fleet)
        self._chain_of_cell(fleet)

    def _chain_of_cell(self, fleet: Fleet) -> None:
        momentum = fleet.graph["cell_momentum"]
        factor = self._barostat.advance(fleet, self._cell.doubled_energy(fleet), fleet.graph["timestep"] / 2)
        momentum.mul_(factor.view(-1, *[1] * (momentum.ndim - 1)))


class MTKIsotropic(MTK):
    """The same with a cell that keeps its shape; ASE's IsotropicMTKNPT."""

    motion = Isotropic


class LangevinBarostat(Integrator):
    """The equations of MTK with friction and noise on atoms and cell in the place of chains.

    Quigley & Probert, J. Chem. Phys. 120, 11432 (2004), in the order of BAOAB: half kicks, half the way, friction and
    noise, half the way, half kicks. All 3N components of the atoms are degrees of freedom.
    """

    needs_stress = True
    motion: type[CellMotion] = Full

    def __init__(self) -> None:
        self._cell = self.motion()

    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """The temperature held, frictions, freedom, heat, the work of ramps, and those of the cell."""
        add_friction(fleet, ensembles)
        self._cell.columns(fleet, ensembles)
        friction = of_settings(fleet, ensembles, "cell_friction_per_fs") / units.fs
        fleet.graph.update(cell_friction=friction, work=torch.zeros_like(friction))

    def before(self, fleet: Fleet) -> None:
        """Half a kick of cell and atoms, half the way, friction and noise, half the way."""
        before = self._cell.energy(fleet)
        follow(fleet)
        fleet.graph["work"].add_(self._cell.energy(fleet) - before)
        half = fleet.graph["timestep"] / 2
        self._cell.kick(fleet, half)
        self._cell.kick_atoms(fleet, half)
        self._cell.move(fleet, half)
        rub(fleet, fleet.graph["timestep"])
        self._rub_cell(fleet, fleet.graph["timestep"])
        self._cell.move(fleet, half)

    def after(self, fleet: Fleet) -> None:
        """Half a kick."""
        half = fleet.graph["timestep"] / 2
        self._cell.kick_atoms(fleet, half)
        self._cell.kick(fleet, half)

    def conserved(self, fleet: Fleet) -> Tensor:
        """Energies of atoms and cell, less heat and the work of ramps."""
        inside = fleet.graph["energy"] + kinetic_energy(fleet) + self._cell.energy(fleet)
        return inside - fleet.graph["heat"] - fleet.graph["work"]

    def _rub_cell(self, fleet: Fleet, time: Tensor) -> None:
        momentum, rate = fleet.graph["cell_momentum"], fleet.graph["cell_friction"] * time
        heat, shape = self._cell.doubled_energy(fleet), (-1, *[1] * (momentum.ndim - 1))
        noise = (-torch.expm1(-2 * rate)).sqrt().view(shape) * self._cell.noise(fleet)
        momentum.mul_(torch.exp(-rate).view(shape)).add_(noise)
        fleet.graph["heat"].add_((self._cell.doubled_energy(fleet) - heat) / 2)


class LangevinBarostatIsotropic(LangevinBarostat):
    """The same with a cell that keeps its shape."""

    motion = Isotropic
