"""From columns of a fleet back to ASE's atoms, and to outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from md_workflows.batched.doubts import doubt_columns, note_row
from md_workflows.batched.dynamics.base import kinetic_energy
from md_workflows.batched.dynamics.doubting import Doubting
from md_workflows.batched.dynamics.observed import temperature
from md_workflows.batched.dynamics.state import Gone
from md_workflows.batched.fleet import Fleet
from md_workflows.candidates import candidate
from md_workflows.md import EnergySummary
from md_workflows.md_many import MDOutcome

ATOMS = ("positions", "momenta", "forces")
GRAPH = ("cell", "energy", "stress", "step", "timestep_fs", "key")


def frames_of(given: Sequence[Atoms], fleet: Fleet, rows: Sequence[int]) -> list[Atoms]:
    """Copies of those of `given` that `rows` of a fleet are, as they are there, with their results."""
    starts = fleet.starts().tolist()
    atom = {name: fleet.atom[name].cpu().numpy() for name in ATOMS}
    graph = {name: fleet.graph[name].cpu().numpy() for name in GRAPH}
    doubts = doubt_columns(fleet)
    found = []
    for row in rows:
        mine = slice(starts[row], starts[row + 1])
        frame = given[int(graph["key"][row])].copy()
        frame.set_cell(graph["cell"][row], apply_constraint=False)
        frame.set_positions(atom["positions"][mine], apply_constraint=False)
        frame.set_momenta(atom["momenta"][mine], apply_constraint=False)
        step = int(graph["step"][row])
        frame.info.update(step=step, time_fs=step * float(graph["timestep_fs"][row]))
        energy = float(graph["energy"][row])
        results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": atom["forces"][mine].copy()}
        if np.isfinite(graph["stress"][row]).all():
            results["stress"] = full_3x3_to_voigt_6_stress(graph["stress"][row])
        note_row(frame, doubts, row, mine)
        frame.calc = SinglePointCalculator(frame, **results)
        found.append(frame)
    return found


def outcome_of(given: Sequence[Atoms], gone: Gone, fleet: Fleet | None) -> MDOutcome:
    """What became of a run, from a fleet of it alone at its last good geometry; None where there never was one."""
    if fleet is None:
        nan = float("nan")
        return MDOutcome(gone.key, None, 0, 0.0, nan, None, gone.stopped, gone.seconds)
    frame = frames_of(given, fleet, [0])[0]
    potential, kinetic = float(fleet.graph["energy"][0]), float(kinetic_energy(fleet)[0])
    drift = (potential + kinetic - float(fleet.graph["start_energy"][0])) / len(frame)
    return MDOutcome(
        index=gone.key,
        atoms=frame,
        steps=frame.info["step"],
        time_fs=frame.info["time_fs"],
        temperature_K=float(temperature(fleet)[0]),
        energies=EnergySummary(potential, kinetic, potential + kinetic, drift),
        stopped=gone.stopped,
        seconds=gone.seconds,
        doubts=Doubting.found(fleet),
    )


def candidates_of(
    given: Sequence[Atoms], fleet: Fleet, rows: Sequence[int], source: Callable[[int], str]
) -> list[Atoms]:
    """The structures of `rows` for labelling: their source, by key, uncertainties, and no energies and forces."""
    kelvin = temperature(fleet)
    found = []
    for frame, row in zip(frames_of(given, fleet, rows), rows, strict=True):
        key = int(fleet.graph["key"][row])
        found.append(candidate(frame, source=source(key), temperature_K=float(kelvin[row])))
    return found
