"""Frames made by hand, and reporters that see them."""

import numpy as np
from ase import Atoms, units

from md_workflows.analysis.reporter import Reporter
from md_workflows.snapshot import Snapshot, System


def snapshots(positions: np.ndarray, velocities: np.ndarray | None = None, dt_fs: float = 2.0, symbol: str = "Ar"):  # type: ignore[no-untyped-def] # a test's own
    atoms = Atoms(f"{symbol}{positions.shape[1]}", cell=np.eye(3) * 50)
    system = System.of(atoms)
    for step, place in enumerate(positions):
        momenta = None if velocities is None else velocities[step] / units.fs * system.masses[:, None]
        yield Snapshot(system, step, step * dt_fs, place, atoms.cell.array, momenta)


def seen(reporter: Reporter, frames: object) -> Reporter:
    for one in frames:  # type: ignore[attr-defined] # an iterator
        reporter.observe(one)
    return reporter
