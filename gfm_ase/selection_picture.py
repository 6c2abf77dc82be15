"""One picture of a selection: where the chosen structures lie among the others, and how uncertain they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gfm_ase.curves import COLOURS, GREY
from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from md_workflows.selection import Selection

MOST = 5000
"""Points of a kind that are drawn: a random choice beyond."""


def selection_figure(selection: Selection) -> Figure:
    """The plane in which candidates differ most (principal components), and the distribution of uncertainties.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure, (plane, bars) = new_figure(11.0, 4.8, 2)
    rng = np.random.default_rng(0)
    place = {name: index for index, name in enumerate(selection.identifiers)}
    chosen = np.array([place[choice.identifier] for choice in selection.chosen], dtype=int)
    middle, turn, share = _plane(selection.vectors, rng)
    points = (selection.vectors - middle) @ turn
    known = (_few(selection.known, rng) - middle) @ turn
    shown = _few(np.arange(len(points)), rng)
    uncertain = bool(np.isfinite(selection.uncertainty).any())
    _plot_plane(plane, points[shown], selection.uncertainty[shown] if uncertain else None, known, points[chosen])
    plane.set_xlabel(f"first principal component ({share[0]:.0%} of the variance)", fontsize=9)
    plane.set_ylabel(f"second ({share[1]:.0%})", fontsize=9)
    if uncertain:
        _plot_uncertainties(bars, selection.uncertainty, selection.uncertainty[chosen])
    else:
        _plot_distances(bars, [choice.distance for choice in selection.chosen])
    for axis in (plane, bars):
        axis.tick_params(labelsize=8)
        axis.set_axisbelow(True)
        axis.grid(color="0.92")
    figure.suptitle(f"{len(chosen)} chosen of {len(points):,} candidates", fontsize=10)
    return figure


def _few(rows: Any, rng: np.random.Generator) -> Any:
    return rows if len(rows) <= MOST else rows[np.sort(rng.choice(len(rows), MOST, replace=False))]


def _plane(vectors: Any, rng: np.random.Generator) -> tuple[Any, Any, tuple[float, float]]:
    """The mean, the two directions of largest variance [256, 2] and their shares of it."""
    few = _few(vectors, rng).astype(float)
    if not len(few):
        return np.zeros(vectors.shape[1]), np.eye(vectors.shape[1])[:, :2], (0.0, 0.0)
    middle = few.mean(axis=0)
    values, directions = np.linalg.eigh((few - middle).T @ (few - middle))
    total = max(float(values.sum()), 1e-300)
    return middle, directions[:, [-1, -2]], (float(values[-1]) / total, float(values[-2]) / total)


def _plot_plane(axis: Any, points: Any, uncertainty: Any, known: Any, chosen: Any) -> None:
    if len(known):
        axis.plot(*known.T, "o", markersize=5, fillstyle="none", color=GREY, label="labelled already", zorder=1)
    if uncertainty is None:
        axis.plot(*points.T, ".", markersize=4, color=COLOURS[0], alpha=0.5, label="candidates", zorder=2)
    else:
        from matplotlib.colors import LogNorm

        order = np.argsort(np.nan_to_num(uncertainty))  # the most uncertain on top
        positive = uncertainty[uncertainty > 0]
        norm = LogNorm(positive.min(), positive.max()) if len(positive) and np.ptp(positive) else None
        style = {"s": 9, "cmap": "viridis", "linewidths": 0, "zorder": 2, "norm": norm}
        drawn = axis.scatter(*points[order].T, c=uncertainty[order], label="candidates", **style)
        axis.figure.colorbar(drawn, ax=axis, pad=0.01).set_label("uncertainty, eV/Å", fontsize=9)
    axis.plot(
        *chosen.T, "o", markersize=8, fillstyle="none", color=COLOURS[1], markeredgewidth=1.4, label="chosen", zorder=3
    )
    axis.legend(fontsize=8, loc="best", framealpha=0.9)


def _plot_uncertainties(axis: Any, candidates: Any, chosen: Any) -> None:
    finite = candidates[np.isfinite(candidates)]
    low, high = float(finite.min()), float(finite.max())
    edges = np.geomspace(max(low, 1e-9), max(high, 1e-9) * 1.0001, 31) if high > low > 0 else 20
    axis.hist(finite, edges, color=GREY, label="candidates")
    axis.hist(chosen[np.isfinite(chosen)], edges, color=COLOURS[1], label="chosen")
    if not isinstance(edges, int):
        axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("uncertainty, eV/Å", fontsize=9)
    axis.set_ylabel("structures", fontsize=9)
    axis.legend(fontsize=8)


def _plot_distances(axis: Any, distances: list[float]) -> None:
    finite = [(rank, value) for rank, value in enumerate(distances, start=1) if np.isfinite(value)]
    axis.plot([rank for rank, _ in finite], [value for _, value in finite], ".-", color=COLOURS[1])
    axis.set_xlabel("rank", fontsize=9)
    axis.set_ylabel("distance to the nearest chosen or labelled one", fontsize=9)
