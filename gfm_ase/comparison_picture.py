"""The picture of a comparison: errors against what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gfm_ase.plots import new_figure
from train.comparison_rows import ERRORS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = "#1f5fa8", "#c8553d", "0.55"
FRONT = "none is both cheaper and better"
RADII = (9.0, 16.0, 25.0, 36.0, 50.0, 66.0)
"""Points from a mark to its label; farther ones are tied to the mark by a line."""


@dataclass(frozen=True)
class Mark:
    """A backbone in a panel: µs per atom of energy and forces, and a mean absolute error."""

    name: str
    cost: float
    error: float


def comparison_figure(rows: Sequence[Row]) -> Figure:
    """A panel for each data set: error of the forces (of the energy where forces are unknown) against their cost.

    Errors are those of the validation splits: by them, and not by the test splits, something is chosen. The line joins
    the backbones that none other beats in both.

    Raises:
        ValueError: no backbone has a result; or matplotlib is not installed.
    """
    panels = {name: _marks(rows, name) for row in rows if row.status == "finished" for name in row.valid}
    panels = {name: found for name, found in panels.items() if found[1]}
    if not panels:
        raise ValueError("no backbone has an error on a validation split: there is nothing to draw")
    figure, axes = new_figure(6.4 * len(panels), 5.2, len(panels))
    for axis, (name, (label, marks)) in zip(axes, panels.items(), strict=True):
        _panel(axis, marks)
        axis.set_title(name, fontsize=10)
        axis.set_ylabel(f"MAE of {label} (validation)", fontsize=9)
        axis.set_xlabel("energy + forces, µs per atom", fontsize=9)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # lays out: labels are placed where the marks then are
    for axis, (_, marks) in zip(axes, panels.values(), strict=True):
        _place_labels(axis, marks, canvas.get_renderer())
    return figure


def pareto_front(marks: Sequence[Mark]) -> list[Mark]:
    """Those that no other beats in cost and error, the cheapest first."""
    front: list[Mark] = []
    for mark in sorted(marks, key=lambda one: (one.cost, one.error)):
        if not front or mark.error < front[-1].error:
            front.append(mark)
    return front


def _marks(rows: Sequence[Row], dataset: str) -> tuple[str, list[Mark]]:
    energy, forces = ERRORS[0], ERRORS[1]
    finished = [row for row in rows if row.status == "finished" and row.energy_forces_atoms_per_s > 0]
    key, label, factor = forces if any(forces[0] in row.valid.get(dataset, {}) for row in finished) else energy
    return label, [
        Mark(row.backbone, 1e6 / row.energy_forces_atoms_per_s, factor * row.valid[dataset][key])
        for row in finished
        if key in row.valid.get(dataset, {})
    ]


def _panel(axis: Axes, marks: Sequence[Mark]) -> None:
    front = pareto_front(marks)
    axis.set_xscale("log")
    axis.set_yscale("log")
    if len(front) > 1:
        axis.plot(
            [m.cost for m in front], [m.error for m in front], "-", color=RED, linewidth=1.2, zorder=1, label=FRONT
        )
        axis.legend(fontsize=8, frameon=False, loc="upper right")
    best = {mark.name for mark in front}
    for mark in marks:
        colour = RED if mark.name in best else BLUE
        axis.plot(mark.cost, mark.error, "o", markersize=6, color=colour, zorder=3)
    for side, values in (("x", [m.cost for m in marks]), ("y", [m.error for m in marks])):
        low, high = min(values), max(values)
        room = max(1.25, (high / low) ** 0.12)
        getattr(axis, f"set_{side}lim")(low / room, high * room)
        _readable_ticks(getattr(axis, f"{side}axis"), high / low)
    axis.grid(color="0.92", which="both")
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8, which="both")


def _readable_ticks(axis: Any, span: float) -> None:
    """Plain numbers; more of them where the values span less than a decade or two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0) if span < 4 else (1.0, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span > 30 else steps, numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _place_labels(axis: Axes, marks: Sequence[Mark], renderer: Any) -> None:
    """Names beside their marks, each at the nearest place where it covers no mark and no other name."""
    points = {m.name: axis.transData.transform((m.cost, m.error)) for m in marks}
    scale = axis.figure.dpi / 72.0  # pixels in a point
    taken = [_box(point, (7.0 * scale, 7.0 * scale)) for point in points.values()]
    front = [points[mark.name] for mark in pareto_front(marks)]
    for start, end in pairwise(front):
        along = np.linspace(0, 1, 2 + int(np.linalg.norm(end - start) / (3 * scale)))
        taken += [_box(start + part * (end - start), (3 * scale, 3 * scale)) for part in along]
    legend = axis.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent(renderer).extents)
    frame = axis.get_window_extent(renderer)
    limits = np.array([frame.x0, frame.y0, frame.x1, frame.y1])
    for mark in sorted(marks, key=lambda one: one.error):
        text = axis.annotate(
            mark.name, (mark.cost, mark.error), (0, 0), textcoords="offset points", fontsize=8, ha="center", va="center"
        )
        extent = text.get_window_extent(renderer)
        size = (extent.width + 2 * scale, extent.height)
        offset, box, radius = _free_place(points[mark.name], size, taken, limits, scale)
        taken.append(box)
        text.set_position((offset[0] / scale, offset[1] / scale))
        if radius > RADII[1]:
            axis.annotate(
                "",
                (mark.cost, mark.error),
                (offset[0] / scale, offset[1] / scale),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 5, "shrinkB": 3},
                zorder=2,
            )


def _free_place(
    point: Any, size: tuple[float, float], taken: Sequence[Any], limits: Any, scale: float
) -> tuple[Any, Any, float]:
    """Offset in pixels, box and radius of the first place that is free; the one that covers least where none is."""
    best: tuple[float, Any, Any, float] | None = None
    for radius in RADII:
        for angle in np.deg2rad([0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202]):
            way = np.array([np.cos(angle), np.sin(angle)])
            reach = radius * scale
            offset = way * reach + np.array([way[0] * size[0] / 2, way[1] * size[1] / 2])
            box = _box(point + offset, size)
            outside = max(0.0, *(limits[:2] - box[:2]), *(box[2:] - limits[2:]))
            covered = sum(_overlap(box, other) for other in taken) + 1e3 * outside
            if covered == 0:
                return offset, box, radius
            if best is None or covered < best[0]:
                best = (covered, offset, box, radius)
    assert best is not None
    return best[1], best[2], best[3]


def _box(centre: Any, size: tuple[float, float]) -> Any:
    half = np.array(size) / 2
    return np.concatenate([np.asarray(centre) - half, np.asarray(centre) + half])


def _overlap(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return float(width * height) if width > 0 and height > 0 else 0.0
