"""Plans as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from train.plan.scaling import Point

COLUMNS = (
    "ranks",
    "nodes",
    "step, s",
    "useful %",
    "wait %",
    "sums %",
    "other %",
    "effic. %",
    "atoms/s",
    "epoch, h",
    "node h",
    "kWh",
)

NARROW = ("nodes", "other %", "atoms/s")
"""Columns that a terminal narrower than `WIDE` has no room for; plan.json has all."""

WIDE = 130


def rows(points: Sequence[Point]) -> list[list[str]]:
    """A row for each number of processes, in the order of `COLUMNS`; hours and energy are of an epoch.

    Shares are of the time of a step; sums are those of gradients; other is optimizer, loader and saved states.
    """
    return [_row(point) for point in points]


def _row(point: Point) -> list[str]:
    time = point.time
    other = time.updating + time.loading + time.saving
    shares = (100 * part / time.total for part in (time.computing, time.waiting, time.reducing, other))
    return [
        f"{point.ranks:,}",
        f"{point.nodes:,}",
        _short(time.total),
        *(f"{share:.1f}" for share in shares),
        f"{100 * point.efficiency:.1f}",
        f"{point.atoms_per_second:,.0f}",
        _short(point.epoch_hours),
        _short(point.node_hours),
        "" if point.energy_kWh is None else _short(point.energy_kWh),
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
