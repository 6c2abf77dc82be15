"""Tables and pictures of dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.card.subject import Record, number, table
from benchmarks.molecules.bonds import BROKEN
from benchmarks.molecules.distances import BINS, FARTHEST
from benchmarks.molecules.findings import AWAY
from benchmarks.molecules.runs import FRAME_FS
from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def section(records: Mapping[str, Record]) -> str:
    """What there is: molecules at each temperature, crystals, time steps."""
    parts = []
    for name, record in records.items():
        kind = name.partition("_")[0]
        parts += [SECTIONS[kind](record)]
    if any(name.startswith("molecules") for name in records):
        parts.append("![Distances between atoms against DFT](pictures/model_md.png)")
    return "\n\n".join(parts)


def _cost(record: Record) -> str:
    return (
        f"a step of all took {record['cpu_ms']:.0f} ms of processor time ({record['wall_ms']:.0f} ms of a shared"
        f" machine): {record['ns_a_day']:.2g} ns a day of all together"
    )


def molecules_section(record: Record) -> str:
    """A row for each molecule."""
    rows = []
    for row in record["rows"]:
        rows.append(
            [
                row["name"],
                str(row["atoms"]),
                failures(row["failed_ps"], record),
                temperature(row),
                f"{row['largest']:.2f} ({row['dft_largest']:.2f})",
                f"{100 * row['transfers']:.2g} ({100 * row['dft_transfers']:.2g})",
                f"{number(row['h_error'])} ({row['h_noise']:.2g})",
            ]
        )
    columns = [
        "molecule",
        "atoms",
        "first failure, ps",
        "mean T, K",
        "largest change of a bond, Å (DFT, 500 K)",
        "frames with a moved proton, % (DFT)",
        "error of h(r) (DFT's own)",
    ]
    many = "" if record["replicas"] == 1 else f", {record['replicas']} runs of each"
    title = (
        f"**{record['picoseconds']:g} ps at {record['temperature_K']:.0f} K{many}**, steps of"
        f" {record['timestep_fs']:g} fs, looked at every {FRAME_FS:g} fs; {_cost(record)}. A failure: a bond is"
        f" {BROKEN:g} Å longer or shorter than at the start."
    )
    return "\n\n".join([title, table(columns, rows)])


def failures(times: list[float], record: Record) -> str:
    """When the first of the runs failed, and how many did."""
    if not times:
        return f"none in {record['replicas'] * record['picoseconds']:g}"
    of = "" if record["replicas"] == 1 else f" ({len(times)} of {record['replicas']})"
    return f"**{times[0]:.2f}**{of}"


def temperature(row: Record) -> str:
    """With its standard error."""
    return "–" if row["mean_K"] is None else f"{row['mean_K']:.1f} ± {row['error_K']:.1f}"


def crystals_section(record: Record) -> str:
    """A row for each crystal."""
    rows = [
        [
            row["name"],
            f"{row['picoseconds']:g}",
            "none" if row["failed_ps"] is None and not row["stopped"] else f"**{row['failed_ps']} {row['stopped']}**",
            temperature(row),
            f"{row['farthest']:.2f}",
        ]
        for row in record["rows"]
    ]
    title = (
        f"**Crystals at {record['temperature_K']:.0f} K**, steps of {record['timestep_fs']:g} fs; {_cost(record)}. A"
        f" failure: an atom is farther from its site than {AWAY:g} of the distance of neighbours."
    )
    columns = ["crystal", "ps", "first failure, ps", "mean T, K", "farthest from a site, of that distance"]
    return "\n\n".join([title, table(columns, rows)])


def steps_section(record: Record) -> str:
    """A row for each time step: the worst molecule, and the mean of the ten."""
    rows = []
    for one in record["runs"]:
        drifts = {name: row["drift"] for name, row in one["molecules"].items()}
        worst = max(drifts, key=lambda name: abs(drifts[name]))
        error = one["molecules"][worst]["drift_error"]
        ripples = [row["ripple"] for row in one["molecules"].values()]
        rows.append(
            [
                f"{one['timestep_fs']:g}",
                f"{np.mean(list(drifts.values())):+.2g}",
                f"{drifts[worst]:+.2g} ± {error:.1g} ({worst})",
                f"{np.mean(ripples):.2g}",
                f"{max(ripples):.2g}",
            ]
        )
    columns = ["step, fs", "mean drift, meV/atom/ps", "worst drift", "mean ripple, meV/atom", "worst ripple"]
    title = f"**Which time step**: NVE of the ten molecules for {record['picoseconds']:g} ps at about"
    return "\n\n".join([f"{title} {record['temperature_K']:.0f} K.", table(columns, rows)])


SECTIONS = {"molecules": molecules_section, "crystals": crystals_section, "steps": steps_section}


def pictures(records: Mapping[str, Record]) -> dict[str, Figure]:
    """h(r) of each molecule at the highest temperature there is, over that of DFT."""
    found = [record for name, record in records.items() if name.startswith("molecules")]
    if not found:
        return {}
    hottest = max(found, key=lambda record: float(record["temperature_K"]))
    figure, axes = new_figure(13.0, 5.0, 5, 2)
    edges = np.linspace(0.0, FARTHEST, BINS + 1)
    for axis, row in zip(axes, hottest["rows"], strict=False):
        axis.stairs(row["curves"]["dft"], edges, fill=True, color="0.8", label="DFT, 500 K")
        if "md" in row["curves"]:
            label = f"this model, {hottest['temperature_K']:.0f} K"
            axis.stairs(row["curves"]["md"], edges, color="#1f5fa8", linewidth=0.9, label=label)
        axis.set_title(f"{row['name']}: {number(row['h_error'])}", fontsize=9)
        last = edges[int(np.flatnonzero(row["curves"]["dft"])[-1]) + 1]
        axis.set_xlim(0.8, last + 0.2)
        axis.tick_params(labelsize=7)
        axis.set_yticks([])
    axes[0].legend(fontsize=7, frameon=False)
    figure.suptitle("distribution of distances between atoms, Å, and the integral of its error", fontsize=10)
    return {"model_md.png": figure}
