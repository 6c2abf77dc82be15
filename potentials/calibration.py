"""Calibration of a head: what turns its raw uncertainties into intervals that hold a stated share of the errors.

`HeadCalibration` is the record in the manifest, by head; `Intervals` applies one, at a coverage, to the tensors of a
batch, and `half_widths` to NumPy arrays. How the numbers are found is in `train.calibration`.

An error e with raw uncertainty s has the score |e| / √(s² + floor²); the interval of coverage c is the prediction ±
factor(c, element) √(s² + floor²), where the factor is a quantile of the scores of held-back structures (split conformal
prediction: Vovk et al., Algorithmic Learning in a Random World, 2005; Angelopoulos and Bates, arXiv:2107.07511).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from potentials.edges import largest_of_segments
from potentials.graph import AtomicGraph

Floats = NDArray[np.float64]

QuantityName = Literal["energy", "forces", "stress"]

UNCERTAINTY: dict[QuantityName, str] = {name: f"{name}_uncertainty" for name in ("energy", "forces", "stress")}
"""Names of uncertainties among the results of a potential, by quantity."""

OTHERS = "*"
"""In the place of a symbol: elements without a factor of their own, and quantities of whole structures."""

COVERAGE = 0.9
"""What intervals hold unless another share is asked for."""

ROWS = max(atomic_numbers.values()) + 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuantityCalibration(_Record):
    """Factors of one quantity.

    Attributes:
        floor: eV per atom, eV/Å or eV/Å³; added in squares to the raw uncertainty (energy: times the number of atoms).
        factors: by coverage ("0.9"), then by element symbol or "*". An element that is not there has that of "*"; a
            coverage that is not there would have needed more structures.
        structures: how many the factors were found on, by symbol or "*".
        values: how many errors the factors were found on, by symbol or "*".
        spread: by coverage, the standard deviation of the true coverage over draws of the calibration structures.
    """

    floor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    factors: dict[str, dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]]
    structures: dict[str, int]
    values: dict[str, int]
    spread: dict[str, float] = {}

    def table(self, coverage: float) -> Floats:
        """[119] factors by atomic number; row 0 is that of "*".

        Raises:
            ValueError: the coverage is none of those that were calibrated; the message names them.
        """
        factors = self.factors.get(f"{coverage:g}")
        if factors is None:
            there = ", ".join(sorted(self.factors)) or "none"
            raise ValueError(
                f"coverage {coverage:g} is not among those calibrated: {there}; choose one of them, or calibrate again"
                f" with --coverage {coverage:g} on more than {self.structures.get(OTHERS, 0)} structures"
            )
        found = np.full(ROWS, factors[OTHERS])
        for symbol, factor in factors.items():
            if symbol != OTHERS:
                found[atomic_numbers[symbol]] = factor
        return found


class HeadCalibration(_Record):
    """Calibration of one head.

    Attributes:
        quantities: those that were calibrated; others have no calibrated uncertainty.
        fingerprint: SHA-256 of the calibration structures.
    """

    quantities: dict[QuantityName, QuantityCalibration]
    fingerprint: str = ""

    @field_validator("quantities")
    @classmethod
    def _usual_coverage(
        cls, quantities: dict[QuantityName, QuantityCalibration]
    ) -> dict[QuantityName, QuantityCalibration]:
        for name, one in quantities.items():
            if f"{COVERAGE:g}" not in one.factors:
                raise ValueError(f"{name} is not calibrated for a coverage of {COVERAGE:g}, which calculators give")
        return quantities


def half_widths(
    calibration: QuantityCalibration,
    uncertainty: Any,
    *,
    coverage: float = COVERAGE,
    numbers: Any = None,
    atoms: Any = 1,
) -> Floats:
    """Half-widths of intervals that hold this share of the errors.

    Args:
        calibration: of the quantity.
        uncertainty: [M] raw, in the unit of the quantity (energy: of the structure).
        coverage: one of those calibrated.
        numbers: [M] atomic numbers (forces), or none: the factor of "*" (energy, stress).
        atoms: [M] atoms of the structure (energy), or 1.

    Raises:
        ValueError: the coverage is none of those calibrated.
    """
    table = calibration.table(coverage)
    factors = table[0] if numbers is None else table[np.asarray(numbers)]
    floor = calibration.floor * np.asarray(atoms, dtype=np.float64)
    found: Floats = factors * np.hypot(np.asarray(uncertainty, dtype=np.float64), floor)
    return found


class Intervals:
    """Calibrated uncertainties of one head, at one coverage.

    Args:
        calibration: of the head.
        coverage: share of the errors that the intervals hold.

    Raises:
        ValueError: the coverage is none of those calibrated.
    """

    def __init__(self, calibration: HeadCalibration, coverage: float = COVERAGE) -> None:
        self.coverage = coverage
        self.floors = {name: quantity.floor for name, quantity in calibration.quantities.items()}
        self.tables = {
            name: torch.from_numpy(quantity.table(coverage)) for name, quantity in calibration.quantities.items()
        }

    def apply(self, results: dict[str, Tensor], graph: AtomicGraph) -> dict[str, Tensor]:
        """The results with half-widths in the place of raw uncertainties.

        Args:
            results: of a potential, with energy_uncertainty [G], forces_uncertainty [N], stress_uncertainty [G]; those
                that are not there stay away, and those that were not calibrated are left out.
            graph: that was evaluated.

        Returns:
            new results; `uncertainty` [G] is the largest forces_uncertainty of each structure.
        """
        raw = {*UNCERTAINTY.values(), "uncertainty"}
        found = {name: value for name, value in results.items() if name not in raw}
        for name, table in self.tables.items():
            if (given := results.get(UNCERTAINTY[name])) is None:
                continue
            factors = table.to(given.device)
            scale = self._scale(name, given, graph)
            found[UNCERTAINTY[name]] = scale * (factors[graph.numbers] if name == "forces" else factors[0])
        if "forces" in self.tables and "uncertainty" in results:
            found["uncertainty"] = largest_of_segments(found[UNCERTAINTY["forces"]], graph.graph_index, graph.n_graphs)
        return found

    def _scale(self, name: QuantityName, raw: Tensor, graph: AtomicGraph) -> Tensor:
        floor = torch.full_like(raw, self.floors[name], dtype=torch.float64)
        if name == "energy":
            floor = floor * torch.bincount(graph.graph_index, minlength=graph.n_graphs)
        return torch.hypot(raw.double(), floor)
