"""Initial velocities."""

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units

if TYPE_CHECKING:
    from md_workflows.md import MDSettings


def draw_velocities(atoms: Atoms, settings: "MDSettings") -> None:
    """Draw velocities (in place) where settings ask for them, or there are none and a thermostat has a temperature."""
    temperature = settings.initial_temperature_K
    if temperature is None and not has_velocities(atoms):
        temperature = settings.ensemble.thermostat_temperature
    if temperature is not None:
        thermal_momenta(atoms, temperature, settings.velocity_seed)


def has_velocities(atoms: Atoms) -> bool:
    """Whether any atom moves."""
    return bool(atoms.has("momenta") and np.any(atoms.get_momenta() != 0.0))


def thermal_momenta(atoms: Atoms, temperature_K: float, seed: int) -> None:
    """Draw Maxwell–Boltzmann momenta at `temperature_K` (in place).

    The total momentum is zero afterwards, except where nothing would remain (one atom) or where constraints
    hold atoms: these do not conserve it. The temperature is not rescaled: a canonical sample fluctuates.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    masses = atoms.get_masses()[:, None]
    momenta = random.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * temperature_K)
    if len(atoms) > 1 and not atoms.constraints:
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
    atoms.set_momenta(momenta)
