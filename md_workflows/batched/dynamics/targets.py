"""Temperatures and pressures that are held: columns of points, as functions of each structure's step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.ramps import MAX_POINTS, Schedule, points_of


def of_settings(fleet: Fleet, ensembles: Sequence[Any], name: str) -> Tensor:
    """[G] a number of each structure's settings."""
    return torch.tensor([getattr(each, name) for each in ensembles], dtype=DOUBLE, device=fleet.device)


def add_target(fleet: Fleet, name: str, schedules: Sequence[Schedule]) -> None:
    """Columns of `name`: steps and values [G, MAX_POINTS], the last point repeated."""
    rows = []
    for schedule in schedules:
        points = points_of(schedule)
        rows.append((*points, *(points[-1:] * (MAX_POINTS - len(points)))))
    steps = torch.tensor([[step for step, _ in row] for row in rows], device=fleet.device)
    values = torch.tensor([[value for _, value in row] for row in rows], dtype=DOUBLE, device=fleet.device)
    fleet.graph.update({f"{name}_steps": steps, f"{name}_values": values})


def target(fleet: Fleet, name: str) -> Tensor:
    """[G] what holds during the step that comes after `step` steps; see `ramps.value_at`."""
    steps, values, now = fleet.graph[f"{name}_steps"], fleet.graph[f"{name}_values"], fleet.graph["step"]
    place = ((steps <= now[:, None]).sum(1) - 1).clamp(0, MAX_POINTS - 2)[:, None]
    begin, end = steps.gather(1, place)[:, 0], steps.gather(1, place + 1)[:, 0]
    low, high = values.gather(1, place)[:, 0], values.gather(1, place + 1)[:, 0]
    part = (now - begin).double() / (end - begin).clamp_min(1)
    return torch.add(low, (high - low) * part.clamp(0, 1))


def add_temperature(fleet: Fleet, ensembles: Sequence[Any]) -> None:
    """The target of the temperature, and its value now as kT [G] eV."""
    add_target(fleet, "temperature", [each.temperature_K for each in ensembles])
    fleet.graph["kT"] = units.kB * target(fleet, "temperature")


def add_pressure(fleet: Fleet, ensembles: Sequence[Any]) -> None:
    """The target of the pressure, and its value now, "pressure" [G] eV/Å³."""
    add_target(fleet, "pressure", [each.pressure_GPa for each in ensembles])
    fleet.graph["pressure"] = units.GPa * target(fleet, "pressure")


def follow(fleet: Fleet) -> None:
    """Take kT and pressure to this step."""
    fleet.graph["kT"].copy_(units.kB * target(fleet, "temperature"))
    if "pressure" in fleet.graph:
        fleet.graph["pressure"].copy_(units.GPa * target(fleet, "pressure"))
