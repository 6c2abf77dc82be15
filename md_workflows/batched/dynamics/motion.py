"""Molecular dynamics of a fleet: every structure with its own settings, clock, guards and end."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from ase import Atoms, units
from torch import Tensor

from md_workflows.batched.constraints import free_components
from md_workflows.batched.dynamics.base import Integrator, kinetic_energy
from md_workflows.batched.dynamics.doubting import Doubting
from md_workflows.batched.dynamics.registry import check_ensemble
from md_workflows.batched.dynamics.watch import Watch
from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.md import MDSettings
from md_workflows.uncertainty import MARK, Level
from md_workflows.velocities import draw_velocities

GOOD = ("momenta", "forces")
GOOD_OF_ALL = ("energy", "stress", "step")
"""Columns that are noted at the last geometry at which nothing stopped a structure, beside what the model tells and the
mark; as good_energy and so on. Positions and cell are noted by `Advance`."""


class Observer(Protocol):
    """Writes down what is due."""

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where a structure cannot be observed."""

    def look(self, fleet: Fleet, rows: list[int]) -> dict[int, str]:
        """Show the present geometry of these rows to reporters; returns a reason for each row that they refuse."""

    def frames(self, fleet: Fleet, rows: list[int]) -> None:
        """The present frames of these rows."""

    def keep(self, fleet: Fleet, rows: list[int]) -> None:
        """The present structures of these rows, as candidates for labelling."""

    def log(self, fleet: Fleet, rows: list[int]) -> None:
        """The present lines of the log of these rows."""


@dataclass(frozen=True)
class Plan:
    """What a call of many runs does: settings of each structure, by key, and what looks on.

    rest: called with the fleet before each step, when everything is known of its geometry · looks: from look to look of
    reporters, in steps.
    """

    settings: Sequence[MDSettings]
    observer: Observer
    rest: Callable[[Fleet], None]
    looks: Sequence[int] = ()


@dataclass(frozen=True)
class Driver:
    """What is to be known of the model: its name in messages, whether it gives stresses, what it tells beside."""

    name: str
    has_stress: bool
    outputs: Mapping[str, Level]


class MolecularDynamics:
    """Moves structures by an integrator until each has taken its steps or a guard stops it."""

    def __init__(self, integrator: Integrator, watch: Watch, doubting: Doubting, plan: Plan, driver: Driver) -> None:
        self._integrator, self._watch, self._doubting, self._plan = integrator, watch, doubting, plan
        self._has_stress, self._name = driver.has_stress, driver.name
        self._good: dict[Level, list[str]] = {"atom": list(GOOD), "graph": list(GOOD_OF_ALL)}
        for output, level in driver.outputs.items():
            self._good[level].append(output)
        self._good["graph"] += [MARK] if doubting.on else []
        self._coming: dict[int, Atoms] = {}
        self._stopped: dict[int, str] = {}

    def admit(self, key: int, atoms: Atoms) -> None:
        """Draw velocities where they are due; raise ValueError where the settings make no sense for a structure."""
        settings = self._plan.settings[key]
        if settings.ensemble.needs_stress and not self._has_stress:
            raise ValueError(
                f"{type(settings.ensemble).__name__} needs the stress, which {self._name} does not give; "
                "use another calculator or a constant-volume ensemble."
            )
        own = atoms.copy()
        draw_velocities(own, settings)
        check_ensemble(own, settings.ensemble)
        self._plan.observer.check(own)
        self._coming[key] = own

    def columns(self, fleet: Fleet) -> None:
        """Add those of motion, clock, guards and integrator."""
        coming = [self._coming.pop(key) for key in fleet.keys]
        settings = [self._plan.settings[key] for key in fleet.keys]

        def numbers(values: Sequence[float], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=fleet.device)

        fleet.atom["free"] = torch.from_numpy(np.concatenate([free_components(one) for one in coming])).to(fleet.device)
        fleet.atom["momenta"] = torch.from_numpy(np.concatenate([one.get_momenta() for one in coming])).to(fleet.device)
        counted = [int(one.get_number_of_degrees_of_freedom()) for one in coming]
        seeds = [int(getattr(one.ensemble, "seed", 0)) for one in settings]
        fleet.graph.update(
            timestep_fs=numbers([one.timestep_fs for one in settings], DOUBLE),
            timestep=numbers([one.timestep_fs * units.fs for one in settings], DOUBLE),
            step=torch.zeros_like(fleet.graph["count"]),
            steps=numbers([one.steps for one in settings], torch.int64),
            frame_every=numbers([one.trajectory_interval for one in settings], torch.int64),
            log_every=numbers([one.log_interval for one in settings], torch.int64),
            seed=numbers(seeds, torch.int64),
            counted=numbers(counted, torch.int64),
            start_energy=torch.zeros_like(fleet.graph["energy"]),
        )
        self._watch.columns(fleet)
        self._doubting.columns(fleet)
        for level, names in self._good.items():
            columns = fleet.of(level)
            columns.update({f"good_{name}": torch.zeros_like(columns[name]) for name in names})
        fleet.graph["good_energy"].fill_(torch.nan)
        self._integrator.columns(fleet, [one.ensemble for one in settings])

    def resume(self, fleet: Fleet) -> None:
        """Structures of a state go on: the columns are there, the integrator learns what their settings have alike."""
        self._integrator.columns(fleet.copy(), [self._plan.settings[key].ensemble for key in fleet.keys])

    def start(self, fleet: Fleet) -> None:
        """Take note of the energies at the start."""
        fleet.graph["start_energy"].copy_(fleet.graph["energy"] + kinetic_energy(fleet))
        self._watch.start(fleet)

    def move(self, fleet: Fleet) -> dict[int, str]:
        """Go to the geometry of the next step."""
        self._plan.rest(fleet)
        for level, names in self._good.items():
            columns = fleet.of(level)
            for name in names:
                columns[f"good_{name}"].copy_(columns[name])
        self._integrator.before(fleet)
        return {}

    def arrive(self, fleet: Fleet) -> None:
        """Complete the step."""
        self._integrator.after(fleet)
        fleet.graph["step"] += 1

    def finished(self, fleet: Fleet) -> Tensor:
        """[G] who has taken all steps or has to stop; what is due of the others is written down."""
        stopping = self._watch.check(fleet)
        doubted, keep = self._doubting.look(fleet, stopping)
        if keep:
            self._plan.observer.keep(fleet, keep)
        stopping |= doubted
        stopping |= self._look(fleet, stopping)
        step = fleet.graph["step"]
        events = torch.stack([step % fleet.graph["frame_every"] == 0, step % fleet.graph["log_every"] == 0])
        done = step >= fleet.graph["steps"]
        if stopping:
            keys = fleet.keys
            self._stopped |= {keys[row]: reason for row, reason in stopping.items()}
            bad = torch.zeros_like(done)
            bad[list(stopping)] = True
            done, events = done | bad, events & ~bad
        if bool(events.any()):
            frames, lines = (rows.nonzero()[:, 0].tolist() for rows in events)
            self._plan.observer.frames(fleet, frames)
            self._plan.observer.log(fleet, lines)
        return done

    def _look(self, fleet: Fleet, stopping: Container[int]) -> dict[int, str]:
        """Let reporters look at those that are due and have not to stop; a reason for each that they refuse."""
        if not self._plan.looks:
            return {}
        due = torch.stack([fleet.graph["step"] % every == 0 for every in self._plan.looks]).any(0)
        rows = [row for row in due.nonzero()[:, 0].tolist() if row not in stopping]
        return self._plan.observer.look(fleet, rows) if rows else {}

    def leave(self, keys: list[int]) -> None:
        """Nothing is kept of those that have gone but why they stopped, for `take_reason`."""
        for key in keys:  # who was admitted and never got columns
            self._coming.pop(key, None)

    def take_reason(self, key: int) -> str:
        """Why a guard has stopped a structure that leaves; empty where none has."""
        return self._stopped.pop(key, "")


def last_good(fleet: Fleet) -> Fleet | None:
    """The structures at their last good geometry; None for one that never had any."""
    if not bool(torch.isfinite(fleet.graph["good_energy"]).all()):
        return None
    atom, graph = (
        columns | {name.removeprefix("good_"): good for name, good in columns.items() if name.startswith("good_")}
        for columns in (fleet.atom, fleet.graph)
    )
    return Fleet(atom, graph)
