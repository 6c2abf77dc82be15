"""FIRE and L-BFGS of many structures at once, step for step those of ASE.

A generalised vector has a part [N, 3] of atoms and a part [G, 3, 3] of strains, the latter times the number of atoms as
ASE's filters have it; with a fixed cell it is zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from md_workflows.batched.fleet import DOUBLE, Fleet

MAX_STEP = 0.2
"""Å; ASE's default."""


class Vector(NamedTuple):
    """A generalised vector of a fleet."""

    atoms: Tensor
    strain: Tensor

    def times(self, fleet: Fleet, factor: Tensor) -> Vector:
        """Every structure's part times its own factor [G]."""
        return Vector(fleet.of_atoms(factor)[:, None] * self.atoms, factor[:, None, None] * self.strain)

    def dot(self, fleet: Fleet, other: Vector) -> Tensor:
        """[G] scalar products."""
        return fleet.sum((self.atoms * other.atoms).sum(1)) + (self.strain * other.strain).sum((1, 2))

    def longest(self, fleet: Fleet) -> Tensor:
        """[G] the length of each structure's longest row."""
        rows = fleet.largest(self.atoms.square().sum(1))
        return torch.maximum(rows, self.strain.square().sum(2).amax(1)).sqrt()


class Descent(ABC):
    """Where to go next."""

    @abstractmethod
    def columns(self, fleet: Fleet) -> None:
        """Add what a fleet that comes in needs."""

    @abstractmethod
    def step(self, fleet: Fleet, point: Vector, force: Vector) -> Vector:
        """The step to take from a point with this force."""


class FIRE(Descent):
    """Fast inertial relaxation engine: Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), as `ase.optimize.FIRE`."""

    dt, dt_max, n_min, f_inc, f_dec, a_start, f_a = 0.1, 1.0, 5, 1.1, 0.5, 0.1, 0.99

    def columns(self, fleet: Fleet) -> None:
        """Velocities, time step, mixing and steps downhill; -1 of these before the first step."""
        fleet.atom["velocity"] = torch.zeros_like(fleet.atom["positions"])
        number = torch.zeros(fleet.n_structures, dtype=DOUBLE, device=fleet.device)
        fleet.graph.update(
            velocity=torch.zeros_like(fleet.graph["cell"]),
            dt=number + self.dt,
            mixing=number + self.a_start,
            downhill=number - 1,
        )

    def step(self, fleet: Fleet, point: Vector, force: Vector) -> Vector:  # noqa: ARG002 - it has no memory of points
        """The step to take."""
        velocity = Vector(fleet.atom["velocity"], fleet.graph["velocity"])
        dt, mixing, steps = fleet.graph["dt"], fleet.graph["mixing"], fleet.graph["downhill"]
        first = steps < 0
        down = (force.dot(fleet, velocity) > 0) & ~first
        up = ~down & ~first
        faster = down & (steps > self.n_min)
        lengths = velocity.dot(fleet, velocity).sqrt() / force.dot(fleet, force).sqrt().clamp_min(1e-300)
        keep, push = torch.where(down, 1 - mixing, 0.0), torch.where(down, mixing * lengths, 0.0)
        mixing.copy_(torch.where(faster, mixing * self.f_a, torch.where(up, self.a_start, mixing)))
        dt.copy_(torch.where(faster, (dt * self.f_inc).clamp_max(self.dt_max), torch.where(up, dt * self.f_dec, dt)))
        steps.copy_(torch.where(down, steps + 1, 0.0))
        pushed = force.times(fleet, push + dt)  # by mixing, and by acceleration
        for own, more, kept in zip(velocity, pushed, (fleet.of_atoms(keep)[:, None], keep[:, None, None]), strict=True):
            own.mul_(kept).add_(more)
        length = dt * velocity.dot(fleet, velocity).sqrt()
        return velocity.times(fleet, dt * torch.where(length > MAX_STEP, MAX_STEP / length, 1.0))


class LBFGS(Descent):
    """Limited-memory BFGS without line search: as `ase.optimize.LBFGS`, with its memory of 100 steps.

    The inverse Hessian is applied in its compact form (Byrd, Nocedal & Schnabel, Math. Program. 63, 129, 1994): some
    products of all structures in place of two loops over their histories. Histories have a slot for each of the fleet's
    last steps; what a structure has not seen is zero there, and does nothing.
    """

    memory, alpha = 100, 70.0

    def __init__(self) -> None:
        self._order: list[int] = []  # slots from the oldest step to the newest
        self._slots = 16

    def columns(self, fleet: Fleet) -> None:
        """The last point and force, steps and changes of the gradient [.., 2 slots, ..], and products of these."""
        n, g, m = fleet.n_atoms, fleet.n_structures, self._slots

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=DOUBLE, device=fleet.device)

        fleet.atom.update(last_point=zeros(n, 3), last_force=zeros(n, 3), history=zeros(n, 2 * m, 3))
        fleet.graph.update(last_point=zeros(g, 3, 3), last_force=zeros(g, 3, 3), history=zeros(g, 2 * m, 3, 3))
        fleet.graph.update(products=zeros(g, 2 * m, 2 * m), taken=torch.zeros_like(fleet.graph["count"]))

    def step(self, fleet: Fleet, point: Vector, force: Vector) -> Vector:
        """The step to take."""
        taken = fleet.graph["taken"]
        self._learn(fleet, point, force)
        step = self._newton(fleet, force)
        for column, value in (("last_point", point), ("last_force", force)):
            fleet.atom[column].copy_(value.atoms)
            fleet.graph[column].copy_(value.strain)
        taken += 1
        longest = step.longest(fleet)
        return step.times(fleet, torch.where(longest >= MAX_STEP, MAX_STEP / longest, 1.0))

    def _learn(self, fleet: Fleet, point: Vector, force: Vector) -> None:
        """Put the last step and the change of the gradient into a slot."""
        knows = fleet.graph["taken"] > 0
        if not bool(knows.any()):
            return
        slot = self._slot(fleet)
        both = {"atom": (fleet.atom, 0), "graph": (fleet.graph, 1)}
        known = knows.double()
        for level, part in both.values():
            mask = fleet.of_atoms(known)[:, None] if part == 0 else known[:, None, None]
            level["history"][:, slot] = (point[part] - level["last_point"]) * mask
            level["history"][:, self._slots + slot] = (level["last_force"] - force[part]) * mask
        products = fleet.graph["products"]
        for row in (slot, self._slots + slot):
            new = Vector(fleet.atom["history"][:, row], fleet.graph["history"][:, row])
            products[:, row] = products[:, :, row] = self._with_history(fleet, new)

    def _slot(self, fleet: Fleet) -> int:
        """A free slot: one that no structure remembers, or a new one."""
        needed = min(int(fleet.graph["taken"].max()), self.memory)  # with the one to come
        while len(self._order) >= max(needed, 1):
            free = self._order.pop(0)
            if len(self._order) < needed:
                self._order.append(free)
                return free
        if len(self._order) == self._slots:
            self._grow(fleet)
        free = next(slot for slot in range(self._slots) if slot not in self._order)
        self._order.append(free)
        return free

    def _grow(self, fleet: Fleet) -> None:
        """Twice the slots."""
        m, self._slots = self._slots, 2 * self._slots
        wide = torch.arange(2 * m, device=fleet.device)
        wide = torch.where(wide < m, wide, wide + m)
        for level in (fleet.atom, fleet.graph):
            old = level["history"]
            level["history"] = old.new_zeros((old.shape[0], 4 * m, *old.shape[2:])).index_copy_(1, wide, old)
        old = fleet.graph["products"]
        new = old.new_zeros((old.shape[0], 4 * m, 4 * m))
        new[:, wide[:, None], wide[None]] = old
        fleet.graph["products"] = new

    def _with_history(self, fleet: Fleet, vector: Vector) -> Tensor:
        """[G, 2 slots] scalar products with all of the history."""
        of_atoms = torch.einsum("nmk,nk->nm", fleet.atom["history"], vector.atoms)
        return fleet.sum(of_atoms) + torch.einsum("gmij,gij->gm", fleet.graph["history"], vector.strain)

    def _newton(self, fleet: Fleet, force: Vector) -> Vector:
        """The inverse Hessian times the force."""
        start = Vector(force.atoms / self.alpha, force.strain / self.alpha)
        if not self._order:
            return start
        steps = torch.tensor(self._order, device=fleet.device)
        changes = steps + self._slots
        products = fleet.graph["products"]
        sy = products[:, steps[:, None], changes[None]]
        yy = products[:, changes[:, None], changes[None]]
        with_force = self._with_history(fleet, force)
        curvature = sy.diagonal(dim1=1, dim2=2)
        unknown = (curvature == 0).double()  # nothing stands there: its equation is 1 x = 0
        upper = torch.triu(sy) * (1 - unknown[:, :, None]) * (1 - unknown[:, None]) + torch.diag_embed(unknown)
        of_steps, of_changes = with_force[:, steps] * (1 - unknown), with_force[:, changes] * (1 - unknown)
        first = torch.linalg.solve_triangular(upper, of_steps[:, :, None], upper=True)
        inner = curvature[:, :, None] * first + (yy @ first - of_changes[:, :, None]) / self.alpha
        second = torch.linalg.solve_triangular(upper.transpose(1, 2), inner * (1 - unknown[:, :, None]), upper=False)
        weights = torch.zeros_like(with_force)
        weights[:, steps], weights[:, changes] = second[:, :, 0], -first[:, :, 0] / self.alpha
        atoms = torch.einsum("nmk,nm->nk", fleet.atom["history"], fleet.of_atoms(weights))
        strain = torch.einsum("gmij,gm->gij", fleet.graph["history"], weights)
        return Vector(start.atoms + atoms, start.strain + strain)


DESCENTS: dict[str, type[Descent]] = {"fire": FIRE, "lbfgs": LBFGS}
