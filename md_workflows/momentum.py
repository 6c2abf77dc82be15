"""The total momentum, where an ensemble takes it for zero."""

import numpy as np
from ase import Atoms, units

from md_workflows.ensembles import EnsembleSettings
from md_workflows.ramps import points_of

NEGLIGIBLE = 1e-3
"""Of kT, the kinetic energy of the centre of mass."""


def check_momentum(atoms: Atoms, settings: EnsembleSettings) -> None:
    """Whether a thermostat that counts the internal degrees of freedom alone finds what it takes for granted.

    Raises:
        ValueError: there are none, for there is one atom, or the centre of mass moves where no atom is held.
    """
    name = type(settings).__name__
    if getattr(settings, "degrees", "ase") != "internal" or atoms.constraints:
        return
    if len(atoms) == 1:
        raise ValueError(f"{name} conserves the total momentum, and one atom moves in no other way; use Langevin.")
    total = atoms.get_momenta().sum(axis=0)
    highest = max(value for _, value in points_of(settings.schedules["temperature_K"]))
    if float(total @ total) / (2 * atoms.get_masses().sum()) > NEGLIGIBLE * units.kB * highest:
        raise ValueError(
            f"{name} holds the temperature of the internal motion, and these atoms move as a whole (total momentum "
            f"{np.round(total, 4).tolist()}); stop that with ase.md.velocitydistribution.Stationary, or give "
            "degrees='ase'."
        )


def directions_conserved(atoms: Atoms) -> int:
    """Along how many of x, y and z the total momentum is conserved: where a uniform force passes all constraints."""
    uniform = np.ones((len(atoms), 3))
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, uniform)
    return int(np.isclose(uniform, 1.0).all(axis=0).sum())
