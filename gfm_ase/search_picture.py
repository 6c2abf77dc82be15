"""The picture of a search: its trials and their front, the course of the best error, what the parameters matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gfm_ase.plots import new_figure
from train.search.rows import TrialRow, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = "#1f5fa8", "#c8553d", "0.6"
AXES = {"inference": ("energy + forces, µs per atom", 1e6), "energy": ("energy of the training, kJ", 1e-3)}
MOST_IMPORTANCES = 10


def search_figure(rows: Sequence[TrialRow], minimise: tuple[str, ...], importances: Mapping[str, float]) -> Figure:
    """Panels: the error against each other objective, or against the number of the trial where there is none.

    Args:
        rows: of the trials.
        minimise: objectives.
        importances: of the parameters; a panel more where there are any.

    Raises:
        ValueError: no trial has an error; or matplotlib is not installed.
    """
    shown = [row for row in rows if row.error is not None]
    if not shown:
        raise ValueError("no trial has been validated: there is nothing to draw")
    others = [name for name in minimise if name != "error"]
    columns = max(1, len(others)) + bool(importances)
    figure, axes = new_figure(5.6 * columns, 4.6, columns)
    front = pareto_front(list(rows), minimise)
    for axis, name in zip(axes, others, strict=False):
        _against(axis, shown, front, name)
    if not others:
        _course(axes[0], shown)
    if importances:
        _bars(axes[-1], importances)
    return figure


def _against(axis: Axes, rows: Sequence[TrialRow], front: Sequence[TrialRow], name: str) -> None:
    label, factor = AXES[name]
    known = []
    for row in rows:
        cost, error = row.objectives((name, "error"))
        if math.isfinite(cost):
            known.append((row, (factor * cost, error)))
    best = {row.number for row in front}
    _dots(axis, [at for row, at in known if row.state != "finished"], GREY, "not finished", marker="x")
    _dots(axis, [at for row, at in known if row.state == "finished" and row.number not in best], BLUE, "finished")
    on_front = sorted(at for row, at in known if row.number in best)
    if on_front:
        axis.plot(*zip(*on_front, strict=True), "o-", color=RED, markersize=6, linewidth=1.2, label="front")
    for row, at in known:
        if row.number in best:
            axis.annotate(f"{row.number}", at, (5, 4), textcoords="offset points", fontsize=8)
    _dress(axis, label)
    axis.set_xscale("log")


def _course(axis: Axes, rows: Sequence[TrialRow]) -> None:
    """Errors in the order of the trials, and the least so far."""
    from matplotlib.ticker import MaxNLocator

    ordered = sorted(rows, key=lambda row: row.number)
    points = [(row.state == "finished", (row.number, row.error or 0.0)) for row in ordered]
    finished = [at for over, at in points if over]
    _dots(axis, [at for over, at in points if not over], GREY, "not finished", marker="x")
    _dots(axis, finished, BLUE, "finished")
    least = [(number, min(error for _, error in finished[: place + 1])) for place, (number, _) in enumerate(finished)]
    if least:
        axis.step(*zip(*least, strict=True), where="post", color=RED, linewidth=1.2, label="least so far")
    _dress(axis, "trial")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _dots(axis: Axes, points: Sequence[Any], color: str, label: str, marker: str = "o") -> None:
    if points:
        axis.plot(*zip(*points, strict=True), marker, color=color, markersize=5, label=label)


def _dress(axis: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0), numticks=20))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(label, fontsize=9)
    axis.set_ylabel("validation error", fontsize=9)
    axis.grid(color="0.92", which="both")
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8, which="both")
    axis.legend(fontsize=8, frameon=False)


def _bars(axis: Axes, importances: Mapping[str, float]) -> None:
    items = sorted(importances.items(), key=lambda item: item[1])[-MOST_IMPORTANCES:]
    axis.barh([name for name, _ in items], [value for _, value in items], color=BLUE)
    axis.set_xlabel("importance for the error", fontsize=9)
    axis.tick_params(labelsize=8)
