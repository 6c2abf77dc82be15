"""Nosé–Hoover chains, as in `ase.md.nose_hoover_chain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.dynamics.base import Integrator, drift, kick, kinetic_energy
from md_workflows.batched.dynamics.freedom import freedom_of
from md_workflows.batched.dynamics.targets import add_temperature, follow, of_settings
from md_workflows.batched.fleet import DOUBLE, Fleet

YOSHIDA = (1 / (2 - 2 ** (1 / 3)), -(2 ** (1 / 3)) / (2 - 2 ** (1 / 3)), 1 / (2 - 2 ** (1 / 3)))
"""Fourth order: Yoshida, Phys. Lett. A 150, 262 (1990)."""


class Chain:
    """A chain of thermostats for each structure; `name` begins the names of its columns.

    Columns: eta and momenta [G, M], damp [G] in ASE's time, freedom [G] of what it holds at a temperature, and
    weight [G], the first thermostat's mass in units of kT damp².
    """

    def __init__(self, name: str) -> None:
        self._name, self._length, self._loops = name, 0, 0

    def _column(self, fleet: Fleet, name: str) -> Tensor:
        return fleet.graph[f"{self._name}_{name}"]

    def columns(self, fleet: Fleet, lengths: tuple[Sequence[int], Sequence[int]], **values: Tensor) -> None:
        """Add them; `lengths` are thermostats and substeps of each structure, `values` damp, freedom and weight.

        Raises:
            ValueError: not all structures have as many thermostats and substeps.
        """
        found = set(zip(*lengths, strict=True)) | ({(self._length, self._loops)} if self._length else set())
        if len(found) > 1:
            raise ValueError(
                "structures that advance together need chains alike, these have (thermostats, substeps) "
                f"{sorted(found)}; give all the same tchain, tloop, pchain and ploop, or run them apart."
            )
        self._length, self._loops = found.pop()
        zeros = torch.zeros(fleet.n_structures, self._length, dtype=DOUBLE, device=fleet.device)
        values = {"eta": zeros, "momenta": zeros.clone(), **values}
        fleet.graph.update({f"{self._name}_{name}": value for name, value in values.items()})

    def _masses(self, fleet: Fleet) -> Tensor:
        one = (fleet.graph["kT"] * self._column(fleet, "damp").square())[:, None].expand(-1, self._length)
        return torch.cat([one[:, :1] * self._column(fleet, "weight")[:, None], one[:, 1:]], 1)

    def energy(self, fleet: Fleet) -> Tensor:
        """[G] eV, its part of what is conserved."""
        kT, eta = fleet.graph["kT"], self._column(fleet, "eta")
        kinetic = (self._column(fleet, "momenta").square() / self._masses(fleet)).sum(1) / 2
        return kinetic + kT * (self._column(fleet, "freedom") * eta[:, 0] + eta[:, 1:].sum(1))

    def advance(self, fleet: Fleet, doubled: Tensor, time: Tensor) -> Tensor:
        """[G] what momenta have to be scaled by, whose doubled kinetic energy is `doubled` [G], after a time [G]."""
        masses, kT = self._masses(fleet).unbind(1), fleet.graph["kT"]
        wanted = [self._column(fleet, "freedom") * kT] + [kT] * (self._length - 1)
        momenta = list(self._column(fleet, "momenta").unbind(1))
        eta, factor = self._column(fleet, "eta"), torch.ones_like(time)

        def push(j: int, part: Tensor) -> None:
            drag = None if j + 1 == self._length else torch.exp(-part / 4 * momenta[j + 1] / masses[j + 1])
            held = doubled * factor.square() if j == 0 else momenta[j - 1].square() / masses[j - 1]
            dragged = momenta[j] if drag is None else momenta[j] * drag
            pushed = dragged + part / 2 * (held - wanted[j])
            momenta[j] = pushed if drag is None else pushed * drag

        for weight in YOSHIDA * self._loops:
            part = weight * time / self._loops
            for j in reversed(range(self._length)):
                push(j, part)
            rates = torch.stack([p / mass for p, mass in zip(momenta, masses, strict=True)], 1)
            eta.add_(part[:, None] * rates)
            factor = factor * torch.exp(-part * rates[:, 0])
            for j in range(self._length):
                push(j, part)
        self._column(fleet, "momenta").copy_(torch.stack(momenta, 1))
        return factor


class Chained(Integrator):
    """What integrators with chains share: the chain on the atoms, and the work of ramps on what is conserved."""

    def __init__(self) -> None:
        self._thermostat = Chain("thermostat")

    def columns(self, fleet: Fleet, ensembles: Sequence[Any]) -> None:
        """The temperature held, freedom, the chain, and the work of ramps."""
        add_temperature(fleet, ensembles)
        degrees = freedom_of(fleet, ensembles)
        fleet.graph.update(freedom=degrees, work=torch.zeros_like(degrees))
        lengths = [each.tchain for each in ensembles], [each.tloop for each in ensembles]
        damp = of_settings(fleet, ensembles, "tdamp_fs") * units.fs
        self._thermostat.columns(fleet, lengths, damp=damp, freedom=degrees.clone(), weight=degrees.clone())

    def bath(self, fleet: Fleet) -> Tensor:
        """[G] eV: the part of what is conserved that depends on what is held."""
        return self._thermostat.energy(fleet)

    def follow(self, fleet: Fleet) -> None:
        """Take what is held to this step, and note how much the bath's energy changes by that."""
        before = self.bath(fleet)
        follow(fleet)
        fleet.graph["work"].add_(self.bath(fleet) - before)

    def thermostat(self, fleet: Fleet) -> None:
        """The chain and the momenta of atoms for half a step."""
        factor = self._thermostat.advance(fleet, 2 * kinetic_energy(fleet), fleet.graph["timestep"] / 2)
        fleet.atom["momenta"].mul_(fleet.of_atoms(factor)[:, None])

    def conserved(self, fleet: Fleet) -> Tensor:
        """Potential and kinetic energy and that of the bath, less the work of ramps."""
        return fleet.graph["energy"] + kinetic_energy(fleet) + self.bath(fleet) - fleet.graph["work"]


class NoseHooverChain(Chained):
    """Constant temperature: Martyna, Klein & Tuckerman, J. Chem. Phys. 97, 2635 (1992); ASE's NoseHooverChainNVT."""

    def before(self, fleet: Fleet) -> None:
        """The chain, half a kick, a drift."""
        self.follow(fleet)
        self.thermostat(fleet)
        kick(fleet, fleet.graph["timestep"] / 2)
        drift(fleet, fleet.graph["timestep"])

    def after(self, fleet: Fleet) -> None:
        """Half a kick, the chain."""
        kick(fleet, fleet.graph["timestep"] / 2)
        self.thermostat(fleet)
