"""Coverage and rank correlation of uncertainties as a table, and as numbers with names."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from rich.table import Table

from potentials.calibration import COVERAGE

if TYPE_CHECKING:
    from train.calibration.measures import Measures
    from train.calibration.measures import Table as Measured

UNITS: dict[str, tuple[str, str, float]] = {
    "energy": ("eV", "meV", 1e3),
    "forces": ("eV_per_A", "meV/Å", 1e3),
    "stress": ("eV_per_A3", "GPa", 160.21766208),
}

LEVEL = COVERAGE
"""The coverage that the table is about; the other levels stand in JSON files and pictures."""


def uncertainty_table(measures: Measured, title: str) -> Table:
    """Coverage with its 90 % band, rank correlation with the true error, error, half-width; by quantity and element."""
    table = Table(title=title, title_justify="left")
    for column in ("quantity", "of"):
        table.add_column(column)
    for column in ("n", f"{100 * LEVEL:g} % hold", "95 %", "Spearman", "RMSE", "width"):
        table.add_column(column, justify="right")
    for quantity, groups in measures.items():
        _, unit, factor = UNITS[quantity]
        for which, one in groups.items():
            at, other = one.at(LEVEL), one.at(0.95)
            cells = [f"{one.structures:,}", coverage_cell(one), "" if other is None else f"{100 * other.found:.1f}"]
            cells += [f"{one.spearman:.2f}", f"{factor * one.rmse:.3g}"]
            cells.append("" if at is None else f"± {factor * at.half_width:.3g}")
            table.add_row(f"{quantity}, {unit}", which, *cells)
    return table


def coverage_cell(one: Measures) -> str:
    """Share of errors inside intervals of 90 %, in per cent, ± half a 90 % band; nothing where there are none."""
    at = one.at(LEVEL)
    return "" if at is None else f"{100 * at.found:.1f} ± {50 * (at.high - at.low):.1f}"


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
