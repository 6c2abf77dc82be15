"""The ensembles of molecular dynamics: name → (settings, builder).

A new integrator is a settings class, a builder and a line in `ENSEMBLES`. A builder returns the ASE dynamics
together with the names of the variables it carries besides the atoms: what a restart has to bring back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter, or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin as ASELangevin
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray
from pydantic import Field

from md_workflows.settings import Settings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class EnsembleSettings(Settings):
    """What every ensemble has in common."""

    needs_stress: ClassVar[bool] = False
    allows_constraints: ClassVar[bool] = True

    @property
    def thermostat_temperature(self) -> float | None:
        """The temperature held, in K, or None when energy is held instead."""
        return None


class NVE(EnsembleSettings):
    """Constant energy: velocity Verlet (Swope et al., J. Chem. Phys. 76, 637, 1982)."""

    name: Literal["nve"] = "nve"


class Langevin(EnsembleSettings):
    """Constant temperature by friction and noise.

    Vanden-Eijnden & Ciccotti, Chem. Phys. Lett. 429, 310 (2006). Give each replica its own seed.
    """

    name: Literal["langevin"] = "langevin"
    temperature_K: Annotated[float, Field(ge=0)]
    friction_per_fs: Positive = 0.01
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def thermostat_temperature(self) -> float:
        """The temperature held, in K."""
        return self.temperature_K


class _Chain(EnsembleSettings):
    """What a Nosé–Hoover chain takes; ASE's integrators with chains know no constraints."""

    allows_constraints: ClassVar[bool] = False
    temperature_K: Positive
    tdamp_fs: Positive = 100.0
    tchain: Count = 3
    tloop: Count = 1

    @property
    def thermostat_temperature(self) -> float:
        """The temperature held, in K."""
        return self.temperature_K


class _ChainAndBarostat(_Chain):
    """What the MTK barostat takes in addition."""

    needs_stress: ClassVar[bool] = True
    pressure_GPa: float = 0.0
    pdamp_fs: Positive = 1000.0
    pchain: Count = 3
    ploop: Count = 1


class NoseHooverChain(_Chain):
    """Constant temperature by a Nosé–Hoover chain: Martyna, Klein & Tuckerman, JCP 97, 2635 (1992)."""

    name: Literal["nose_hoover_chain"] = "nose_hoover_chain"


class NPTIsotropic(_ChainAndBarostat):
    """Constant temperature and pressure, the cell keeps its shape.

    Martyna, Tobias & Klein, J. Chem. Phys. 101, 4177 (1994).
    """

    name: Literal["npt_isotropic"] = "npt_isotropic"


class NPT(_ChainAndBarostat):
    """Constant temperature and pressure, lengths and angles of the cell move.

    Martyna, Tobias & Klein, J. Chem. Phys. 101, 4177 (1994).
    """

    name: Literal["npt"] = "npt"


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
        temperature_K=settings.temperature_K,
        friction=settings.friction_per_fs / units.fs,
        fixcm=False,  # ASE's fixcm does not sample the canonical ensemble
        rng=random,
    )
    return Integrator(dynamics, random=random)


def _thermostat(timestep_fs: float, settings: _Chain) -> dict[str, Any]:
    return {
        "timestep": timestep_fs * units.fs,
        "temperature_K": settings.temperature_K,
        "tdamp": settings.tdamp_fs * units.fs,
        "tchain": settings.tchain,
        "tloop": settings.tloop,
    }


def _barostat(settings: _ChainAndBarostat) -> dict[str, Any]:
    return {
        "pressure_au": settings.pressure_GPa * units.GPa,
        "pdamp": settings.pdamp_fs * units.fs,
        "pchain": settings.pchain,
        "ploop": settings.ploop,
    }


_THERMOSTAT = ("_thermostat._eta", "_thermostat._p_eta")
_BAROSTAT = ("_barostat._xi", "_barostat._p_xi")


def _build_nose_hoover_chain(atoms: Atoms, timestep_fs: float, settings: NoseHooverChain) -> Integrator:
    return Integrator(NoseHooverChainNVT(atoms, **_thermostat(timestep_fs, settings)), _THERMOSTAT)


def _build_npt_isotropic(atoms: Atoms, timestep_fs: float, settings: NPTIsotropic) -> Integrator:
    dynamics = IsotropicMTKNPT(atoms, **_thermostat(timestep_fs, settings), **_barostat(settings))
    return Integrator(dynamics, (*_THERMOSTAT, *_BAROSTAT, "_eps", "_p_eps", "_cell0", "_volume0"))


def _build_npt(atoms: Atoms, timestep_fs: float, settings: NPT) -> Integrator:
    dynamics = MTKNPT(atoms, **_thermostat(timestep_fs, settings), **_barostat(settings))
    return Integrator(dynamics, (*_THERMOSTAT, *_BAROSTAT, "_p_g"))


Builder = Callable[[Atoms, float, Any], Integrator]

ENSEMBLES: dict[str, tuple[type[EnsembleSettings], Builder]] = {
    "nve": (NVE, _build_nve),
    "langevin": (Langevin, _build_langevin),
    "nose_hoover_chain": (NoseHooverChain, _build_nose_hoover_chain),
    "npt_isotropic": (NPTIsotropic, _build_npt_isotropic),
    "npt": (NPT, _build_npt),
}

if TYPE_CHECKING:
    AnyEnsemble = EnsembleSettings
else:  # the union follows the registry, which a type checker cannot evaluate
    AnyEnsemble = Annotated[reduce(or_, (settings for settings, _ in ENSEMBLES.values())), Field(discriminator="name")]


def build_integrator(atoms: Atoms, timestep_fs: float, settings: EnsembleSettings) -> Integrator:
    """The integrator of `settings` acting on `atoms` (in place), with time step in fs."""
    build = next(builder for known, builder in ENSEMBLES.values() if type(settings) is known)
    return build(atoms, timestep_fs, settings)
