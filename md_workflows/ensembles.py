"""The settings of the ensembles of molecular dynamics.

`temperature_K` and `pressure_GPa` are a number, a `Ramp` or points (step, value); see `md_workflows.ramps`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from md_workflows import ramps
from md_workflows.settings import Settings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Degrees = Literal["internal", "ase"]


class EnsembleSettings(Settings):
    """What every ensemble has in common.

    conserves_momentum: whether the total momentum stays, so that it has to be zero and is no degree of freedom.
    """

    name: str
    needs_stress: ClassVar[bool] = False
    allows_constraints: ClassVar[bool] = True
    conserves_momentum: ClassVar[bool] = True

    @property
    def schedules(self) -> dict[str, ramps.Schedule]:
        """The temperature and the pressure that are held, by their names here."""
        names = ("temperature_K", "pressure_GPa")
        return {name: getattr(self, name) for name in names if name in type(self).model_fields}

    @property
    def thermostat_temperature(self) -> float | None:
        """The temperature held at first, in K, or None when energy is held instead."""
        held = self.schedules.get("temperature_K")
        return None if held is None else ramps.value_at(held, 0)


class NVE(EnsembleSettings):
    """Constant energy: velocity Verlet (Swope et al., J. Chem. Phys. 76, 637, 1982)."""

    name: Literal["nve"] = "nve"


class Langevin(EnsembleSettings):
    """Constant temperature by friction and noise; give each replica its own seed.

    ASE's integrator is that of Vanden-Eijnden & Ciccotti, Chem. Phys. Lett. 429, 310 (2006), the batched one is BAOAB,
    Leimkuhler & Matthews, J. Chem. Phys. 138, 174102 (2013).
    """

    conserves_momentum: ClassVar[bool] = False
    name: Literal["langevin"] = "langevin"
    temperature_K: ramps.NotNegative
    friction_per_fs: Positive = 0.01
    seed: Seed = 0


class Bussi(EnsembleSettings):
    """Constant temperature by stochastic rescaling of velocities: Bussi, Donadio & Parrinello, JCP 126, 014101 (2007).

    degrees: "internal" counts 3N - 3 degrees of freedom, without the total momentum, "ase" all that are not held.
    """

    name: Literal["bussi"] = "bussi"
    temperature_K: ramps.NotNegative
    tdamp_fs: Positive = 100.0
    seed: Seed = 0
    degrees: Degrees = "internal"


class _Chain(EnsembleSettings):
    """What a Nosé–Hoover chain takes; ASE's integrators with chains know no constraints.

    degrees: "internal" counts 3N - 3 degrees of freedom of atoms and 6 of a free cell, all that moves; "ase" counts
    3N and 9, as ASE's integrators do.
    """

    allows_constraints: ClassVar[bool] = False
    temperature_K: ramps.Positive
    tdamp_fs: Positive = 100.0
    tchain: Count = 3
    tloop: Count = 1
    degrees: Degrees = "internal"


class _ChainAndBarostat(_Chain):
    """What the MTK barostat takes in addition."""

    needs_stress: ClassVar[bool] = True
    pressure_GPa: ramps.AnySchedule = 0.0
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


class _LangevinBarostat(EnsembleSettings):
    """Friction and noise on atoms and on the cell.

    pdamp_fs: sets the cell's inertia, as for MTK · cell_friction_per_fs: of the cell's motion.
    """

    needs_stress: ClassVar[bool] = True
    allows_constraints: ClassVar[bool] = False
    conserves_momentum: ClassVar[bool] = False
    temperature_K: ramps.Positive
    friction_per_fs: Positive = 0.01
    pressure_GPa: ramps.AnySchedule = 0.0
    pdamp_fs: Positive = 1000.0
    cell_friction_per_fs: Positive = 0.002
    seed: Seed = 0


class NPTLangevinIsotropic(_LangevinBarostat):
    """Constant temperature and pressure by friction and noise, the cell keeps its shape.

    Quigley & Probert, J. Chem. Phys. 120, 11432 (2004).
    """

    name: Literal["npt_langevin_isotropic"] = "npt_langevin_isotropic"


class NPTLangevin(_LangevinBarostat):
    """Constant temperature and pressure by friction and noise, lengths and angles of the cell move.

    Quigley & Probert, J. Chem. Phys. 120, 11432 (2004).
    """

    name: Literal["npt_langevin"] = "npt_langevin"
