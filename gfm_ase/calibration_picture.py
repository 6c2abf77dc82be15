"""Pictures of what uncertainties are worth; needs the extra `report` (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gfm_ase.commands.uncertainty_table import UNITS
from gfm_ase.plots import new_figure
from potentials.calibration import COVERAGE
from train.calibration.measures import (
    ALL,
    Measures,
    by_element,
    normal_widths,
    standard_deviation,
    widths,
    widths_by_others,
)
from train.calibration.samples import QUANTITIES, Floats, Sample, Samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from potentials.calibration import HeadCalibration, QuantityName

COLOURS = ("#1f5fa8", "#c4561c", "#2f8f5b", "#8a4f9e", "#a88a1f", "#4aa3b5")
RAW = "0.55"
BINS = 12
FEW = 600
"""Values that are drawn as points; more, as hexagons."""
PANELS = 3
NAMES = {"energy": "energy of a structure", "forces": "force components", "stress": "stress components"}

Sets = Mapping[str, tuple[Samples, "HeadCalibration | None"]]
"""Errors of each set of structures and the calibration judged; none: each fifth, by a calibration on the others."""


def calibration_figure(sets: Sets, title: str) -> Figure:
    """A row for each quantity: reliability, errors against uncertainties, coverage by set and element."""
    rows = [
        name
        for name in QUANTITIES
        if any(name in samples and _judged(sets, which, name) for which, (samples, _) in sets.items())
    ]
    figure, axes = new_figure(14.0, 4.2 * len(rows), PANELS, len(rows))
    for row, name in enumerate(rows):
        drawn = {which: _stated(sets, which, name) for which in sets if _judged(sets, which, name)}
        panels = axes[PANELS * row : PANELS * (row + 1)]
        measures = {which: by_element(sample, widths_L) for which, (sample, widths_L) in drawn.items()}
        _reliability(panels[0], name, measures, drawn)
        _errors(panels[1], name, drawn)
        _bars(panels[2], measures)
    figure.suptitle(title, fontsize=11)
    return figure


def _judged(sets: Sets, which: str, name: QuantityName) -> bool:
    samples, calibration = sets[which]
    return name in samples and (calibration is None or name in calibration.quantities)


def _stated(sets: Sets, which: str, name: QuantityName) -> tuple[Sample, dict[float, Floats]]:
    samples, calibration = sets[which]
    sample = samples[name]
    return sample, widths_by_others(sample) if calibration is None else widths(sample, calibration.quantities[name])


def _reliability(
    axis: Any, name: str, measures: Mapping[str, Mapping[str, Measures]], drawn: Mapping[str, Any]
) -> None:
    """Share of errors inside against what was stated, with bands, and what normal errors would have it be."""
    axis.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=1)
    for (which, groups), colour in zip(measures.items(), _colours(len(measures)), strict=True):
        coverage = groups[ALL].coverage
        stated, found = [one.stated for one in coverage], [one.found for one in coverage]
        axis.fill_between(
            stated, [one.low for one in coverage], [one.high for one in coverage], color=colour, alpha=0.2, linewidth=0
        )
        axis.plot(stated, found, "o-", color=colour, markersize=4, label=which)
        sample = drawn[which][0]
        raw = by_element(sample, normal_widths(sample))[ALL].coverage
        axis.plot([one.stated for one in raw], [one.found for one in raw], ":", color=colour, linewidth=1)
    axis.plot([], [], ":", color=RAW, label="as standard deviation")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="coverage stated", ylabel="coverage found")
    axis.set_title(NAMES[name], fontsize=10)
    axis.legend(fontsize=8, loc="upper left", frameon=False)


def _errors(axis: Any, name: str, drawn: Mapping[str, tuple[Sample, dict[float, Floats]]]) -> None:
    """Hexagons of errors over standard deviations, and quantiles of the error beside those of normal errors."""
    unit, factor = UNITS[name][1:]
    pairs = [(standard_deviation(widths_L), np.abs(sample.error)) for sample, widths_L in drawn.values()]
    sigma, error = (factor * np.concatenate(parts) for parts in zip(*pairs, strict=True))
    low = float(max(np.quantile(error, 0.02), error.max() / 1e4, 1e-12)) / 3
    shown = np.maximum(error, low)
    if len(error) > FEW:
        settings = {"xscale": "log", "yscale": "log", "gridsize": 45, "mincnt": 1, "cmap": "Blues", "bins": "log"}
        axis.hexbin(sigma, shown, linewidths=0.1, **settings)
    else:
        axis.loglog(sigma, shown, ".", color="#1f5fa8", alpha=0.5, markersize=4)
    ends = np.array([sigma.min(), sigma.max()])
    edges = np.quantile(sigma, np.linspace(0, 1, BINS + 1))
    bins = [(sigma >= low_edge) & (sigma <= high_edge) for low_edge, high_edge in pairwise(edges)]
    bins = [inside for inside in bins if inside.sum() >= BINS]
    middle = [float(np.median(sigma[inside])) for inside in bins]
    for share, normal, colour in ((0.5, 0.6745, "#2f8f5b"), (0.9, 1.6449, "#c4561c")):
        axis.plot(ends, normal * ends, color=colour, linewidth=0.8, linestyle="--")
        axis.plot(
            middle,
            [np.quantile(error[inside], share) for inside in bins],
            "o-",
            color=colour,
            markersize=3,
            label=f"{100 * share:g} % of errors below",
        )
    axis.plot([], [], "--", color=RAW, linewidth=0.8, label="of normal errors")
    axis.set(xlabel=f"calibrated standard deviation, {unit}", ylabel=f"|error|, {unit}", ylim=(low, None))
    _decades(axis)
    axis.legend(fontsize=8, loc="upper left", frameon=False)


def _bars(axis: Any, measures: Mapping[str, Mapping[str, Measures]]) -> None:
    """Coverage of 90 % intervals of each set, and of each element in it that has most values."""
    rows = []
    for which, groups in measures.items():
        elements = sorted((one for one in groups if one != ALL), key=lambda one: -groups[one].values)
        for group in (ALL, *elements[:BINS]):
            if (at := groups[group].at(COVERAGE)) is not None:
                rows.append(
                    (
                        which if group == ALL else group,
                        at,
                        COLOURS[list(measures).index(which) % len(COLOURS)],
                        group == ALL,
                    )
                )
    places = np.arange(len(rows))[::-1]
    for place, (_, at, colour, whole) in zip(places, rows, strict=True):
        axis.barh(place, 100 * at.found, color=colour, alpha=0.9 if whole else 0.45, height=0.7)
        axis.plot([100 * at.low, 100 * at.high], [place, place], color="0.2", linewidth=1)
    axis.axvline(100 * COVERAGE, color="0.2", linewidth=1, linestyle="--")
    axis.set_yticks(places, [row[0] for row in rows], fontsize=8)
    lowest = min([80.0, *(100 * row[1].low - 2 for row in rows)])
    axis.set(xlim=(lowest, 100), ylim=(min(-0.5, len(rows) - 4.5), len(rows) - 0.5))
    axis.set(xlabel=f"% of errors inside intervals of {100 * COVERAGE:g} %")


def _decades(axis: Any) -> None:
    """Labels at 1, 2 and 5 of each decade, so that they do not run into each other."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        one.set_major_formatter(FormatStrFormatter("%g"))
        one.set_minor_formatter(NullFormatter())


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]
