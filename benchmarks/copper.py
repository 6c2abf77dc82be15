"""What benchmarks of dynamics share: copper, potentials that keep it a crystal, and a clock around the steps of ASE."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from gfm_ase.loading import Loaded
from md_workflows.velocities import thermal_momenta
from potentials.backbones import BACKBONES
from potentials.manifest import describe
from potentials.potential import Potential, PotentialConfig

ELEMENT = "Cu"


def crystal(repeats: tuple[int, int, int]) -> Atoms:
    """Copper at 300 K, 4 atoms times the repeats."""
    atoms = bulk(ELEMENT, cubic=True) * repeats
    thermal_momenta(atoms, 300, seed=0)
    return atoms


def random_potential(backbone: str) -> Loaded:
    """Of the default size, with forces so small that the crystal stays one."""
    potential = Potential(PotentialConfig(backbone=BACKBONES[backbone][0](), heads=("emt",)))
    potential.references.set_head("emt", {ELEMENT: 0.0}, scale=1e-3)
    return Loaded(potential, describe(potential, [], made_with={}))


def seconds_of_steps(atoms: Atoms, steps: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Of steps of 1 fs of ASE's velocity Verlet, after three that do not count; moves the atoms."""
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.run(3)
    found = []
    for _ in range(steps):
        start = clock()
        dynamics.run(1)
        found.append(clock() - start)
    return found


def seconds_a_step(atoms: Atoms, steps: int) -> float:
    """Median wall time of a step; see `seconds_of_steps`."""
    return statistics.median(seconds_of_steps(atoms, steps))
