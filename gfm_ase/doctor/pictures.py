"""Curves behind the verdicts, as figures: dimers, dynamics, the way of an atom among others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gfm_ase.doctor.findings import Report, Verdict
from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, GREY, AMBER = "#1f5fa8", "#b3261e", "0.6", "#a86a00"
COLOURS = {Verdict.PASS: BLUE, Verdict.WARN: AMBER, Verdict.FAIL: RED}
COLUMNS = 4


def pictures(report: Report) -> list[tuple[Figure, str]]:
    """Figures with their captions, of the checks that were made."""
    data = {row.name: row.finding.data for row in report.rows}
    found = []
    if data.get("dimers", {}).get("curves"):
        found.append((dimer_figure(data["dimers"]["curves"]), DIMERS))
    if data.get("nve", {}).get("runs"):
        found.append((nve_figure(data["nve"]), NVE))
    if data.get("path_scan", {}).get("paths"):
        found.append((path_figure(data["path_scan"]), PATHS))
    if data.get("environments", {}).get("atoms"):
        found.append((score_figure(data["environments"]["atoms"]), SCORES))
    return found


DIMERS = (
    "Energy of two atoms by their distance, zero where they are far apart. Grey: closer than any bond, where the energy"
    " has to rise to the left. Dashed: where the interaction ends. Red curves have a hole, amber ones a far hole or a"
    " second minimum."
)
NVE = (
    "Total energy in dynamics without a thermostat, with a time step and its half, from the same start. Ripple is the"
    " integrator's and shrinks with the square of the step; a slope is not."
)
PATHS = "Energy and force as one atom is moved through the others. Steps and kinks would be neighbours that come or go."
SCORES = (
    "How far each atom is from the training data: 1 is the distance that one in a hundred of the training atoms"
    " themselves exceeds."
)


def dimer_figure(curves: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each pair."""
    rows = math.ceil(len(curves) / COLUMNS)
    figure, _ = new_figure(2.75 * min(COLUMNS, max(2, len(curves))), 2.35 * rows)
    figure.clear()
    axes = figure.subplots(rows, min(COLUMNS, len(curves)), squeeze=False).ravel()
    for axis, curve in zip(axes, curves, strict=False):
        distances, energies = np.asarray(curve["distances"]), np.asarray(curve["energies"])
        shortest = 0.7 * curve["bonded"]
        outer = energies[(distances >= shortest) & np.isfinite(energies)]
        depth = max(0.5, float(-outer.min(initial=0.0)))
        axis.axvspan(distances[0], shortest, color="0.92", zorder=0)
        axis.axhline(0, color=GREY, linewidth=0.7)
        axis.axvline(curve["end"], color=GREY, linewidth=0.8, linestyle="--")
        axis.plot(distances, energies, color=COLOURS[curve["verdict"]], linewidth=1.4)
        lowest = min(-1.4 * depth, float(np.nanmin(np.where(np.isfinite(energies), energies, np.nan))) * 1.05)
        axis.set_ylim(max(lowest, -40 * depth), 3 * depth)
        axis.set_xlim(distances[0], min(distances[-1], 8.0))
        axis.set_title(curve["pair"], fontsize=10)
        axis.tick_params(labelsize=8)
        axis.set_xlabel("distance, Å", fontsize=8)
        axis.set_ylabel("energy, eV", fontsize=8)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    return figure


def nve_figure(data: Mapping[str, Any]) -> Figure:
    """Both runs, in meV per atom from their start."""
    figure, (axis,) = new_figure(8.6, 2.9)
    for run, colour in zip(data["runs"], (BLUE, "#c8553d"), strict=True):
        energies = 1e3 * (np.asarray(run["energies"]) - run["energies"][0])
        axis.plot(run["times_fs"], energies, color=colour, linewidth=1, label=f"{run['timestep_fs']:.2g} fs")
    axis.set_xlabel("time, fs", fontsize=9)
    axis.set_ylabel("total energy, meV/atom", fontsize=9)
    axis.set_title(str(data["structure"]), fontsize=10, parse_math=False)
    axis.tick_params(labelsize=8)
    axis.legend(title="time step", fontsize=8, title_fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def path_figure(data: Mapping[str, Any]) -> Figure:
    """A column for each structure: energy above, force below."""
    paths = data["paths"]
    figure, _ = new_figure(3.3 * max(2, len(paths)), 4.2)
    figure.clear()
    axes = figure.subplots(2, len(paths), squeeze=False, sharex=True)
    for column, path in enumerate(paths):
        energies = np.asarray(path["energies"])
        above = energies - np.nanmin(np.where(np.isfinite(energies), energies, np.nan))
        for axis, values in zip(axes[:, column], (above, path["forces"]), strict=True):
            axis.plot(path["places"], values, ".-", color=BLUE, linewidth=1, markersize=3)
            axis.tick_params(labelsize=8)
        axes[0, column].set_title(str(path["structure"])[:38], fontsize=9, parse_math=False)
        axes[1, column].set_xlabel("moved by, Å", fontsize=9)
    axes[0, 0].set_ylabel("energy, eV", fontsize=9)
    axes[1, 0].set_ylabel("force along, eV/Å", fontsize=9)
    return figure


def score_figure(atoms: Sequence[Mapping[str, Any]]) -> Figure:
    """A histogram of the scores, a colour for each element."""
    figure, (axis,) = new_figure(8.6, 2.7)
    symbols = sorted({each["element"] for each in atoms})
    highest = max((each["score"] for each in atoms if np.isfinite(each["score"])), default=1.0)
    edges = np.linspace(0, max(1.5, min(highest, 20.0)) * 1.05, 41)
    groups = [np.clip([e["score"] for e in atoms if e["element"] == symbol], 0, edges[-1] - 1e-9) for symbol in symbols]
    axis.hist(groups, bins=edges.tolist(), stacked=True, label=symbols)
    axis.axvline(1.0, color=RED, linewidth=1, linestyle="--")
    axis.set_xlabel("distance to the training data", fontsize=9)
    axis.set_ylabel("atoms", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
