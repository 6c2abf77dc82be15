"""Guards over a fleet: who has to stop after a step, and why."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import covalent_radii
from torch import Tensor

from md_workflows.batched.dynamics.base import Integrator
from md_workflows.batched.dynamics.observed import temperature
from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.batched.verlet import BatchedVerlet, StructuresFailedError
from md_workflows.md_guards import MDGuards

SKIN = 0.5
"""Å, of the short lists in which the closest pair is looked for."""

LIMITS = {
    "max_drift": "max_drift_eV_per_atom",
    "min_distance": "min_distance_of_radii",
    "max_temperature": "max_temperature_K",
}
"""Columns [G] of a fleet, NaN where a structure has no such limit, and the settings they come from."""


class Watch:
    """The guards of a run.

    Args:
        guards: of each structure, by its key.
        integrator: says what is conserved.
    """

    def __init__(self, guards: Sequence[MDGuards], integrator: Integrator) -> None:
        self._guards, self._integrator = guards, integrator
        self._on = {column: any(getattr(one, of) is not None for one in guards) for column, of in LIMITS.items()}
        self._near: BatchedVerlet | None = None

    def columns(self, fleet: Fleet) -> None:
        """Add the limits, and what the conserved energy was at the start."""
        for column, of in LIMITS.items():
            values = [getattr(self._guards[key], of) for key in fleet.keys]
            numbers = [float("nan") if value is None else value for value in values]
            fleet.graph[column] = torch.tensor(numbers, dtype=DOUBLE, device=fleet.device)
        fleet.graph["conserved_start"] = torch.zeros_like(fleet.graph["energy"])

    def start(self, fleet: Fleet) -> None:
        """Take note of the conserved energy at the start."""
        if self._on["max_drift"]:
            fleet.graph["conserved_start"].copy_(self._integrator.conserved(fleet))

    def check(self, fleet: Fleet) -> dict[int, str]:
        """The reason for each row that has to stop."""
        if not any(self._on.values()):
            return {}
        touching, values = self._values(fleet)
        bad = torch.zeros_like(fleet.graph["pbc"][:, 0])
        beyond = {}
        for column, value in values.items():
            limit = fleet.graph[column]
            within = value >= limit if column == "min_distance" else value <= limit
            beyond[column] = torch.isfinite(limit) & ~within  # so that NaN is beyond
            bad |= beyond[column]
        if not touching and not bool(bad.any()):
            return {}
        return touching | {row: self._reason(row, fleet, beyond, values) for row in bad.nonzero()[:, 0].tolist()}

    def _values(self, fleet: Fleet) -> tuple[dict[int, str], dict[str, Tensor]]:
        """Rows whose atoms are in one place, and what is compared with the limits."""
        touching: dict[int, str] = {}
        values: dict[str, Tensor] = {}
        if self._on["max_drift"]:
            drift = self._integrator.conserved(fleet) - fleet.graph["conserved_start"]
            values["max_drift"] = drift.abs() / fleet.graph["count"]
        if self._on["max_temperature"]:
            values["max_temperature"] = temperature(fleet)
        if self._on["min_distance"]:
            try:
                values["min_distance"] = self._closest(fleet)
            except StructuresFailedError as failure:
                touching = failure.reasons
        return touching, values

    def _closest(self, fleet: Fleet) -> Tensor:
        """[G] smallest distance of two atoms over the sum of their covalent radii; infinite where none is near."""
        radii = torch.from_numpy(covalent_radii).to(fleet.device)
        if self._near is None:
            largest = max(one.min_distance_of_radii or 0.0 for one in self._guards)
            self._near = BatchedVerlet(2 * largest * float(radii.max()), SKIN)
        pairs = self._near.update(fleet)
        neighbour, centre = pairs.edge_index
        owner = fleet.atom["owner"].index_select(0, centre)
        image = torch.einsum("ek,ekc->ec", pairs.shift, fleet.graph["cell"].index_select(0, owner))
        positions, numbers = fleet.atom["positions"], fleet.atom["numbers"]
        apart = (positions.index_select(0, neighbour) + image - positions.index_select(0, centre)).norm(dim=1)
        ratio = apart / (radii[numbers[neighbour]] + radii[numbers[centre]])
        return torch.full_like(fleet.graph["energy"], torch.inf).scatter_reduce(0, owner, ratio, "amin")

    def _reason(self, row: int, fleet: Fleet, beyond: dict[str, Tensor], values: dict[str, Tensor]) -> str:
        column = next(name for name, rows in beyond.items() if bool(rows[row]))
        value, limit = float(values[column][row]), float(fleet.graph[column][row])
        said = {
            "max_drift": f"the conserved energy drifted by {value:.4g} eV/atom, more than {limit:g}",
            "min_distance": f"two atoms came closer than {limit:g} of their covalent radii (to {value:.3f})",
            "max_temperature": f"the temperature reached {value:.6g} K, more than {limit:g}",
        }
        return said[column]
