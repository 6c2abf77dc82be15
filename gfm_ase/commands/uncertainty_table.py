"""Coverage and rank correlation of uncertainties as a table, and as numbers with names."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from train.calibration.measures import Measures
    from train.calibration.measures import Table as Measured

UNITS: dict[str, tuple[str, str, float]] = {
    "energy": ("eV", "meV", 1e3),
    "forces": ("eV_per_A", "meV/Å", 1e3),
    "stress": ("eV_per_A3", "GPa", 160.21766208),
}

SHOWN = (0.5, 0.9, 0.95)
"""Coverages of the table; a row has those that were calibrated."""


def uncertainty_table(measures: Measured, title: str, shown: Sequence[float] = SHOWN) -> Table:
    """Coverage with its 90 % band, rank correlation with the true error, error, half-width; by quantity and element."""
    table = Table(title=title, title_justify="left")
    for column in ("quantity", "of", "structures"):
        table.add_column(column, justify="left" if column != "structures" else "right")
    for column in (*(f"{100 * level:g} % hold" for level in shown), "Spearman", "RMSE", "half-width"):
        table.add_column(column, justify="right")
    for quantity, groups in measures.items():
        _, unit, factor = UNITS[quantity]
        for which, one in groups.items():
            cells = [coverage_cell(one, level) for level in shown]
            at = one.at(0.9)
            width = "" if at is None else f"{factor * at.half_width:.3g}"
            rank = f"{one.spearman:.2f}"
            table.add_row(
                f"{quantity}, {unit}", which, f"{one.structures:,}", *cells, rank, f"{factor * one.rmse:.3g}", width
            )
    return table


def coverage_cell(one: Measures, level: float) -> str:
    """Share of errors inside, in per cent, and its band; nothing where the level was not calibrated."""
    at = one.at(level)
    return "" if at is None else f"{100 * at.found:.1f} ({100 * at.low:.1f}-{100 * at.high:.1f})"


def as_errors(measures: Measured) -> dict[str, float]:
    """The same of all elements together, as `errors_table` has its numbers: units in the names."""
    found = {}
    for quantity, groups in measures.items():
        unit, one = UNITS[quantity][0], groups["all"]
        found[f"{quantity}_spearman"] = one.spearman
        for at in one.coverage:
            found[f"{quantity}_coverage_{at.stated:g}"] = at.found
            found[f"{quantity}_half_width_{at.stated:g}_{unit}"] = at.half_width
    return {name: value for name, value in found.items() if isfinite(value)}  # a correlation may not exist
