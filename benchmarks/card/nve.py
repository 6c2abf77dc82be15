"""Does energy stay: velocity Verlet of a molecule and two metals, drift and ripple of the total energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from benchmarks.card.subject import Record, Subject, table
from gfm_ase.curves import read_md_log
from gfm_ase.doctor.dynamics import drift_of
from gfm_ase.plots import new_figure
from md_workflows.batch_files import BatchFiles
from md_workflows.md import MDSettings
from md_workflows.md_many import run_md_many

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Case:
    """One run: the head, the start, the time step in fs, the temperature of the first velocities in K."""

    head: str
    start: Callable[[Subject], Atoms]
    timestep_fs: float
    initial_K: float


CASES = {
    "aspirin": Case("pbe_def2svp", lambda subject: subject.start("rmd17/aspirin_train.extxyz.gz"), 0.5, 300.0),
    "Si 64": Case("pbe_metals", lambda _: bulk("Si", a=5.47, cubic=True) * (2, 2, 2), 1.0, 600.0),
    "Cu 32": Case("pbe_metals", lambda _: bulk("Cu", a=3.62, cubic=True) * (2, 2, 2), 2.0, 600.0),
}
"""Crystals begin on their sites with twice 300 K, of which a half goes into the springs."""

PICOSECONDS, QUICK = 2.0, 0.05
POINTS = 400
"""Of each curve in the record."""


def measure(subject: Subject) -> Record:
    """Each case that the model has a head for."""
    found = {}
    for place, (name, case) in enumerate(CASES.items()):
        if not subject.knows(case.head):
            continue
        subject.progress(f"NVE: {name}", place, len(CASES))
        found[name] = run(subject, name, case, QUICK if subject.quick else PICOSECONDS)
    return found


def run(subject: Subject, name: str, case: Case, picoseconds: float) -> Record:
    """Total energy along one run, its drift and its ripple."""
    start = case.start(subject)
    steps = round(1000 * picoseconds / case.timestep_fs)
    settings = MDSettings(
        ensemble={"name": "nve"},
        steps=steps,
        timestep_fs=case.timestep_fs,
        initial_temperature_K=case.initial_K,
        log_interval=1,
        state_interval=max(1, steps // 4),
    )
    files = BatchFiles(subject.work / f"nve_{name.replace(' ', '_')}", suffix="", log=True)
    driver = subject.calculator(case.head)
    outcome = next(iter(run_md_many(start, settings, calculator=driver, files=files, on_existing="overwrite")))
    path = files.log_of(0)
    assert path is not None
    return {
        "head": case.head,
        "atoms": len(start),
        "timestep_fs": case.timestep_fs,
        "stopped": outcome.stopped,
        **figures(read_md_log(path), case.timestep_fs),
    }


def figures(log: Mapping[str, Any], timestep_fs: float) -> Record:
    """Drift and its error (meV/atom/ps), ripple (meV/atom), mean temperature (K) of the later half, and the curve."""
    total, times = log["total_energy_eV_per_atom"], log["time_fs"] / 1000
    drift, error = drift_of(total, timestep_fs)
    ripple = 1e3 * float(np.std(total - np.polyval(np.polyfit(times, total, 1), times)))
    every = max(1, len(total) // POINTS)
    return {
        "picoseconds": float(times[-1]),
        "drift": drift,
        "drift_error": error,
        "ripple": ripple,
        "temperature_K": float(log["temperature_K"][len(times) // 2 :].mean()),
        "times_ps": times[::every].tolist(),
        "total": (1e3 * (total - total[0]))[::every].tolist(),
        "potential": (1e3 * (log["potential_energy_eV_per_atom"] - log["potential_energy_eV_per_atom"][0]))[
            ::every
        ].tolist(),
    }


def section(record: Record) -> str:
    """A row for each run, and the picture."""
    rows = [
        [
            name,
            f"`{one['head']}`",
            f"{one['timestep_fs']:g}",
            f"{one['picoseconds']:.2g}",
            f"{one['temperature_K']:.0f}",
            f"{one['drift']:+.2g} ± {one['drift_error']:.1g}",
            f"{one['ripple']:.2g}",
            one["stopped"] or "no",
        ]
        for name, one in record.items()
    ]
    columns = ["", "head", "step, fs", "ps", "mean T, K", "drift, meV/atom/ps", "ripple, meV/atom", "stopped"]
    return "\n\n".join([table(columns, rows), "![Total energy along NVE](pictures/model_nve.png)"])


def pictures(record: Record) -> dict[str, Figure]:
    """Total energy of each run, with the potential energy behind it on its own scale."""
    figure, axes = new_figure(4.2 * len(record), 3.2, len(record))
    for axis, (name, one) in zip(axes, record.items(), strict=True):
        axis.plot(one["times_ps"], one["total"], color="#1f5fa8", linewidth=0.8)
        axis.set_title(
            f"{name}, {one['timestep_fs']:g} fs, {one['temperature_K']:.0f} K: drift {one['drift']:+.2g} meV/atom/ps",
            fontsize=8.5,
        )
        spread = float(np.std(one["potential"]))
        axis.set_xlabel(f"ps; the potential energy swings by {spread:.2g} meV/atom", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(color="0.92")
    axes[0].set_ylabel("change of the total energy, meV/atom", fontsize=8.5)
    return {"model_nve.png": figure}
