"""Calculators of the tests of labelling, named on its command line: odd in one way each."""

import os
import time
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Odd(EMT):  # type: ignore[misc] # ASE has no types
    """EMT that prints, and does what info["odd"] says; every calculation is a line of the file `log`."""

    def __init__(self, log: str | None = None, seconds: float = 0.0) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Print, log, wait, then fail as asked or compute."""
        print("no answer")  # noqa: T201 - what calculators do
        if self.log is not None:
            with Path(self.log).open("a") as log:
                log.write(f"{atoms.info.get('name', '')}\n")
        odd = atoms.info.get("odd")
        if odd == "dies":
            os._exit(7)
        time.sleep(60.0 if odd == "hangs" else self.seconds)
        super().calculate(atoms, properties, system_changes)
        if odd == "nan":
            self.results["forces"] = self.results["forces"] * float("nan")


class EnergyAlone(Calculator):  # type: ignore[misc] # ASE has no types
    """The number of atoms, as an energy; no forces."""

    implemented_properties = ("energy",)

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """See `Calculator`."""
        super().calculate(atoms, properties, system_changes)
        self.results["energy"] = float(len(self.atoms))


def nothing() -> str:
    """What is no calculator."""
    return "nothing"


def copper(number: int) -> list[Atoms]:
    """Rattled cells of four atoms, each with a name."""
    frames = []
    for seed in range(number):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.info["name"] = f"n{seed}"
        frames.append(atoms)
    return frames
