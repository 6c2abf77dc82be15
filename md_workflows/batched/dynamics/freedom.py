"""Degrees of freedom, and the temperature that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.dynamics.base import kinetic_energy
from md_workflows.batched.fleet import Fleet


def freedom(fleet: Fleet, internal: Tensor) -> Tensor:
    """[G] components of momenta that are free, less, where `internal` [G], those of the total momentum.

    A component of the total momentum stays zero, and is no degree of freedom, where every atom may move along it: then
    forces sum to zero, and nothing outside takes momentum up.
    """
    free = fleet.sum(fleet.atom["free"])
    whole = free == fleet.graph["count"][:, None]
    return free.sum(1) - torch.where(internal, whole.sum(1), 0)


def freedom_of(fleet: Fleet, ensembles: Sequence[Any]) -> Tensor:
    """[G] the freedom that the settings `degrees` ask for."""
    return freedom(fleet, torch.tensor([each.degrees == "internal" for each in ensembles], device=fleet.device))


def temperature(fleet: Fleet) -> Tensor:
    """[G] K: twice the kinetic energy over k times the degrees of freedom, the column "freedom"."""
    thermal = 2 * kinetic_energy(fleet) / fleet.graph["freedom"]
    return thermal / float(units.kB)
