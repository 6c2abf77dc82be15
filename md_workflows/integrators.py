"""The ensembles of molecular dynamics: name → (settings, builder of ASE's integrator).

A new integrator is a settings class, a builder and a line in `ENSEMBLES`, and one for the batched engine in
`md_workflows.batched.dynamics.registry`. A builder returns the ASE dynamics together with the names of the variables
it carries besides the atoms: what a restart has to bring back. None stands where ASE has no such integrator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter, or_
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi as ASEBussi
from ase.md.langevin import Langevin as ASELangevin
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.nose_hoover_chain import NoseHooverChainThermostat as ASEThermostat
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray
from pydantic import Field

from md_workflows.ensembles import (
    NPT,
    NVE,
    Bussi,
    EnsembleSettings,
    Langevin,
    NoseHooverChain,
    NPTIsotropic,
    NPTLangevin,
    NPTLangevinIsotropic,
)
from md_workflows.momentum import check_momentum, directions_conserved
from md_workflows.ramps import is_constant, value_at


@dataclass(frozen=True)
class Integrator:
    """An ASE dynamics and what it carries beside positions, momenta and cell.

    variables: dotted attribute names of its arrays and floats; random: its random generator, if it has one.
    """

    dynamics: Any
    variables: tuple[str, ...] = ()
    random: np.random.Generator | None = None

    def state(self) -> dict[str, NDArray[np.float64]]:
        """A copy of every variable, by name; floats come as arrays of shape ()."""
        return {name: np.array(attrgetter(name)(self.dynamics), dtype=float) for name in self.variables}

    def restore(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Put back what `state` returned; raises ValueError when the names are not this integrator's."""
        if set(state) != set(self.variables):
            raise ValueError(
                f"the saved thermostat variables are {sorted(state)}, this integrator has "
                f"{sorted(self.variables)}: the state is of another version of this program; start "
                "again with on_existing='overwrite'."
            )
        for name, value in state.items():
            owner, _, attribute = name.rpartition(".")
            holder = attrgetter(owner)(self.dynamics) if owner else self.dynamics
            setattr(holder, attribute, value.copy() if value.ndim else float(value))


def _build_nve(atoms: Atoms, timestep_fs: float, _: NVE) -> Integrator:
    return Integrator(VelocityVerlet(atoms, timestep=timestep_fs * units.fs))


def _build_langevin(atoms: Atoms, timestep_fs: float, settings: Langevin) -> Integrator:
    random = np.random.Generator(np.random.PCG64(settings.seed))
    dynamics = ASELangevin(
        atoms,
        timestep=timestep_fs * units.fs,
        temperature_K=settings.thermostat_temperature,
        friction=settings.friction_per_fs / units.fs,
        fixcm=False,  # ASE's fixcm does not sample the canonical ensemble
        rng=random,
    )
    return Integrator(dynamics, random=random)


def _build_bussi(atoms: Atoms, timestep_fs: float, settings: Bussi) -> Integrator:
    random = np.random.Generator(np.random.PCG64(settings.seed))
    dynamics = ASEBussi(
        atoms,
        timestep=timestep_fs * units.fs,
        temperature_K=settings.thermostat_temperature,
        taut=settings.tdamp_fs * units.fs,
        rng=random,
    )
    if settings.degrees == "internal":
        dynamics.ndof -= directions_conserved(atoms)
        dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dynamics.ndof
    return Integrator(dynamics, ("transferred_energy",), random)


def _thermostat(timestep_fs: float, settings: Any) -> dict[str, Any]:
    return {
        "timestep": timestep_fs * units.fs,
        "temperature_K": settings.thermostat_temperature,
        "tdamp": settings.tdamp_fs * units.fs,
        "tchain": settings.tchain,
        "tloop": settings.tloop,
    }


def _barostat(settings: Any) -> dict[str, Any]:
    return {
        "pressure_au": value_at(settings.pressure_GPa, 0) * units.GPa,
        "pdamp": settings.pdamp_fs * units.fs,
        "pchain": settings.pchain,
        "ploop": settings.ploop,
    }


def _count_internal(dynamics: Any, settings: Any) -> None:
    """Let ASE's integrators count what moves: 3 (N - 1) degrees of freedom of the atoms, 6 of a free cell.

    They count three for each of `num_atoms_global` atoms; the cell's momentum is a symmetric matrix.
    """
    if settings.degrees == "ase":
        return
    thermostat, n = dynamics._thermostat, len(dynamics.atoms) - 1
    dynamics._thermostat = ASEThermostat(
        num_atoms_global=n,
        masses=thermostat._masses,
        temperature_K=settings.thermostat_temperature,
        tdamp=thermostat._tdamp,
        tchain=settings.tchain,
        tloop=settings.tloop,
    )
    if hasattr(dynamics, "_barostat"):
        dynamics._num_atoms_global = n
    if isinstance(dynamics, MTKNPT):
        dynamics._barostat._R[0] *= 6 / dynamics._barostat._cell_dof
        dynamics._barostat._cell_dof = 6


_THERMOSTAT = ("_thermostat._eta", "_thermostat._p_eta")
_BAROSTAT = ("_barostat._xi", "_barostat._p_xi")


def _build_nose_hoover_chain(atoms: Atoms, timestep_fs: float, settings: NoseHooverChain) -> Integrator:
    dynamics = NoseHooverChainNVT(atoms, **_thermostat(timestep_fs, settings))
    _count_internal(dynamics, settings)
    return Integrator(dynamics, _THERMOSTAT)


def _build_npt_isotropic(atoms: Atoms, timestep_fs: float, settings: NPTIsotropic) -> Integrator:
    dynamics = IsotropicMTKNPT(atoms, **_thermostat(timestep_fs, settings), **_barostat(settings))
    _count_internal(dynamics, settings)
    return Integrator(dynamics, (*_THERMOSTAT, *_BAROSTAT, "_eps", "_p_eps", "_cell0", "_volume0"))


def _build_npt(atoms: Atoms, timestep_fs: float, settings: NPT) -> Integrator:
    dynamics = MTKNPT(atoms, **_thermostat(timestep_fs, settings), **_barostat(settings))
    _count_internal(dynamics, settings)
    return Integrator(dynamics, (*_THERMOSTAT, *_BAROSTAT, "_p_g"))


Builder = Callable[[Atoms, float, Any], Integrator]

ENSEMBLES: dict[str, tuple[type[EnsembleSettings], Builder | None]] = {
    "nve": (NVE, _build_nve),
    "langevin": (Langevin, _build_langevin),
    "bussi": (Bussi, _build_bussi),
    "nose_hoover_chain": (NoseHooverChain, _build_nose_hoover_chain),
    "npt_isotropic": (NPTIsotropic, _build_npt_isotropic),
    "npt": (NPT, _build_npt),
    "npt_langevin_isotropic": (NPTLangevinIsotropic, None),
    "npt_langevin": (NPTLangevin, None),
}

if TYPE_CHECKING:
    AnyEnsemble = EnsembleSettings
else:  # the union follows the registry, which a type checker cannot evaluate
    AnyEnsemble = Annotated[reduce(or_, (settings for settings, _ in ENSEMBLES.values())), Field(discriminator="name")]


def why_not_ase(settings: EnsembleSettings) -> str:
    """Why ASE's integrators cannot do this ensemble, and what can; empty where they can."""
    name = type(settings).__name__
    _, build = ENSEMBLES[settings.name]
    if build is None:
        return f"ASE's integrators have no {name}: use run_md_many, or here NPT or NPTIsotropic."
    ramped = [key for key, schedule in settings.schedules.items() if not is_constant(schedule)]
    if ramped:
        return (
            f"{' and '.join(ramped)} of {name} change during the run, which ASE's integrators cannot follow: use "
            "run_md_many, or here one number."
        )
    return ""


def build_integrator(atoms: Atoms, timestep_fs: float, settings: EnsembleSettings) -> Integrator:
    """ASE's integrator of `settings` acting on `atoms` (in place), with time step in fs.

    Raises:
        ValueError: ASE has no such integrator, or none that follows a ramp; or the atoms move as a whole.
    """
    _, build = ENSEMBLES[settings.name]
    reason = why_not_ase(settings)
    if build is None or reason:
        raise ValueError(reason)
    check_momentum(atoms, settings)
    return build(atoms, timestep_fs, settings)
