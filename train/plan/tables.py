"""Plans as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from train.plan.scaling import Point

COLUMNS = (
    "processes",
    "nodes",
    "step ms",
    "computing %",
    "waiting %",
    "sums %",
    "other %",
    "efficiency %",
    "atoms/s",
    "epoch h",
    "node-hours",
    "MWh",
)

NARROW = ("nodes", "other %", "atoms/s")
"""Columns that a terminal narrower than `WIDE` has no room for; plan.json has all."""

WIDE = 130


def rows(points: Sequence[Point]) -> list[list[str]]:
    """A row for each number of processes, in the order of `COLUMNS`; hours and energy are of an epoch."""
    return [_row(point) for point in points]


def _row(point: Point) -> list[str]:
    time = point.time
    other = time.updating + time.loading + time.saving
    shares = (100 * part / time.total for part in (time.computing, time.waiting, time.reducing, other))
    return [
        f"{point.ranks:,}",
        f"{point.nodes:,}",
        f"{1e3 * time.total:,.1f}",
        *(f"{share:.1f}" for share in shares),
        f"{100 * point.efficiency:.1f}",
        f"{point.atoms_per_second:,.0f}",
        f"{point.epoch_hours:,.4g}",
        f"{point.node_hours:,.4g}",
        "" if point.energy_kWh is None else f"{point.energy_kWh / 1e3:,.3g}",
    ]
