"""The picture of a plan: efficiency against processes, and what a step is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from train.plan.planning import Planned

BLUE, RED, GREEN, GREY = "#1f5fa8", "#c8553d", "#4a8f4a", "0.55"
PARTS = (
    ("computing", "computing", BLUE),
    ("waiting", "waiting for the slowest", "#8fb4dc"),
    ("reducing", "sums of gradients", RED),
    ("loading", "assembling batches", "#e3b23c"),
    ("updating", "optimizer", GREEN),
    ("saving", "saving states", GREY),
)


def plan_figure(planned: Planned) -> Figure:
    """Two panels.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure, (left, right) = new_figure(12.0, 4.6, 2)
    _efficiency(left, planned)
    _parts(right, planned)
    machine = planned.plan.machine
    structures = sum(one.count for one in planned.plan.populations)
    figure.suptitle(
        f"{machine.name}: {planned.plan.work.weights:,} weights, {structures:,} structures, predicted", fontsize=10
    )
    return figure


def _efficiency(axis: Any, planned: Planned) -> None:
    scaling = planned.scaling
    curves = (
        (planned.strong, f"strong, {scaling.per_step:,} packed batches a step", BLUE, "o-"),
        (planned.fixed, f"strong, batches of {scaling.fixed_count} structures", RED, "s--"),
        (planned.weak, f"weak, {scaling.per_rank} packed batch{'es' * (scaling.per_rank > 1)} a process", GREEN, "^:"),
    )
    for points, label, colour, style in curves:
        ranks = [point.ranks for point in points]
        axis.plot(ranks, [100 * point.efficiency for point in points], style, color=colour, markersize=4, label=label)
    axis.axhline(100, color=GREY, linewidth=0.8, zorder=0)
    axis.set_ylim(0, 108)
    axis.set_ylabel(f"speed of a process, % of that of {scaling.ranks[0]:,}", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="lower left")
    _logarithmic(axis, scaling.ranks)


def _parts(axis: Any, planned: Planned) -> None:
    points = planned.strong
    below = [0.0] * len(points)
    places = range(len(points))
    for name, label, colour in PARTS:
        shares = [100 * getattr(point.time, name) / point.time.total for point in points]
        if max(shares) < 0.05:
            continue
        axis.bar(places, shares, 0.8, bottom=below, color=colour, label=label)
        below = [low + share for low, share in zip(below, shares, strict=True)]
    axis.set_xticks(list(places), [f"{point.ranks:,}" for point in points], rotation=45, ha="right")
    axis.set_ylim(0, 100)
    axis.set_xlabel("processes", fontsize=9)
    axis.set_ylabel("share of a step, % (strong, packed)", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _logarithmic(axis: Any, ranks: tuple[int, ...]) -> None:
    from matplotlib.ticker import NullLocator

    axis.set_xscale("log", base=2)
    axis.set_xticks(list(ranks), [f"{number:,}" for number in ranks], rotation=45, ha="right")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("processes", fontsize=9)
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)
