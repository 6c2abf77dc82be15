"""Analytic models of fleets, and the shortest loop that advances one: what the tests of integrators run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from torch import Tensor

from md_workflows.batched.constraints import free_components
from md_workflows.batched.dynamics.base import Integrator, kinetic_energy
from md_workflows.batched.dynamics.registry import integrator_for
from md_workflows.batched.fleet import DOUBLE, Fleet, fleet_of
from md_workflows.batched.models import Computed
from md_workflows.ensembles import EnsembleSettings
from md_workflows.velocities import thermal_momenta

CPU = torch.device("cpu")


class IdealGas:
    """Nothing."""

    def compute(self, fleet: Fleet) -> Computed:
        zeros = torch.zeros_like(fleet.graph["charge"])
        return Computed(zeros, torch.zeros_like(fleet.atom["positions"]), torch.zeros_like(fleet.graph["cell"]))


@dataclass
class Springs:
    """A ring of springs, each atom bound to the next of its structure; momentum is conserved.

    Pairs keep together: no periodic images, and so no stress. stiffness: eV/Å².
    """

    stiffness: float = 1.0

    def compute(self, fleet: Fleet) -> Computed:
        positions = fleet.atom["positions"]
        following = torch.arange(fleet.n_atoms) + 1
        last = fleet.starts()[1:] - 1
        following[last] = fleet.starts()[:-1]
        stretch = positions[following] - positions
        energy = fleet.sum(stretch.square().sum(1)) * self.stiffness / 2
        pull = self.stiffness * stretch
        forces = pull.index_add(0, following, -pull)
        return Computed(energy, forces, None)


@dataclass
class Einstein:
    """Every atom bound to its own place, harmonically (stiffness) and by a fourth power (quartic)."""

    stiffness: float = 1.0
    quartic: float = 0.0
    places: Tensor = field(default_factory=lambda: torch.zeros(1, 3, dtype=DOUBLE))

    def compute(self, fleet: Fleet) -> Computed:
        away = fleet.atom["positions"] - self.places
        energy = fleet.sum((self.stiffness / 2 * away**2 + self.quartic / 4 * away**4).sum(1))
        return Computed(energy, -self.stiffness * away - self.quartic * away**3, None)


@dataclass
class Lattice:
    """A periodic crystal of pairs, each with the energy k (r² - r0²)² / 8 r0²: stiff near r0, and smooth everywhere.

    neighbours [P], centres [P] and shifts [P, 3] of whole cells are those of each structure of a fleet of copies.
    """

    pairs: tuple[Tensor, Tensor, Tensor]
    length: float
    stiffness: float = 2.0

    def compute(self, fleet: Fleet) -> Computed:
        neighbour, centre, shift = self.pairs
        g, n = fleet.n_structures, int(fleet.graph["count"][0])
        positions = fleet.atom["positions"].view(g, n, 3)
        vector = positions[:, neighbour] - positions[:, centre] + shift @ fleet.graph["cell"]
        excess = vector.square().sum(2) - self.length**2
        energy = self.stiffness / (8 * self.length**2) * excess.square().sum(1)
        pull = (self.stiffness / (2 * self.length**2) * excess)[:, :, None] * vector
        forces = torch.zeros_like(positions).index_add(1, centre, pull).index_add(1, neighbour, -pull)
        volume = torch.linalg.det(fleet.graph["cell"]).abs()[:, None, None]
        return Computed(energy, forces.view(-1, 3), torch.einsum("gpi,gpj->gij", pull, vector) / volume)


def lattice_of(atoms: Atoms, stiffness: float = 2.0) -> Lattice:
    """The model of copies of a crystal: its nearest neighbours, each pair once."""
    from ase.neighborlist import neighbor_list

    length = atoms.get_all_distances(mic=True)[0, 1:].min()
    i, j, shift = neighbor_list("ijS", atoms, 1.05 * length)
    once = [k for k in range(len(i)) if (i[k], *shift[k]) < (j[k], *-shift[k])]
    pairs = (torch.from_numpy(j[once]), torch.from_numpy(i[once]), torch.from_numpy(shift[once]).double())
    return Lattice(pairs, float(length), stiffness)


def launch(
    structures: Sequence[Atoms],
    ensembles: Sequence[EnsembleSettings],
    timestep_fs: float | Sequence[float],
    model: Any,
) -> tuple[Fleet, Integrator]:
    """A fleet with the columns that integrators are promised, its first forces, and its integrator."""
    fleet = fleet_of(structures, list(range(len(structures))), CPU)
    fleet.atom["momenta"] = torch.from_numpy(np.concatenate([atoms.get_momenta() for atoms in structures]))
    fleet.atom["free"] = torch.from_numpy(np.concatenate([free_components(atoms) for atoms in structures]))
    fleet.atom["forces"] = torch.zeros_like(fleet.atom["positions"])
    timestep = np.broadcast_to(np.asarray(timestep_fs, dtype=float), len(structures)) * units.fs
    zeros = torch.zeros_like(fleet.graph["count"])
    fleet.graph.update(
        timestep=torch.tensor(timestep, dtype=DOUBLE),
        step=zeros,
        seed=torch.tensor([getattr(each, "seed", 0) for each in ensembles]),
        energy=torch.zeros_like(fleet.graph["charge"]),
        stress=torch.zeros_like(fleet.graph["cell"]),
    )
    integrator = integrator_for(ensembles[0])
    integrator.columns(fleet, ensembles)
    look(fleet, model)
    return fleet, integrator


def look(fleet: Fleet, model: Any) -> None:
    """Energies, forces and stresses of the geometry."""
    computed = model.compute(fleet)
    fleet.graph["energy"].copy_(computed.energy)
    fleet.atom["forces"].copy_(computed.forces)
    if computed.stress is not None:
        fleet.graph["stress"].copy_(computed.stress)


def advance(
    fleet: Fleet, integrator: Integrator, model: Any, steps: int, seen: Callable[[int], None] = lambda _: None
) -> None:
    """Take steps; `seen` is called after each, with how many have been taken by this call."""
    for step in range(1, steps + 1):
        integrator.before(fleet)
        look(fleet, model)
        integrator.after(fleet)
        fleet.graph["step"] += 1
        seen(step)


@dataclass(frozen=True)
class Samples:
    """What replicas were seen at: [times, G] kinetic and potential energy (eV), volume (Å³), cell (Å).

    conserved has a row more, the first: what it was before.
    """

    kinetic: Any
    potential: Any
    volume: Any
    cell: Any
    conserved: Any
    freedom: int

    @property
    def kelvin(self) -> Any:
        """Twice the kinetic energies over k, in K, all in a row."""
        return 2 * self.kinetic.ravel() / units.kB


def sample(fleet: Fleet, integrator: Integrator, model: Any, wait: int, every: int, times: int) -> Samples:
    """Take `wait` steps, then look every so many steps, `times` times."""
    rows: list[tuple[Any, ...]] = []
    advance(fleet, integrator, model, wait)
    conserved = [integrator.conserved(fleet).numpy().copy()]
    for _ in range(times):
        advance(fleet, integrator, model, every)
        cell = fleet.graph["cell"]
        seen = (kinetic_energy(fleet), fleet.graph["energy"], torch.linalg.det(cell).abs(), cell)
        rows.append(tuple(value.numpy().copy() for value in seen))
        conserved.append(integrator.conserved(fleet).numpy().copy())
    arrays = [np.stack(column) for column in zip(*rows, strict=True)]
    return Samples(*arrays, conserved=np.stack(conserved), freedom=int(fleet.graph["freedom"][0]))


def gas(seed: int, atoms: int = 8, temperature_K: float = 300.0, length: float = 20.0) -> Atoms:
    """Argon at random places in a cube, with zero total momentum."""
    random = np.random.default_rng(seed)
    places = random.uniform(0, length, (atoms, 3))
    found = Atoms(f"Ar{atoms}", positions=places, cell=[length] * 3, pbc=True)
    thermal_momenta(found, temperature_K, seed)
    return found


def crystal(seed: int, temperature_K: float) -> Atoms:
    """A cube of four copper atoms on their lattice, twice as hot: half of that goes to the springs."""
    found = bulk("Cu", cubic=True)
    thermal_momenta(found, 2 * temperature_K, seed)
    return found


def stop(atoms: Atoms) -> None:
    """Take the motion of the centre of mass away."""
    masses, momenta = atoms.get_masses()[:, None], atoms.get_momenta()
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
