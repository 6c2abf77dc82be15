"""One picture of what a trajectory tells: structure, diffusion, vibrations, and numbers along time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gfm_ase.curves import COLOURS, GREY
from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from md_workflows.analysis.analyse import Analysis

MAX_CURVES = 6
"""In one panel; more pairs of elements than these stand in the CSV."""

ALONG = (
    ("temperature_K", "temperature, K", 3),
    ("pressure_GPa", "pressure, GPa", 5),
    ("total_energy_eV", "energy above the first frame, eV", 2),
)


def analysis_figure(analysis: Analysis, title: str) -> Figure:
    """Two rows of panels; one that has no data says so.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure, _ = new_figure(13.0, 7.0)
    figure.clear()
    grid = figure.subplots(2, 4)
    tables = {
        name: {column: np.asarray(values) for column, values in table.items()}
        for name, table in analysis.tables.items()
    }
    _rdf(grid[0, 0], tables.get("rdf"))
    _msd(grid[0, 1], tables.get("msd"))
    _vacf(grid[0, 2], tables.get("vacf"))
    _vdos(grid[0, 3], tables.get("vdos"))
    for axis, (column, label, colour) in zip(grid[1], ALONG, strict=False):
        _along(axis, tables["series"], column, label, COLOURS[colour])
    _diffusion(grid[1, 3], tables.get("vacf"))
    for axis in grid.flat:
        axis.tick_params(labelsize=8)
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
        axis.locator_params(axis="x", nbins=6)
    figure.suptitle(f"{title}, {analysis.frames:,} frames", fontsize=10)
    return figure


def _empty(axis: Any, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.text(
        0.5, 0.5, "not in this trajectory", ha="center", va="center", color=GREY, fontsize=9, transform=axis.transAxes
    )
    axis.set_xticks([])
    axis.set_yticks([])


def _named(table: dict[str, Any], first: str, unit: str) -> list[tuple[str, Any]]:
    """The curves of the elements, by name; that of all atoms where there is one element only."""
    names = [
        name for name in table if name.startswith(f"{first}_") and name.endswith(unit) and name != f"{first}{unit}"
    ]
    if len(names) < 2:
        return [("all atoms", table[f"{first}{unit}"])]
    return [(name.removeprefix(f"{first}_").removesuffix(unit), table[name]) for name in names]


def _curves(axis: Any, x: Any, curves: list[tuple[str, Any]]) -> None:
    shown = sorted(curves, key=lambda curve: -float(np.nanmax(np.abs(curve[1]), initial=0.0)))[:MAX_CURVES]
    for colour, (name, values) in zip(COLOURS, [curve for curve in curves if curve[0] in dict(shown)], strict=False):
        axis.plot(x, values, color=colour, linewidth=1.2, label=name)
    axis.legend(fontsize=8, frameon=False)


def _rdf(axis: Any, table: dict[str, Any] | None) -> None:
    if table is None:
        _empty(axis, "radial distribution g(r)")
        return
    axis.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    _curves(axis, table["r_A"], _named(table, "g", ""))
    _say(axis, "radial distribution g(r)", "r, Å")


def _msd(axis: Any, table: dict[str, Any] | None) -> None:
    if table is None:
        _empty(axis, "mean squared displacement, Å²")
        return
    _curves(axis, table["time_fs"] / 1000, _named(table, "msd", "_A2"))
    _say(axis, "mean squared displacement, Å²", "time difference, ps")


def _vacf(axis: Any, table: dict[str, Any] | None) -> None:
    if table is None:
        _empty(axis, "velocity autocorrelation")
        return
    axis.axhline(0.0, color=GREY, linewidth=0.8)
    curves = _named(table, "vacf", "_A2_per_fs2")
    _curves(axis, table["time_fs"] / 1000, [(name, values / (values[0] or 1.0)) for name, values in curves])
    _say(axis, "velocity autocorrelation, over that at 0", "time difference, ps")


def _vdos(axis: Any, table: dict[str, Any] | None) -> None:
    if table is None:
        _empty(axis, "vibrational density of states, 1/THz")
        return
    curves = _named(table, "vdos", "_per_THz")
    _curves(axis, table["frequency_THz"], curves)
    total = np.cumsum(table["vdos_per_THz"])
    above = np.flatnonzero(total > 0.97 * total[-1])
    last = table["frequency_THz"][min(int(1.25 * above[0]) + 2, len(total) - 1)] if total[-1] > 0 else None
    axis.set_xlim(0, last)
    _say(axis, "vibrational density of states, 1/THz", "frequency, THz")


def _along(axis: Any, table: dict[str, Any], column: str, label: str, colour: str) -> None:
    values = table[column]
    if not np.isfinite(values).any():
        _empty(axis, label)
        return
    if column == "total_energy_eV":
        potential = table["potential_energy_eV"]
        axis.plot(table["time_fs"] / 1000, potential - potential[0], color="0.75", linewidth=0.8, label="potential")
        axis.plot(table["time_fs"] / 1000, values - values[0], color=colour, linewidth=1.0, label="total")
        axis.legend(fontsize=8, frameon=False)
    else:
        axis.plot(table["time_fs"] / 1000, values, color=colour, linewidth=0.8)
        axis.axhline(np.nanmean(values), color="black", linewidth=0.8, linestyle="--")
    _say(axis, label, "time, ps")


def _diffusion(axis: Any, table: dict[str, Any] | None) -> None:
    title = "Green–Kubo diffusion, cm²/s"
    if table is None:
        _empty(axis, title)
        return
    axis.axhline(0.0, color=GREY, linewidth=0.8)
    _curves(axis, table["time_fs"] / 1000, _named(table, "diffusion", "_cm2_per_s"))
    axis.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _say(axis, title, "integrated up to, ps")


def _say(axis: Any, title: str, x: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
