"""Dynamics of many at once: starts, settings, files, and what the files say afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from benchmarks.card.nve import figures
from benchmarks.card.sets import MOLECULES
from benchmarks.card.subject import Record, Subject
from benchmarks.md_batched import model_of
from benchmarks.molecules.findings import (
    SETTLING,
    against_dft,
    left_sites,
    log_of,
    of_molecule,
    positions_of,
    temperature_of,
)
from gfm_ase.curves import read_md_log
from md_workflows.batch_files import BatchFiles
from md_workflows.engine import relax_many
from md_workflows.md import MDSettings
from md_workflows.md_guards import MDGuards
from md_workflows.md_many import MDOutcome, run_md_many
from md_workflows.progress import progress_bar
from md_workflows.relaxation import RelaxSettings
from train.journal import write_json

HEAD, METALS = "pbe_def2svp", "pbe_metals"
FRAME_FS, STATE_STEPS = 20.0, 1000
FRICTION_PER_FS = 0.01
RUNAWAY = 10.0
"""A run is stopped above so many times its temperature; nine atoms exceed three times by chance once in 10⁶ frames."""

CRYSTALS = {
    "Si 64": lambda: bulk("Si", a=5.47, cubic=True) * (2, 2, 2),
    "Cu 32": lambda: bulk("Cu", a=3.62, cubic=True) * (2, 2, 2),
}


@dataclass(frozen=True)
class Plan:
    """How long, how hot, how many of each, and in what steps."""

    picoseconds: float
    temperature_K: float
    replicas: int
    timestep_fs: float

    @property
    def every(self) -> int:
        """Steps from one frame to the next."""
        return max(1, round(FRAME_FS / self.timestep_fs))

    @property
    def frame_ps(self) -> float:
        """Time from one frame to the next."""
        return self.every * self.timestep_fs / 1000

    def settings(self, place: int, ensemble: str = "langevin") -> MDSettings:
        """Of one run; each has seeds of its own."""
        thermostat = {"temperature_K": self.temperature_K, "friction_per_fs": FRICTION_PER_FS, "seed": place}
        return MDSettings(
            ensemble={"name": ensemble, **(thermostat if ensemble == "langevin" else {})},
            steps=round(1000 * self.picoseconds / self.timestep_fs),
            timestep_fs=self.timestep_fs,
            initial_temperature_K=self.temperature_K,
            velocity_seed=place,
            trajectory_interval=self.every,
            log_interval=self.every if ensemble == "langevin" else 1,
            state_interval=STATE_STEPS,
        )


@dataclass(frozen=True)
class Done:
    """Outcomes by place, and steps and seconds of each call that has worked on them."""

    outcomes: dict[int, MDOutcome]
    sessions: list[Record]


def relaxed_starts(subject: Subject, folder: Path) -> dict[str, Atoms]:
    """The first *training* frame of each molecule, relaxed; kept, so that a restart begins with the same bits."""
    kept = folder / "starts.traj"
    if not kept.exists():
        frames = [subject.start(f"rmd17/{name}_train.extxyz.gz") for name in MOLECULES]
        driver = subject.calculator(HEAD)
        found: list[Atoms | None] = [None] * len(frames)
        for outcome in relax_many(frames, RelaxSettings(fmax=0.02, max_steps=1000), calculator=driver):
            if outcome.result is not None:
                found[outcome.index] = outcome.result.atoms
        starts = [frame if one is None else one for frame, one in zip(frames, found, strict=True)]
        for atoms in starts:
            atoms.calc = None
        write(kept, starts)
    return dict(zip(MOLECULES, read(kept, ":"), strict=True))


def run(calculator: Any, structures: Sequence[Atoms], settings: Sequence[MDSettings], files: BatchFiles) -> Done:
    """All in one batch; goes on where it was interrupted."""
    wall, cpu, seen = time.perf_counter(), time.process_time(), [0, 0]
    with progress_bar("molecular dynamics", "steps") as bar:

        def watch(done: int, total: int | None) -> None:
            seen[0] = seen[0] or done
            seen[1] = done
            bar(done, total)

        outcomes = list(
            run_md_many(
                structures,
                settings,
                calculator=model_of(calculator),
                files=files,
                on_existing="restart",
                guards=[_guards(one) for one in settings],
                progress=watch,
            )
        )
    session = {
        "steps": seen[1] - seen[0],
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "load": os.getloadavg()[0],
    }
    return Done({one.index: one for one in outcomes}, _sessions(files.directory / "sessions.json", session))


def _sessions(path: Path, last: Record) -> list[Record]:
    """What each call has done, this one too unless it had nothing to do."""
    known: list[Record] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if last["steps"] > 0:
        known.append(last)
        write_json(path, known)
    return known


def _guards(settings: MDSettings) -> MDGuards:
    temperature = settings.ensemble.thermostat_temperature
    return MDGuards(max_temperature_K=None if temperature is None else RUNAWAY * temperature)


def molecules(subject: Subject, folder: Path, plan: Plan) -> Record:
    """Langevin dynamics of the ten molecules: bonds, temperature, distances beside those of DFT at 500 K."""
    starts = relaxed_starts(subject, folder)
    names = [name for name in starts for _ in range(plan.replicas)]
    settings = [plan.settings(place) for place in range(len(names))]
    files = BatchFiles(folder / f"molecules_{plan.temperature_K:.0f}K", suffix=".traj")
    done = run(subject.calculator(HEAD, compile=subject.compiled), [starts[name] for name in names], settings, files)
    outcomes = done.outcomes
    rows = []
    for name, start in starts.items():
        places = [place for place, one in enumerate(names) if one == name]
        runs = [(outcomes[place], files, place) for place in places]
        rows.append(
            {"name": name, **of_molecule(start, runs, plan.frame_ps), **against_dft(subject, name, start, runs)}
        )
    return {**_plan_record(plan), **_cost(done, plan), "rows": rows}


def _plan_record(plan: Plan) -> Record:
    return {
        "picoseconds": plan.picoseconds,
        "temperature_K": plan.temperature_K,
        "replicas": plan.replicas,
        "timestep_fs": plan.timestep_fs,
    }


def _cost(done: Done, plan: Plan) -> Record:
    """Wall and processor time of a step of all (ms), simulated ns of all together in a day of processor time."""
    steps, wall, cpu = (sum(one[key] for one in done.sessions) for key in ("steps", "wall_s", "cpu_s"))
    count = len(done.outcomes)
    return {
        "cpu_ms": 1e3 * cpu * count / max(steps, 1),
        "wall_ms": 1e3 * wall * count / max(steps, 1),
        "ns_a_day": steps * plan.timestep_fs * 1e-6 / max(cpu, 1e-9) * 86_400,
    }


def crystals(subject: Subject, folder: Path, plan: Plan) -> Record:
    """The same of two crystals: does every atom stay at its site, and is the temperature right."""
    starts = {name: make() for name, make in CRYSTALS.items()}
    files = BatchFiles(folder / f"crystals_{plan.temperature_K:.0f}K", suffix=".traj")
    settings = [plan.settings(place) for place in range(len(starts))]
    done = run(subject.calculator(METALS, compile=subject.compiled), list(starts.values()), settings, files)
    rows = []
    for place, (name, start) in enumerate(starts.items()):
        outcome = done.outcomes[place]
        log = read_md_log(log_of(files, place))["temperature_K"]
        left, farthest = left_sites(start, positions_of(files, place))
        rows.append(
            {
                "name": name,
                "atoms": len(start),
                "picoseconds": outcome.time_fs / 1000,
                "failed_ps": None if left is None else left * plan.frame_ps,
                "stopped": outcome.stopped,
                "farthest": farthest,
                **temperature_of(log[round(SETTLING * len(log)) :].tolist()),
            }
        )
    return {**_plan_record(plan), **_cost(done, plan), "rows": rows}


def steps(subject: Subject, folder: Path, plan: Plan) -> Record:
    """NVE of the ten molecules with half of the time step, with it, and with twice of it: drift and ripple of each."""
    starts = relaxed_starts(subject, folder)
    driver, found = subject.calculator(HEAD, compile=subject.compiled), []
    for timestep in (plan.timestep_fs / 2, plan.timestep_fs, 2 * plan.timestep_fs):
        own = Plan(plan.picoseconds, plan.temperature_K, 1, timestep)
        # at rest at the minimum: of twice the temperature a half goes into the springs
        settings = [
            own.settings(place, "nve").model_copy(update={"initial_temperature_K": 2 * plan.temperature_K})
            for place in range(len(starts))
        ]
        files = BatchFiles(folder / f"steps_{timestep:g}fs", suffix="", log=True)
        run(driver, list(starts.values()), settings, files)
        rows = {name: figures(read_md_log(log_of(files, place)), timestep) for place, name in enumerate(starts)}
        kept = ("drift", "drift_error", "ripple", "temperature_K")
        found.append(
            {
                "timestep_fs": timestep,
                "molecules": {name: {key: row[key] for key in kept} for name, row in rows.items()},
            }
        )
    return {**_plan_record(plan), "runs": found}
