"""Pictures of what a potential says; needs the extra `report` (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfm_ase.commands.errors_table import GPA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {"energy": ("energy, eV/atom", 1.0), "forces": ("force components, eV/Å", 1.0), "stress": ("stress, GPa", GPA)}


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Any]]:
    """A figure with axes side by side, row after row, without any window.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("plots need the extra: pip install gfm-ase[report]") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def parity_figure(pairs: Mapping[str, Any], title: str) -> Figure:
    """Prediction against reference, a panel for each quantity; `pairs` as `Predictions.pairs` gives them."""
    figure, axes = new_figure(4.0 * len(pairs), 3.9, len(pairs))
    for axis, (name, pair) in zip(axes, pairs.items(), strict=True):
        label, factor = AXES.get(name, (f"{name}, {pair.unit}", 1.0))
        reference, predicted = factor * pair.reference.numpy(), factor * pair.predicted.numpy()
        lowest, highest = float(min(reference.min(), predicted.min())), float(max(reference.max(), predicted.max()))
        axis.plot([lowest, highest], [lowest, highest], color="0.6", linewidth=1, zorder=1)
        axis.plot(reference, predicted, ".", markersize=3, alpha=0.4, color="#1f5fa8", zorder=2, rasterized=True)
        mae = float(abs(predicted - reference).mean())
        axis.set_title(f"{label}\nMAE {mae:.3g}, {len(reference):,} values", fontsize=9)
        axis.set_xlabel("reference", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_aspect("equal", adjustable="datalim")
        axis.locator_params(nbins=5)  # long numbers, such as total energies, would run into each other
    axes[0].set_ylabel("predicted", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix; beside, then renamed.

    Raises:
        ValueError: a suffix that is no picture's.
    """
    check_picture(path)
    beside = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        figure.savefig(beside, dpi=160)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def check_picture(path: Path) -> None:
    """Raise ValueError where no picture could be drawn to `path`: a suffix that is none's, or no matplotlib."""
    if path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise ValueError(f"cannot draw to {path.name!r}; the name must end in .png, .svg or .pdf")
    new_figure(1.0, 1.0)
