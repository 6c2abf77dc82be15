"""The loop: structures come in, advance together, and leave one by one."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from ase import Atoms
from torch import Tensor

from md_workflows.attached import check_usable
from md_workflows.batched.fleet import Fleet, fleet_of, joined
from md_workflows.batched.models import Computed, Model
from md_workflows.batched.verlet import StructuresFailedError
from md_workflows.structures import one_line
from md_workflows.uncertainty import Level

REFUSED = 100
"""Structures that cannot come in, before those on their way go on."""


class Motion(Protocol):
    """How structures advance. All columns are changed in place."""

    def admit(self, key: int, atoms: Atoms) -> None:
        """Take note of a structure that comes in; raise ValueError where it cannot be advanced."""

    def columns(self, fleet: Fleet) -> None:
        """Add columns to a fleet that has just come in."""

    def start(self, fleet: Fleet) -> None:
        """The first energies, forces and stresses are there."""

    def move(self, fleet: Fleet) -> dict[int, str]:
        """Go to the next geometry; returns a reason for each row that cannot."""

    def arrive(self, fleet: Fleet) -> None:
        """Energies, forces and stresses of the new geometry are there."""

    def finished(self, fleet: Fleet) -> Tensor:
        """[G] who has come to an end."""

    def leave(self, keys: list[int]) -> None:
        """Forget those that have gone."""


@dataclass(frozen=True)
class Departure:
    """A structure that leaves.

    key: its number · fleet: it alone, at the last geometry of which energy, forces and stress are known, None where
    there is none; its column seconds is its share of the time · error: why it could not go on, empty where it came to
    its end · finite: false where numbers ran away.
    """

    key: int
    fleet: Fleet | None
    error: str = ""
    finite: bool = True


class Advance:
    """Advances a stream of structures by a motion.

    Structures are taken from the stream when the model has room for them, so that it may be endless; those that have
    finished make room. What happens to one structure does not touch the others.

    Args:
        model: computes.
        motion: moves.
    """

    def __init__(self, model: Model, motion: Motion) -> None:
        self._model, self._motion = model, motion
        self._departed: deque[Departure] = deque()
        self._costs: dict[int, float] = {}
        self._next: tuple[int, Atoms] | None = None
        self._ended = False  # the stream

    def run(self, structures: Iterable[Atoms], fleet: Fleet | None = None, first: int = 0) -> Iterator[Departure]:
        """Yield each structure once, when it leaves; keys are places in the stream.

        Args:
            structures: the stream.
            fleet: structures that are on their way, as a motion left them before a move; None where there are none.
            first: the key of the first structure of the stream.
        """
        stream = iter(enumerate(structures, first))
        if fleet is not None:
            self._costs = dict(zip(fleet.keys, fleet.graph["cost"].tolist(), strict=True))
        start = time.perf_counter()
        while True:
            if fleet is not None:
                fleet = self._move(fleet)
            moved = 0 if fleet is None else fleet.n_structures
            came = self._come(stream)
            if came is not None:
                fleet = came if fleet is None else fleet.join(came)
            if fleet is not None:
                spent, start = time.perf_counter() - start, time.perf_counter()
                fleet.graph["seconds"] += spent / fleet.n_structures
                fleet = self._computed(fleet, moved)
            yield from self._leave()
            if fleet is None and self._ended:
                return

    def _leave(self) -> Iterator[Departure]:
        while self._departed:
            departure = self._departed.popleft()
            self._costs.pop(departure.key, None)
            self._motion.leave([departure.key])
            yield departure

    def _come(self, stream: Iterator[tuple[int, Atoms]]) -> Fleet | None:
        """As many structures as there is room for, as a fleet."""
        structures: list[Fleet] = []
        load: float | None = None
        while len(self._departed) < REFUSED:  # a long row of refused ones is told as it goes
            if self._next is None:
                self._next = next(stream, None)
            if self._next is None:
                self._ended = True
                break
            if load is None:  # exact, so that it does not depend on who came and left before
                load = math.fsum(self._costs.values())
            key, atoms = self._next
            try:
                check_usable(atoms)
                self._model.check(atoms)
                cost = self._model.cost(atoms)
                if self._costs and load + cost > self._model.room:
                    break
                self._motion.admit(key, atoms)
                alone = fleet_of([atoms], [key], self._model.device)
            except Exception as error:
                self._departed.append(Departure(key, None, one_line(error)))
                self._next = None
                continue
            if not self._costs:
                self._model.forget()  # no result depends on which structures came before
            self._costs[key] = cost
            load += cost
            structures.append(alone)
            self._next = None
        if not structures:
            return None
        fleet = joined(structures)
        self._add_columns(fleet)
        return fleet

    def _add_columns(self, fleet: Fleet) -> None:
        positions, cell = fleet.atom["positions"], fleet.graph["cell"]
        fleet.atom.update(forces=torch.zeros_like(positions), good_positions=positions.clone())
        energy = torch.full_like(fleet.graph["charge"], torch.nan)
        seconds, costs = torch.zeros_like(energy), [self._costs[key] for key in fleet.keys]
        fleet.graph.update(energy=energy, stress=torch.zeros_like(cell), good_cell=cell.clone(), seconds=seconds)
        for name, level in self._model.outputs.items():
            like = energy if level == "graph" else positions[:, 0]
            fleet.of(level)[name] = torch.full_like(like, torch.nan)
        fleet.graph["cost"] = torch.tensor(costs, dtype=energy.dtype, device=energy.device)
        self._motion.columns(fleet)

    def _move(self, fleet: Fleet) -> Fleet | None:
        fleet.atom["good_positions"].copy_(fleet.atom["positions"])
        fleet.graph["good_cell"].copy_(fleet.graph["cell"])
        failed = self._motion.move(fleet)
        return self._without(fleet, failed)

    def _computed(self, fleet: Fleet, moved: int) -> Fleet | None:
        """Compute, let the motion see it, and part with those that failed or have finished."""
        staying: Fleet | None = fleet
        while staying is not None:
            try:
                computed = self._model.compute(staying)
                break
            except StructuresFailedError as failure:
                staying, moved = self._without(staying, failure.reasons), moved - _below(failure.reasons, moved)
        if staying is None:
            return None
        bad = ~(torch.isfinite(computed.energy) & (staying.sum(_not_finite(computed.forces)) == 0))
        _note(staying, computed, ~bad, self._model.outputs)
        rows = bad.nonzero()[:, 0].tolist()
        remaining = self._without(staying, dict.fromkeys(rows, ""), finite=False)
        return None if remaining is None else self._told(remaining, moved - _below(rows, moved))

    def _told(self, fleet: Fleet, moved: int) -> Fleet | None:
        if moved:
            self._motion.arrive(fleet if moved == fleet.n_structures else fleet.part(0, moved))
        if moved < fleet.n_structures:
            self._motion.start(fleet.part(moved, fleet.n_structures) if moved else fleet)
        finished = self._motion.finished(fleet)
        if not bool(finished.any()):
            return fleet
        for row in finished.nonzero()[:, 0].tolist():
            self._departed.append(Departure(int(fleet.graph["key"][row]), fleet.part(row, row + 1)))
        return None if bool(finished.all()) else fleet.keep(~finished)

    def _without(self, fleet: Fleet, failed: dict[int, str], finite: bool = True) -> Fleet | None:
        """The others; those that failed leave at their last good geometry."""
        if not failed:
            return fleet
        wanted = torch.ones(fleet.n_structures, dtype=torch.bool, device=fleet.device)
        for row, reason in failed.items():
            alone = fleet.part(row, row + 1)
            alone.atom["positions"], alone.graph["cell"] = alone.atom["good_positions"], alone.graph["good_cell"]
            known = bool(torch.isfinite(alone.graph["energy"]).all())
            key = int(fleet.graph["key"][row])
            self._departed.append(Departure(key, alone if known else None, reason, finite))
            wanted[row] = False
        return fleet.keep(wanted) if bool(wanted.any()) else None


def _note(fleet: Fleet, computed: Computed, good: Tensor, outputs: Mapping[str, Level]) -> None:
    """Put what was computed into the columns of those structures whose numbers are good."""
    good_atoms = fleet.of_atoms(good)
    of_atoms = good_atoms[:, None]
    stress = torch.full_like(fleet.graph["stress"], torch.nan) if computed.stress is None else computed.stress
    fleet.graph["energy"].copy_(torch.where(good, computed.energy, fleet.graph["energy"]))
    fleet.atom["forces"].copy_(torch.where(of_atoms, computed.forces, fleet.atom["forces"]))
    fleet.graph["stress"].copy_(torch.where(good[:, None, None], stress, fleet.graph["stress"]))
    for name, level in outputs.items():
        column = fleet.of(level)[name]
        column.copy_(torch.where(good if level == "graph" else good_atoms, computed.outputs[name], column))


def _below(rows: Iterable[int], limit: int) -> int:
    return sum(row < limit for row in rows)


def _not_finite(forces: Tensor) -> Tensor:
    return (~torch.isfinite(forces)).any(1).double()
