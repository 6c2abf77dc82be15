"""All reporters over one trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from md_workflows.analysis.registry import REPORTERS, build_reporter
from md_workflows.analysis.reporter import Finding, Reporter, Table, missing
from md_workflows.analysis.reporting import report_path, write_table
from md_workflows.analysis.scalars import internal_freedom, kinetic_energy, pressure_tensors, temperature_of
from md_workflows.analysis.trajectory import Source
from md_workflows.progress import ProgressCallback
from md_workflows.snapshot import Snapshot, known_system

Floats = NDArray[np.float64]
LEAST_WINDOW = 10
PART_OF_FRAMES = 10
"""By default correlations reach a tenth of the trajectory, which leaves ten blocks to tell an error from."""
DOUBTS = ("energy_uncertainty_eV", "uncertainty_eV_per_A")
"""Columns of the series that only frames with uncertainties have."""


@dataclass(frozen=True)
class Analysis:
    """What a trajectory tells.

    frames: how many were read · tables: columns by name ("rdf", "msd", ..., "series") · findings: for a person ·
    left_out: reports that could not be made, and why.
    """

    frames: int
    tables: dict[str, Table]
    findings: list[Finding]
    left_out: dict[str, str]

    def write(self, beside: Path) -> list[Path]:
        """Write one CSV for each table, named after `beside`; returns their names."""
        written = []
        for name, table in self.tables.items():
            written.append(report_path(beside, name))
            write_table(written[-1], table)
        return written


def analyse(
    source: Source,
    reports: Sequence[str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: ProgressCallback | None = None,
) -> Analysis:
    """Run reporters over the frames of a trajectory, one frame at a time.

    reports: names of REPORTERS; None takes all that the frames allow and tells which were left out, but for that on
    uncertainties, which is there where the first frame has them. settings: of
    reporters by name, as in {"rdf": {"cutoff": 6.0}}.

    Raises:
        ValueError: no frames, frames of several systems, an unknown report or setting, a window longer than the
            trajectory, or a report that was asked for by name and cannot be made.
    """
    n_frames = len(source)
    if not n_frames:
        raise ValueError(f"{source.path} has no frame to analyse (index '{source.index}').")
    asked = reports is not None
    wanted = list(REPORTERS) if reports is None else list(reports)
    reporters = [_built(name, n_frames, (settings or {}).get(name, {})) for name in wanted]
    left_out: dict[str, str] = {}
    series = _Series()
    for done, snapshot in enumerate(source, start=1):
        if done == 1:
            system = snapshot.system
            reporters = reporters if asked else _expected(reporters, snapshot)
            left_out = _unfit(reporters, snapshot, asked=asked)
        known_system(snapshot.system, system, str(source.path))
        series.add(snapshot)
        for reporter in [one for one in reporters if one.name not in left_out]:
            left_out |= _shown(reporter, snapshot, asked=asked)
        if progress is not None:
            progress(done, n_frames)
    tables: dict[str, Table] = {"series": series.table()}
    findings: list[Finding] = []
    for reporter in [one for one in reporters if one.name not in left_out]:
        try:
            tables.update(reporter.tables())
        except ValueError as error:
            if asked:
                raise
            left_out[reporter.name] = str(error)
        else:
            findings += reporter.findings()
    return Analysis(n_frames, tables, findings, left_out)


def _built(name: str, n_frames: int, settings: Mapping[str, Any]) -> Reporter:
    values = dict(settings)
    if name in {"msd", "vacf"}:
        if "window" in values and values["window"] >= n_frames:
            raise ValueError(
                f"the window of {name} is {values['window']} frames, and there are {n_frames}; give a shorter one, or"
                " none for a tenth of them."
            )
        values.setdefault("window", min(max(n_frames // PART_OF_FRAMES, LEAST_WINDOW), max(n_frames - 1, 2)))
    return build_reporter({"name": name, **values})


def _expected(reporters: list[Reporter], snapshot: Snapshot) -> list[Reporter]:
    """Without those on uncertainties where there are none, as of most potentials: nothing that one would miss."""
    return [one for one in reporters if "uncertainty" not in one.needs or snapshot.uncertainty is not None]


def _unfit(reporters: Sequence[Reporter], snapshot: Snapshot, *, asked: bool) -> dict[str, str]:
    lacking = {one.name: missing(one, snapshot) for one in reporters}
    reasons = {name: f"the report {name} needs {what}" for name, what in lacking.items() if what}
    if asked and reasons:
        raise ValueError(f"{'; '.join(reasons.values())}: the frames have none. Leave it out.")
    return reasons


def _shown(reporter: Reporter, snapshot: Snapshot, *, asked: bool) -> dict[str, str]:
    """Why the report, which no one has asked for, cannot be made of this frame; empty where it can."""
    try:
        reporter.observe(snapshot)
    except ValueError as error:
        if asked:
            raise
        return {reporter.name: str(error)}
    return {}


class _Series:
    """Numbers of each frame, NaN where they are unknown."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []

    def add(self, snapshot: Snapshot) -> None:
        unknown = float("nan")
        moving = snapshot.momenta is not None
        potential = unknown if snapshot.energy is None else snapshot.energy
        kinetic = kinetic_energy(snapshot) if moving else unknown
        temperature = temperature_of(snapshot) if moving and internal_freedom(snapshot.system) > 0 else unknown
        pressure = unknown
        if moving and snapshot.stress is not None and snapshot.system.pbc.all():
            pressure = float(sum(tensor[:3].mean() for tensor in pressure_tensors(snapshot)))
        volume = abs(float(np.linalg.det(snapshot.cell))) or unknown
        energies = (potential, kinetic, potential + kinetic)
        doubts = [unknown if one is None else one for one in (snapshot.energy_uncertainty, snapshot.uncertainty)]
        self._rows.append((snapshot.step, snapshot.time_fs, *energies, temperature, pressure, volume, *doubts))

    def table(self) -> Table:
        names = (
            "step",
            "time_fs",
            "potential_energy_eV",
            "kinetic_energy_eV",
            "total_energy_eV",
            "temperature_K",
            "pressure_GPa",
            "volume_A3",
            *DOUBTS,
        )
        table: dict[str, Any] = {
            name: np.array(column) for name, column in zip(names, zip(*self._rows, strict=True), strict=True)
        }
        table["step"] = table["step"].astype(np.int64)
        unknown = [name for name in DOUBTS if np.isnan(table[name]).all()]
        return {name: column for name, column in table.items() if name not in unknown}
