"""Temperature, energies, pressure and uncertainty: means with standard errors by block averages."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from ase import units
from numpy.typing import NDArray

from md_workflows.analysis.blocks import BlockAverage, State
from md_workflows.analysis.reporter import Finding, Need, Reporter, ReporterSettings, Table, join, split
from md_workflows.snapshot import Snapshot, System

Floats = NDArray[np.float64]
UNITS = {"A3": "Å³", "eV_per_A": "eV/Å"}
"""As people write them."""
VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")


class Scalars(Reporter):
    """A reporter of numbers of each frame; `columns` names them with their units, `shown` those of the summary."""

    columns: ClassVar[tuple[str, ...]]
    shown: ClassVar[tuple[tuple[str, str], ...]]

    def __init__(self, settings: ReporterSettings | None = None) -> None:
        super().__init__(settings or ReporterSettings())
        self._blocks = BlockAverage(len(self.columns))
        self._times = np.full(2, np.nan)  # of the first and the last frame, fs

    @staticmethod
    @abstractmethod
    def values(snapshot: Snapshot) -> list[float]:
        """One number for each of `columns`."""

    def _take(self, snapshot: Snapshot) -> None:
        self._blocks.add(np.array(self.values(snapshot)))
        if np.isnan(self._times[0]):
            self._times[0] = snapshot.time_fs
        self._times[1] = snapshot.time_fs

    def tables(self) -> dict[str, Table]:
        """Mean, standard error and correlation time of each quantity."""
        estimates = self._blocks.estimates()
        spacing = (self._times[1] - self._times[0]) / max(len(self._blocks) - 1, 1)
        return {
            self.name: {
                "quantity": list(self.columns),
                "mean": [one.mean for one in estimates],
                "standard_error": [one.error for one in estimates],
                "samples": [one.samples for one in estimates],
                "correlation_time_fs": [one.correlation_time * spacing for one in estimates],
                "converged": [one.converged for one in estimates],
            }
        }

    def findings(self) -> list[Finding]:
        """The means."""
        found = dict(zip(self.columns, self._blocks.estimates(), strict=True))
        return [
            Finding(
                column.removesuffix(f"_{unit}").replace("_", " "),
                one.mean,
                one.error,
                UNITS.get(unit, unit),
                one.converged,
            )
            for column, unit in self.shown
            if (one := found[column])
        ]

    def _state(self) -> State:
        return join({"blocks": self._blocks.state(), "time": {"s": self._times.copy()}})

    def _restore(self, state: State) -> None:
        parts = split(state)
        self._blocks.restore(parts["blocks"])
        self._times = np.array(parts["time"]["s"])


class Temperature(Scalars):
    """Temperature of the internal motion, K."""

    name = "temperature"
    needs: ClassVar[tuple[Need, ...]] = ("momenta",)
    columns = ("temperature_K",)
    shown = (("temperature_K", "K"),)

    @staticmethod
    def values(snapshot: Snapshot) -> list[float]:
        """See `temperature_of`."""
        return [temperature_of(snapshot)]


class Energy(Scalars):
    """Potential, kinetic and total energy, eV."""

    name = "energy"
    needs: ClassVar[tuple[Need, ...]] = ("energy", "momenta")
    columns = ("potential_energy_eV", "kinetic_energy_eV", "total_energy_eV")
    shown = tuple((column, "eV") for column in columns)

    @staticmethod
    def values(snapshot: Snapshot) -> list[float]:
        """Potential, kinetic, total."""
        potential, kinetic = float(snapshot.energy or 0.0), kinetic_energy(snapshot)
        return [potential, kinetic, potential + kinetic]


class Pressure(Scalars):
    """Pressure and its parts, compression positive: GPa; the tensors in Voigt order; and the volume."""

    name = "pressure"
    needs: ClassVar[tuple[Need, ...]] = ("stress", "momenta", "volume")
    columns = (
        "pressure_GPa",
        "kinetic_pressure_GPa",
        "virial_pressure_GPa",
        "volume_A3",
        *(f"pressure_{part}_GPa" for part in VOIGT),
        *(f"kinetic_pressure_{part}_GPa" for part in VOIGT),
        *(f"virial_pressure_{part}_GPa" for part in VOIGT),
    )
    shown = (
        ("pressure_GPa", "GPa"),
        ("kinetic_pressure_GPa", "GPa"),
        ("virial_pressure_GPa", "GPa"),
        ("volume_A3", "A3"),
    )

    @staticmethod
    def values(snapshot: Snapshot) -> list[float]:
        """Traces, volume, and the tensors."""
        kinetic, virial = pressure_tensors(snapshot)
        total = kinetic + virial
        volume = abs(float(np.linalg.det(snapshot.cell)))
        traces = [float(tensor[:3].mean()) for tensor in (total, kinetic, virial)]
        return [*traces, volume, *total.tolist(), *kinetic.tolist(), *virial.tolist()]


class Uncertainty(Scalars):
    """What the potential says of its own errors: the largest uncertainty of a force component, eV/Å."""

    name = "uncertainty"
    needs: ClassVar[tuple[Need, ...]] = ("uncertainty",)
    columns = ("uncertainty_eV_per_A",)
    shown = (("uncertainty_eV_per_A", "eV_per_A"),)

    @staticmethod
    def values(snapshot: Snapshot) -> list[float]:
        """The largest of the atoms."""
        assert snapshot.uncertainty is not None
        return [snapshot.uncertainty]


def kinetic_energy(snapshot: Snapshot) -> float:
    """Of all motion, eV."""
    momenta = _momenta(snapshot)
    return float(0.5 * np.sum(momenta**2 / snapshot.system.masses[:, None]))


def internal_freedom(system: System) -> int:
    """Degrees of freedom of the temperature: 3N - 3; for one atom 3, with constraints 3N less what they take."""
    alone = len(system) == 1 or bool(system.constraints)
    return system.degrees_of_freedom - (0 if alone else 3)


def temperature_of(snapshot: Snapshot) -> float:
    """Temperature in K of the motion relative to the centre of mass.

    This is the thermostat's temperature both where the centre of mass moves (Langevin) and where its momentum is
    conserved (NVE, Nosé–Hoover chains, MTK). With constraints, which do not conserve it, all motion counts.

    Raises:
        ValueError: there is no degree of freedom.
    """
    system, momenta = snapshot.system, _momenta(snapshot)
    kinetic, freedom = kinetic_energy(snapshot), internal_freedom(system)
    if len(system) > 1 and not system.constraints:
        total = momenta.sum(axis=0)
        kinetic -= float(0.5 * total @ total / system.masses.sum())
    if freedom <= 0:
        raise ValueError("nothing is free to move in this system: it has no temperature; leave that report out.")
    return float(2 * kinetic / (freedom * units.kB))


def pressure_tensors(snapshot: Snapshot) -> tuple[Floats, Floats]:
    """The kinetic part and that of the forces (the virial over the volume), each [6], GPa, Voigt order."""
    assert snapshot.stress is not None
    momenta = _momenta(snapshot)
    volume = abs(float(np.linalg.det(snapshot.cell)))
    full = momenta.T @ (momenta / snapshot.system.masses[:, None]) / volume
    kinetic = full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return kinetic / units.GPa, -snapshot.stress / units.GPa


def _momenta(snapshot: Snapshot) -> Floats:
    assert snapshot.momenta is not None
    return snapshot.momenta
