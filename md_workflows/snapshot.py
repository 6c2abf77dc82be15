"""One instant of a simulation as arrays: what trajectories store and reporters look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import dict2constraint
from ase.io.jsonio import decode, encode
from numpy.typing import NDArray

from md_workflows.frames import known_results
from md_workflows.uncertainty import MARK, UNCERTAINTIES, note_uncertainties, uncertainties_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class System:
    """What does not change along a trajectory.

    numbers [N] · masses [N] amu · pbc [3] · constraints: as JSON, empty where there are none · degrees_of_freedom: of
    all motion, 3N less those that constraints take.
    """

    numbers: Ints
    masses: Floats
    pbc: NDArray[np.bool_]
    constraints: str
    degrees_of_freedom: int

    @classmethod
    def of(cls, atoms: Atoms) -> System:
        """The system of `atoms`.

        Raises:
            ValueError: a constraint cannot say how many degrees of freedom it takes, or cannot be written down.
        """
        freedom, written = 3 * len(atoms), ""
        if atoms.constraints:
            try:
                freedom = int(atoms.get_number_of_degrees_of_freedom())
                written = str(encode([constraint.todict() for constraint in atoms.constraints]))
            except (NotImplementedError, AttributeError):
                kinds = ", ".join(type(constraint).__name__ for constraint in atoms.constraints)
                raise ValueError(
                    f"one of the constraints {kinds} does not tell its degrees of freedom or cannot be stored; "
                    "remove it, or use others (FixAtoms, FixCartesian, FixBondLengths, ...)."
                ) from None
        return cls(atoms.numbers.astype(np.int64), atoms.get_masses(), atoms.pbc.copy(), written, freedom)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Snapshot:
    """Positions and whatever else is known of a system at one step.

    positions [N,3] Å, never wrapped into the cell · momenta [N,3] ASE units · cell [3,3] Å · energy eV (potential) ·
    forces [N,3] eV/Å, without constraints · stress [6] eV/Å³, Voigt, without the kinetic part · uncertainty eV/Å,
    energy_uncertainty eV, stress_uncertainty eV/Å³, forces_uncertainty [N] eV/Å · outside: above 1 where it is outside
    of the model's data · uncertain: whether a limit was exceeded; None where unknown.
    """

    system: System
    step: int
    time_fs: float
    positions: Floats
    cell: Floats
    momenta: Floats | None = None
    energy: float | None = None
    forces: Floats | None = None
    stress: Floats | None = None
    uncertainty: float | None = None
    energy_uncertainty: float | None = None
    stress_uncertainty: float | None = None
    forces_uncertainty: Floats | None = None
    outside: float | None = None
    uncertain: bool | None = None

    @classmethod
    def of(cls, atoms: Atoms, step: int = 0, time_fs: float = 0.0, system: System | None = None) -> Snapshot:
        """A snapshot of `atoms` with the results that its calculator holds; nothing is computed.

        system: that of `atoms`, for callers who take many snapshots of the same ones.
        """
        results = known_results(atoms)
        return cls(
            System.of(atoms) if system is None else system,
            step,
            time_fs,
            atoms.positions.copy(),
            atoms.cell.array.copy(),
            atoms.get_momenta() if atoms.has("momenta") else None,
            results.get("energy"),
            results.get("forces"),
            results.get("stress"),
            **uncertainties_of(atoms),
            uncertain=bool(atoms.info[MARK]) if MARK in atoms.info else None,
        )

    def atoms(self) -> Atoms:
        """ASE atoms that hold the results; step and time_fs are in `info`."""
        made = Atoms(
            numbers=self.system.numbers, positions=self.positions, cell=self.cell, pbc=self.system.pbc,
            info={"step": self.step, "time_fs": self.time_fs},
        )  # fmt: skip
        if not np.array_equal(made.get_masses(), self.system.masses):
            made.set_masses(self.system.masses)
        if self.momenta is not None:
            made.set_momenta(self.momenta)
        if self.system.constraints:
            made.set_constraint([dict2constraint(one) for one in decode(self.system.constraints)])
        results: dict[str, Any] = {"energy": self.energy, "forces": self.forces, "stress": self.stress}
        known = {name: value for name, value in results.items() if value is not None}
        if known:
            made.calc = SinglePointCalculator(made, **known)
        doubts = {name: getattr(self, name) for name in UNCERTAINTIES}
        note_uncertainties(made, {name: value for name, value in doubts.items() if value is not None})
        if self.uncertain is not None:
            made.info[MARK] = self.uncertain
        return made


def known_system(given: System, known: System, where: str) -> None:
    """Raise ValueError when `given` is not the system `known` that `where` (a file, a report) has been about."""
    for name in ("numbers", "pbc", "masses", "degrees_of_freedom"):
        one, other = getattr(given, name), getattr(known, name)
        if not np.array_equal(one, other):
            raise ValueError(
                f"{where} is about {len(known)} atoms that keep their order; this frame has other "
                f"{name.replace('_', ' ')} ({len(given)} atoms). Give each system a place of its own."
            )
