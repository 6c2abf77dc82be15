"""Structures outside of what a head was trained on: how far they are, and the warning that says so.

A checkpoint may hold, for each head and element, the `forces_uncertainty` that hardly an atom of the training
structures exceeds (`train.outside`). How far an atom is outside is its own in parts of that; of a structure, the
largest of its atoms'. Calibrated uncertainties grow with what they are made of: the limits are calibrated like them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray
from torch import Tensor

from potentials.calibration import COVERAGE, ROWS, HeadCalibration, half_widths
from potentials.edges import largest_of_segments
from potentials.graph import AtomicGraph

OUTSIDE = "outside"
"""Name among results: a number for each structure, above 1 outside."""

FORCES = "forces_uncertainty"

GROWTH = 2.0
"""A run of structures that was warned of is warned of again once it is so many times as far outside."""

LEAST, NONE = 1e-12, float(np.finfo(np.float64).max)
"""eV/Å: no limit is below; that of elements without one, which only the infinite uncertainty of those without training
atoms exceeds."""


class OutsideDataWarning(UserWarning):
    """A structure has atoms with surroundings that the training structures of the head did not have."""


class Limits:
    """What the uncertainties of one head are compared with; warns of structures above.

    Args:
        head: its name.
        outside: eV/Å by element, as in `HeadRecord`; not empty.
        calibration: of the head, where the uncertainties are calibrated.
        coverage: of the intervals then.
    """

    def __init__(
        self, head: str, outside: Mapping[str, float], calibration: HeadCalibration | None, coverage: float = COVERAGE
    ) -> None:
        self.head = head
        numbers = [atomic_numbers[symbol] for symbol in outside]
        own = np.fromiter(outside.values(), dtype=np.float64)
        if calibration is not None:
            own = half_widths(calibration.quantities["forces"], own, coverage=coverage, numbers=numbers)
        self.limits: NDArray[np.float64] = np.full(ROWS, NONE)
        self.limits[numbers] = own.clip(min=LEAST)
        self._tensor = torch.from_numpy(self.limits)
        self._numbers: NDArray[Any] | None = None
        self._told = 0.0

    def add(self, found: dict[str, Tensor], graph: AtomicGraph) -> dict[str, Tensor]:
        """The results with `outside` [G], where they have uncertainties of forces."""
        if FORCES not in found:
            return found
        if self._tensor.device != graph.numbers.device:
            self._tensor = self._tensor.to(graph.numbers.device)
        parts_N = found[FORCES] / self._tensor[graph.numbers]
        return {**found, OUTSIDE: largest_of_segments(parts_N, graph.graph_index, graph.n_graphs)}

    def look(self, results: Mapping[str, Any], atoms: Atoms) -> None:
        """Warn by `OutsideDataWarning` where the results of a structure say so.

        Once for structures of the same atoms that come one after another, as in dynamics and relaxations, and again
        when one is twice as far outside.
        """
        if OUTSIDE not in results:
            return
        if self._numbers is None or not np.array_equal(self._numbers, atoms.numbers):
            self._numbers, self._told = atoms.numbers.copy(), 0.0
        far = results[OUTSIDE]
        if not far > max(1.0, GROWTH * self._told):
            return
        self._told = far
        limits = self.limits[atoms.numbers]
        worst = int(np.argmax(results[FORCES] / limits))
        known = f"where hardly a training structure is above {limits[worst]:.3g} eV/Å"
        warnings.warn(
            f"outside the data of head {self.head!r}: {atoms.get_chemical_formula()} has a force uncertainty of"
            f" {results[FORCES][worst]:.3g} eV/Å at atom {worst} ({atoms.symbols[worst]}),"
            f" {known if limits[worst] < NONE else 'an element without training atoms'}; check its results against a"
            " calculation of the theory",
            OutsideDataWarning,
            stacklevel=2,
        )
