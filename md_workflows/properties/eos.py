"""Equation of state: energies over volumes, fitted by Birch and Murnaghan's form."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from ase import Atoms, units
from ase.eos import EquationOfState
from pydantic import Field, field_validator

from md_workflows.engine import Engine
from md_workflows.properties.base import Column, Measured, Property, Value
from md_workflows.properties.crystals import crystal, deformed
from md_workflows.properties.stream import Computed, Derived, IonSettings, measure_each


class EOSSettings(IonSettings):
    """Which volumes.

    volume_range: relative, 0.1 goes from 90 % to 110 % of the volume given · points: odd, so that the structure itself
    is one · the rest as IonSettings.
    """

    volume_range: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    points: Annotated[int, Field(ge=5)] = 11

    @field_validator("points")
    @classmethod
    def _odd(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError("an odd number is needed, so that the structure itself is among them")
        return points


COLUMNS = (
    Column("eos_volume_A3_per_atom", "volume of the lowest energy"),
    Column("eos_energy_eV_per_atom", "the lowest energy"),
    Column("eos_bulk_modulus_GPa", "bulk modulus at the lowest energy"),
    Column("eos_bulk_modulus_derivative", "pressure derivative of the bulk modulus"),
    Column("eos_fit_rms_meV_per_atom", "root of the mean squared deviation of the energies from the fit"),
)


def measure(structures: Sequence[Atoms], engine: Engine, settings: EOSSettings) -> list[Measured]:
    """Birch–Murnaghan parameters; the curve `eos` holds volumes (Å³/atom) and energies (eV/atom).

    F. Birch, Phys. Rev. 71, 809 (1947).
    """
    factors = np.linspace(1 - settings.volume_range, 1 + settings.volume_range, settings.points)

    def derive(atoms: Atoms) -> Derived:
        base = crystal(atoms)
        return Derived([deformed(base, np.eye(3) * factor ** (1 / 3)) for factor in factors])

    return measure_each(structures, engine, derive, _fit, settings.relaxation)


def _fit(computed: Computed) -> Measured:
    number = len(computed.atoms)
    results = computed.results()
    volumes = np.array([result.atoms.get_volume() for result in results]) / number
    energies = np.array([result.energy for result in results]) / number
    curves = {"eos": (volumes.tolist(), energies.tolist())}
    if np.argmin(energies) in {0, len(energies) - 1}:
        where = "smallest" if np.argmin(energies) == 0 else "largest"
        error = f"the energy is lowest at the {where} volume, so there is no minimum to fit; relax the cell first."
        return Measured(error=error, curves=curves)
    fit = EquationOfState(volumes, energies, eos="birchmurnaghan")
    volume, energy, modulus = fit.fit(warn=False)
    deviation = energies - fit.func(volumes, *fit.eos_parameters)
    values: dict[str, Value] = {
        "eos_volume_A3_per_atom": float(volume),
        "eos_energy_eV_per_atom": float(energy),
        "eos_bulk_modulus_GPa": float(modulus / units.GPa),
        "eos_bulk_modulus_derivative": float(fit.eos_parameters[2]),
        "eos_fit_rms_meV_per_atom": float(1000 * np.sqrt(np.mean(deviation**2))),
    }
    return Measured(values, curves=curves)


EOS = Property(
    "equation of state: volume, bulk modulus and its pressure derivative (Birch–Murnaghan)",
    COLUMNS,
    EOSSettings,
    measure,
)
