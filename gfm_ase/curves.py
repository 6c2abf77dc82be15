"""Pictures of what happens along time: the learning curves of a run, energies along a trajectory."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

COLOURS = ("#1f5fa8", "#c8553d", "#3a7d44", "#7b4fa3", "#b8860b", "#2b8c8c")
GREY = "0.55"
CURVES = (
    ("energy_mae_eV_per_atom", "energy MAE, meV/atom", 1e3),
    ("forces_mae_eV_per_A", "forces MAE, meV/Å", 1e3),
)


def learning_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, and errors of each data set, against the epoch; dashed is what a predictor without a network gets.

    Beside them the energy that was used, where it was metered.

    Args:
        rows: of a run's journal, see `train.journal.read_journal`.

    Raises:
        ValueError: there is no row; or matplotlib is not installed.
    """
    if not rows:
        raise ValueError("the journal of the run is empty: there is nothing to draw before the first validation")
    epochs = [row["epoch"] for row in rows]
    metered = [row for row in rows if row.get("energy_J") is not None]
    figure, axes = new_figure(15.5 if metered else 12.0, 3.6, 1 + len(CURVES) + bool(metered))
    for name, label, colour in (("train_loss", "training", GREY), ("valid_loss", "validation", "black")):
        axes[0].plot(epochs, [row[name] for row in rows], ".-", color=colour, label=label)
    axes[0].set_title("loss", fontsize=10)
    for axis, (key, title, factor) in zip(axes[1:], CURVES, strict=False):
        for colour, dataset in zip(COLOURS * len(rows[0]["valid"]), rows[0]["valid"], strict=False):
            errors = [row["valid"][dataset] for row in rows]
            if key not in errors[0]:
                continue
            axis.plot(epochs, [factor * error[key] for error in errors], ".-", color=colour, label=dataset)
            axis.axhline(factor * errors[0][f"trivial_{key}"], color=colour, linestyle="--", linewidth=1)
        axis.set_title(f"{title} (validation)", fontsize=10)
    if metered:
        _draw_energy(axes[-1], metered)
    for axis in axes[: 1 + len(CURVES)]:
        _log_axis(axis)
    for axis in axes:
        axis.locator_params(axis="x", nbins=8, integer=True)
        axis.set_xlabel("epoch", fontsize=9)
        axis.legend(fontsize=8, frameon=False)
    return figure


def _draw_energy(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Energy used so far; the words of its source say where it is an estimate."""
    unit, size = ("kWh", 3.6e6) if rows[-1]["energy_J"] >= 3.6e5 else ("kJ", 1e3)
    label = "\n".join(wrap(rows[-1]["energy_source"], 34))
    used = [row["energy_J"] / size for row in rows]
    axis.plot([row["epoch"] for row in rows], used, ".-", color=COLOURS[2], label=label)
    axis.set_ylim(bottom=0.0)
    axis.set_title(f"energy used, {unit}", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.grid(color="0.92")


def _log_axis(axis: Any) -> None:
    """Logarithmic, with numbers that a person reads also where the curves span less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=8)
    axis.grid(color="0.92")


@dataclass(frozen=True)
class EnergiesAlong:
    """Energies of frames of a trajectory by another method, the one to compare with.

    Attributes:
        name: of the method.
        time_fs: [F] of the frames.
        energy_eV_per_atom: [F] potential energies.
    """

    name: str
    time_fs: Floats
    energy_eV_per_atom: Floats


def read_md_log(path: Path) -> dict[str, Floats]:
    """The columns of the log that `md_workflows.run_md` writes; NaN where a row has no number.

    Raises:
        ValueError: the file holds no row.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path} holds no row; it must be the log of an MD run")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def md_figure(log: Mapping[str, Floats], reference: EnergiesAlong, *, target_K: float | None = None) -> Figure:
    """Potential energy beside the reference's, total energy and temperature along an MD.

    Args:
        log: columns as `read_md_log` gives them.
        reference: energies of another method on frames of the run.
        target_K: temperature of the thermostat, drawn as a line; with one, the total energy is no conserved quantity.
    """
    time_ps = log["time_fs"] / 1000
    potential = log["potential_energy_eV_per_atom"]
    total = log["total_energy_eV_per_atom"]
    figure, axes = new_figure(12.0, 3.4, 3)
    axes[0].plot(time_ps, 1e3 * (potential - potential[0]), color=COLOURS[0], linewidth=1.2, label="potential")
    other = 1e3 * (reference.energy_eV_per_atom - potential[0])
    axes[0].plot(reference.time_fs / 1000, other, "o", markersize=3, color=COLOURS[1], label=reference.name)
    axes[0].set_title("potential energy above the start, meV/atom", fontsize=10)
    axes[0].legend(fontsize=8, frameon=False)
    axes[1].plot(time_ps, 1e3 * (total - total[0]), color=COLOURS[2], linewidth=1.2, label="total energy")
    axes[1].set_title("change of total energy, meV/atom", fontsize=10)
    if target_K is None:  # a conserved quantity is to be judged beside what is exchanged all the time
        axes[1].plot(time_ps, 1e3 * (potential - potential[0]), color="0.8", linewidth=0.8, zorder=1, label="potential")
        axes[1].legend(fontsize=8, frameon=False)
    axes[2].plot(time_ps, log["temperature_K"], color=COLOURS[3], linewidth=1.2)
    axes[2].set_title("temperature, K", fontsize=10)
    if target_K is not None:
        axes[2].axhline(target_K, color=GREY, linestyle="--", linewidth=1)
    for axis in axes:
        axis.locator_params(axis="x", nbins=6)
        axis.set_xlabel("time, ps", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(color="0.92")
    return figure
