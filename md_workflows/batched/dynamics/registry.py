"""The integrators by the names of ensembles, and what an ensemble asks of a structure."""

from __future__ import annotations

from ase import Atoms

from md_workflows.batched.constraints import BY_MASK, others
from md_workflows.batched.dynamics.base import Integrator, VelocityVerlet
from md_workflows.batched.dynamics.bussi import Bussi
from md_workflows.batched.dynamics.chain import NoseHooverChain
from md_workflows.batched.dynamics.langevin import Langevin
from md_workflows.batched.dynamics.pressure import MTK, LangevinBarostat, LangevinBarostatIsotropic, MTKIsotropic
from md_workflows.ensembles import EnsembleSettings
from md_workflows.momentum import check_momentum

INTEGRATORS: dict[str, type[Integrator]] = {
    "nve": VelocityVerlet,
    "langevin": Langevin,
    "bussi": Bussi,
    "nose_hoover_chain": NoseHooverChain,
    "npt_isotropic": MTKIsotropic,
    "npt": MTK,
    "npt_langevin_isotropic": LangevinBarostatIsotropic,
    "npt_langevin": LangevinBarostat,
}

SEEDS = 2**63
"""Seeds are a column of int64."""


def integrator_for(settings: EnsembleSettings) -> Integrator:
    """A new integrator of this ensemble, for one fleet."""
    return INTEGRATORS[settings.name]()


def check_ensemble(atoms: Atoms, settings: EnsembleSettings) -> None:
    """Whether a structure, with its first momenta, can be advanced in an ensemble.

    Raises:
        ValueError: constraints that the ensemble or a fleet cannot keep, an open cell, a total momentum, atoms at rest
            where velocities are scaled, or a seed that is no int64.
    """
    name = type(settings).__name__
    kinds = [type(constraint).__name__ for constraint in atoms.constraints]
    if kinds and not settings.allows_constraints:
        raise ValueError(
            f"{name} cannot keep constraints ({', '.join(kinds)}); use NVE, Langevin or Bussi, or remove them."
        )
    if others(atoms):
        kept = ", ".join(kind.__name__ for kind in BY_MASK)
        raise ValueError(
            f"batched dynamics keeps {kept}, not {', '.join(others(atoms))}; use run_md, or remove the constraint."
        )
    if settings.needs_stress and not atoms.pbc.all():
        raise ValueError(
            f"{name} needs a structure periodic along all three directions, this one has pbc {atoms.pbc.tolist()}; use "
            "Langevin, Bussi or NoseHooverChain."
        )
    if settings.name == "bussi" and atoms.get_kinetic_energy() == 0:
        raise ValueError("Bussi scales velocities, and all of them are zero; give initial velocities.")
    seed = getattr(settings, "seed", 0)
    if seed >= SEEDS:
        raise ValueError(f"{name} has the seed {seed}; the batched engine takes seeds below 2**63.")
    check_momentum(atoms, settings)
