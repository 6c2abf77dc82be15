"""The parts of the demo's page on what was done with the potential: dynamics, relaxed cells, the screening."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from examples.demo.alloys import UNKNOWN_METAL, Candidate, Lattice
from examples.demo.dynamics import Simulation
from examples.demo.page import Cell, heading, paragraph, picture, section, table
from gfm_ase.curves import COLOURS, md_figure
from gfm_ase.plots import new_figure
from md_workflows import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MINUS = "\N{MINUS SIGN}"


def dynamics_section(simulations: Sequence[Simulation]) -> str:
    parts = []
    for one in simulations:
        drawn = md_figure(one.log, one.reference, target_K=one.target_K)
        parts += [heading(one.title), picture(drawn, _caption(one))]
    return section("Molecular dynamics", *parts)


def _caption(one: Simulation) -> str:
    error = 1e3 * abs(one.errors_eV_per_atom)
    said = (
        f"{one.n_atoms} atoms, {one.settings.steps} steps of {one.settings.timestep_fs:g} fs by the head {one.head}."
        f" Against {one.reference.name} on {len(error)} frames of it the energy is off by {error.mean():.3g} meV/atom"
        f" in the mean, by {error.max():.3g} at most."
    )
    if one.target_K is None:
        return (
            f"{said} The total energy drifts by {signed(1e3 * one.drift, '.2g')} meV/atom per ps and"
            f" never leaves its first value by more than {1e3 * one.largest_deviation:.2g} meV/atom."
        )
    temperature_K = one.log["temperature_K"]
    mean_K = temperature_K[len(temperature_K) // 2 :].mean()
    swing_K = one.target_K * (2 / (3 * one.n_atoms)) ** 0.5
    return (
        f"{said} Mean temperature in the second half {mean_K:.0f} K; the thermostat is at {one.target_K:.0f} K"
        f" (dashed), around which the temperature of {one.n_atoms} atoms swings by {swing_K:.0f} K."
    )


def relaxation_section(lattices: Sequence[Lattice]) -> str:
    rows = [
        (
            lattice.metal,
            f"{lattice.lattice_constant_A:.3f}",
            f"{lattice.reference_A:.3f}",
            signed(100 * lattice.deviation, ".2f"),
            signed(1e3 * (lattice.energy - lattice.reference_energy), ".1f"),
            str(lattice.steps),
            Cell("converged", "good") if lattice.converged else Cell("not converged", "bad"),
        )
        for lattice in lattices
    ]
    columns = ("metal", "lattice constant, Å", "EMT, Å", "deviation, %", "energy off, meV/atom", "steps", "")
    return section(
        "Relaxed cells",
        paragraph(
            "Cubic fcc cells of four atoms, stretched by 4 %, compressed by 2 % across, and rattled, relaxed by"
            " LBFGS with all of the cell free; the same by EMT. The lattice constant is the cube root of the"
            " cell's volume."
        ),
        table(columns, rows),
    )


def screening_section(candidates: Sequence[Candidate]) -> str:
    rows = []
    for candidate in candidates:
        row = candidate.row
        good = row.status is Status.CONVERGED
        rows.append(
            (
                row.identifier,
                Cell(row.status.value.replace("_", " "), "good" if good else "bad"),
                "" if row.energy_per_atom is None else signed(row.energy_per_atom, ".3f"),
                "" if candidate.formation is None else signed(1e3 * candidate.formation, ".0f"),
                "" if candidate.reference is None else signed(1e3 * candidate.reference, ".0f"),
                "" if row.fmax is None else f"{row.fmax:.3f}",
                "" if row.volume is None else f"{row.volume / row.n_atoms:.2f}",
                str(row.steps),
                Cell(row.error or ("" if candidate.met else "pair not in the training set"), "long"),
            )
        )
    columns = ("alloy", "status", "energy, eV/atom", "formation, meV/atom", "EMT, meV/atom", "fmax, eV/Å",
               "volume, Å³/atom", "steps", "")  # fmt: skip
    return section(
        "Screening",
        paragraph(
            "Ordered L1₀ alloys of all pairs of the metals, relaxed with a free cell, one row each; the same by EMT."
            f" The last has {UNKNOWN_METAL}, which no head has ever seen: its failure is a row, and not the end of"
            " the run. Formation energies are measured from the relaxed metals above."
        ),
        picture(
            formation_figure(candidates),
            "Formation energies of the ordered alloys, by EMT and by the potential. Pairs with a star are not in"
            " the training set.",
        ),
        table(columns, rows, texts=2),
    )


def formation_figure(candidates: Sequence[Candidate]) -> Figure:
    """Formation energies by potential and reference, in the order of the reference's."""
    shown = sorted(
        (one.reference, one.formation, one.row.identifier + ("" if one.met else "*"))
        for one in candidates
        if one.formation is not None and one.reference is not None
    )
    by_emt, by_potential = (1e3 * np.array([one[row] for one in shown], dtype=float) for row in (0, 1))
    places = np.arange(len(shown))
    figure, (axis,) = new_figure(12.0, 3.3)
    axis.axhline(0.0, color="0.8", linewidth=1)
    axis.vlines(places, by_emt, by_potential, color="0.75", linewidth=2, zorder=1)
    axis.plot(places, by_emt, "o", color=COLOURS[1], markersize=5.5, label="EMT")
    axis.plot(places, by_potential, "D", color=COLOURS[0], markersize=5.5, label="potential")
    axis.set_xticks(places, [name for *_, name in shown], fontsize=9)
    axis.set_ylabel("formation energy, meV/atom", fontsize=9)
    axis.tick_params(labelsize=8.5)
    axis.grid(axis="y", color="0.92")
    axis.legend(fontsize=9, frameon=False)
    return figure


def signed(number: float, form: str) -> str:
    """A number whose sign is that of print, not a hyphen; one that rounds to nothing has none."""
    text = format(abs(number), form)
    return text if not float(text) or number >= 0 else MINUS + text
