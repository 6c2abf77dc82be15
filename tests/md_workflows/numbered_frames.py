"""Snapshots whose content follows from their number, so that a reader can tell whether they are whole."""

import numpy as np

from md_workflows.snapshot import Snapshot, System


def frame(number: int, n_atoms: int = 3, group: int = 0) -> Snapshot:
    """A frame whose content follows from its number, so that a reader can tell whether it is whole."""
    random = np.random.default_rng([number, group])
    system = System(np.full(n_atoms, 29), np.full(n_atoms, 63.5), np.ones(3, dtype=bool), "", 3 * n_atoms)
    draw = random.standard_normal
    return Snapshot(system, number, 0.5 * number, draw((n_atoms, 3)), draw((3, 3)), draw((n_atoms, 3)), float(draw()))


def same(one: Snapshot, other: Snapshot) -> bool:
    names = ("positions", "cell", "momenta", "energy")
    values = [(getattr(one, name), getattr(other, name)) for name in names]
    return (one.step, one.time_fs) == (other.step, other.time_fs) and all(np.array_equal(*pair) for pair in values)
