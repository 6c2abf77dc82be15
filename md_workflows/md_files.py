"""The files of a molecular dynamics run, and the recorder that writes trajectory and log."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms, units

from md_workflows.durable import check_directory
from md_workflows.frames import (
    FrameWriter,
    Mark,
    check_suffix,
    frame_of,
    frame_writer,
    mark_file,
    rewind_file,
)

LOG_COLUMNS = (
    "step",
    "time_fs",
    "potential_energy_eV",
    "kinetic_energy_eV",
    "total_energy_eV",
    "potential_energy_eV_per_atom",
    "total_energy_eV_per_atom",
    "temperature_K",
    "pressure_GPa",
    "volume_A3",
)


@dataclass(frozen=True)
class MDFiles:
    """Where a run writes frames (.traj, .extxyz or .h5), log (CSV) and the state to restart from, or None.

    reports: tables of reporters; `run_md` names them after the trajectory · candidates: structures for labelling
    (.extxyz), which `run_md` names as its policy on uncertainty says.
    """

    trajectory: Path | None = None
    log: Path | None = None
    state: Path | None = None
    reports: tuple[Path, ...] = ()
    candidates: Path | None = None

    @classmethod
    def beside(cls, trajectory: str | Path) -> "MDFiles":
        """The usual names: md.traj, md.csv and md.state.npz."""
        path = Path(trajectory)
        return cls(path, path.with_suffix(".csv"), path.with_suffix(".state.npz"))

    @property
    def present(self) -> list[Path]:
        """Those of the files that exist already."""
        return [path for path in self._all() if path.exists()]

    @property
    def usual_candidates(self) -> Path | None:
        """Where candidates for labelling are kept, unless another place is named: md.candidates.extxyz."""
        return None if self.trajectory is None else self.trajectory.with_suffix(".candidates.extxyz")

    @property
    def last_good(self) -> Path | None:
        """Where the last good frame is kept when a run has to stop."""
        base = next(iter(self._all()), None)
        if base is None:
            return None
        name = base.stem.removesuffix(".state")  # up to the suffix: hot_0.1 and hot_0.3 are two runs
        return base.with_name(f"{name}.last_good.extxyz")

    def check(self) -> None:
        """Raise ValueError for a suffix of no trajectory, a missing directory or one name used twice."""
        paths = self._all()
        if self.trajectory is not None:
            check_suffix(self.trajectory)
        for path in paths:
            check_directory(path)
        if len(set(paths)) != len(paths):
            raise ValueError(
                f"trajectory, log, state and candidates need different names; given were {', '.join(map(str, paths))}."
            )

    def _all(self) -> list[Path]:
        paths = (self.trajectory, self.log, self.state, *self.reports, self.candidates)
        return [path for path in paths if path is not None]


class Recorder:
    """Appends frames and log rows at their intervals (in steps)."""

    def __init__(self, files: MDFiles, trajectory_interval: int, log_interval: int) -> None:
        self._files = files
        self._trajectory_interval = trajectory_interval
        self._log_interval = log_interval
        self._frames: FrameWriter | None = frame_writer(files.trajectory) if files.trajectory else None
        self._log: IO[str] | None = None
        if files.log is not None:
            fresh = not files.log.exists()
            self._log = files.log.open("a", encoding="utf-8", newline="", buffering=1)  # a line at a time: tail -f
            if fresh:
                csv.writer(self._log).writerow(LOG_COLUMNS)

    def record(self, atoms: Atoms, step: int, time_fs: float) -> None:
        """Write what is due at `step`; the calculator of `atoms` holds the results for it."""
        if self._log is not None and step % self._log_interval == 0:
            csv.writer(self._log).writerow(log_row(atoms, step, time_fs))
        if self._frames is not None and step % self._trajectory_interval == 0:
            self._frames.write(frame_of(atoms, step=step, time_fs=time_fs))

    def marks(self) -> dict[str, Mark]:
        """The lengths of the files, once all of them is on the disk."""
        if self._log is not None:
            self._log.flush()
        if self._frames is None:
            return marks(self._files)
        others = MDFiles(log=self._files.log, candidates=self._files.candidates)
        return marks(others) | {"trajectory": self._frames.mark()}

    def close(self) -> None:
        """Close both files."""
        if self._frames is not None:
            self._frames.close()
        if self._log is not None:
            self._log.close()


def marks(files: MDFiles) -> dict[str, Mark]:
    """The lengths of trajectory, log and candidates on the disk."""
    named = _growing(files)
    return {name: mark_file(path) for name, path in named.items() if path is not None}


def rewind(files: MDFiles, saved: dict[str, Mark]) -> None:
    """Cut what grows back to `saved`; raises ValueError when one of the files is missing or too short."""
    named = _growing(files)
    for name, path in named.items():
        if (path is not None) != (name in saved):
            given, had = (path, "none") if path is not None else ("none", "one")
            raise ValueError(f"the run that is continued had {had} as {name}, now {given} is given; ask for the same.")
        if path is not None:
            rewind_file(path, saved[name])


def _growing(files: MDFiles) -> dict[str, Path | None]:
    return {"trajectory": files.trajectory, "log": files.log, "candidates": files.candidates}


def log_row(atoms: Atoms, step: int, time_fs: float) -> list[str]:
    """One row of the log; reading a number back gives the same bits, unknown ones are empty."""
    potential = float(atoms.get_potential_energy())
    kinetic = float(atoms.get_kinetic_energy())
    values = (
        time_fs,
        potential,
        kinetic,
        potential + kinetic,
        potential / len(atoms),
        (potential + kinetic) / len(atoms),
        float(atoms.get_temperature()),
        pressure(atoms),
        float(atoms.get_volume()) if atoms.cell.rank == 3 else None,
    )
    return [str(step), *("" if value is None else repr(value) for value in values)]


def pressure(atoms: Atoms) -> float | None:
    """Pressure in GPa including the kinetic part; None where the atoms or the calculator have none."""
    if not atoms.pbc.all() or "stress" not in getattr(atoms.calc, "implemented_properties", ()):
        return None
    stress = atoms.get_stress(voigt=True, include_ideal_gas=True)
    return float(-np.mean(stress[:3]) / units.GPa)
