"""The labels of one structure; and labelling as a property, so that tables, workers and restarts are a screening's."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator

from md_workflows.attached import check_usable, forget
from md_workflows.engine import Outcome
from md_workflows.labelling.calculators import CalculatorSpec, Make
from md_workflows.properties.base import Column, Measured, Property
from md_workflows.relaxation import RelaxSettings
from md_workflows.settings import Settings
from md_workflows.structures import one_line

ASKED = ("energy", "forces", "stress")
ALSO = ("charges", "magmoms", "dipole")
"""Results that are labels too, where the calculation has them by itself."""


class LabelError(RuntimeError):
    """Why there are no labels, as another process said it."""


class Labeller(ABC):
    """What gives labels, here or in a process of its own.

    identity: that of the calculator.
    """

    identity: str

    @abstractmethod
    def label(self, atoms: Atoms) -> dict[str, Any]:
        """The labels by name; raises where there are none."""

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what was begun for it."""

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        """Never called: labels are of structures as they are."""
        raise AssertionError(f"{self.identity} relaxes no {structures} with {settings}")


class Here(Labeller):
    """Labels computed in this process."""

    def __init__(self, spec: CalculatorSpec) -> None:
        """Raises ValueError as `CalculatorSpec.build`."""
        self._make, self.identity = spec.build(), spec.identity

    def label(self, atoms: Atoms) -> dict[str, Any]:
        """As `labels_of`."""
        return labels_of(atoms, self._make)


def labels_of(atoms: Atoms, make: Make) -> dict[str, Any]:
    """Energy (eV), forces (eV/Å, without constraints) and stress (eV/Å³, Voigt), as far as the calculator has them.

    Stress is asked for where some direction repeats and the cell has a volume.

    Raises:
        Exception: whatever the calculator raises; ValueError for a structure that is none, or labels that are not
            finite.
    """
    check_usable(atoms)
    work = atoms.copy()
    work.set_constraint()
    work.calc = make(atoms)
    forget(work.calc)
    asked = ASKED if atoms.pbc.any() and atoms.cell.rank == 3 else ASKED[:2]
    found: dict[str, Any] = {}
    for name in asked:
        try:
            found[name] = work.calc.get_property(name, work)
        except PropertyNotImplementedError:
            if name == "energy":
                raise
    results = getattr(work.calc, "results", {})
    found |= {name: results[name] for name in ALSO if name in results and not (name == "dipole" and atoms.pbc.any())}
    for name, value in found.items():
        if value is None or not np.isfinite(value).all():
            raise ValueError(f"the calculator gives no finite {name}")
    return {name: np.array(value) if np.ndim(value) else float(value) for name, value in found.items()}


class LabelSettings(Settings):
    """Of the property: nothing, for the calculator is the engine."""


def _measure(structures: Sequence[Atoms], engine: Any, settings: LabelSettings) -> list[Measured]:
    del settings  # it has none
    return [_labelled(atoms, engine) for atoms in structures]


def _labelled(atoms: Atoms, labeller: Labeller) -> Measured:
    start = time.perf_counter()
    try:
        labels = labeller.label(atoms)
    except LabelError as error:
        return Measured(error=str(error))
    except Exception as error:  # whatever a calculator raises is about this structure
        return Measured(error=one_line(error))
    labelled = atoms.copy()
    labelled.calc = SinglePointCalculator(labelled, **labels)
    seconds = time.perf_counter() - start
    return Measured(values={"label_energy_eV": labels["energy"], "label_s": seconds}, structures={"labelled": labelled})


LABEL = Property(
    "energies, forces and stresses by a reference calculator",
    (Column("label_energy_eV", "energy by the calculator"), Column("label_s", "time it took")),
    LabelSettings,
    _measure,
)
"""Labelling, as screenings know properties; not one that `gfm-ase screen` offers, for its engine is a `Labeller`."""


@dataclass(frozen=True)
class LabellerFactory:
    """Builds the labeller in a worker. timeout_s: of a structure, in a process of its own; none: here."""

    spec: CalculatorSpec
    timeout_s: float | None = None

    @property
    def identity(self) -> str:
        """That of the calculator; labels do not depend on how long one waits for them."""
        return self.spec.identity

    def __call__(self) -> Labeller:
        """The labeller; raises ValueError where the calculator cannot be made."""
        if self.timeout_s is None:
            return Here(self.spec)
        from md_workflows.labelling.child import Child

        return Child(self.spec, self.timeout_s)
