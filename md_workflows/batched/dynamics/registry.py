"""Which integrator goes with which settings."""

from __future__ import annotations

from ase import Atoms

from md_workflows.batched.dynamics.base import Integrator, VelocityVerlet
from md_workflows.integrators import EnsembleSettings

INTEGRATORS: dict[str, type[Integrator]] = {"nve": VelocityVerlet}
"""By the name of the ensemble's settings."""


def integrator_for(settings: EnsembleSettings) -> Integrator:
    """The integrator of these settings.

    Raises:
        ValueError: they are of a kind that goes by single structures.
    """
    name = str(getattr(settings, "name", type(settings).__name__))
    if name not in INTEGRATORS:
        known = ", ".join(INTEGRATORS)
        raise ValueError(f"ensemble {name!r} advances single structures only (run_md); in batches: {known}.")
    return INTEGRATORS[name]()


def check_ensemble(atoms: Atoms, settings: EnsembleSettings) -> None:
    """Raise ValueError where atoms cannot be brought to the ensemble."""
    if atoms.constraints and not settings.allows_constraints:
        kinds = ", ".join(type(constraint).__name__ for constraint in atoms.constraints)
        raise ValueError(f"{type(settings).__name__} cannot keep constraints ({kinds}); remove them.")
