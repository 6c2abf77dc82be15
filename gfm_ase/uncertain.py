"""What a potential says of its own errors, as the calculator tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from potentials.calibration import UNCERTAINTY, Intervals
from potentials.ensemble import AnyPotential
from potentials.graph import AtomicGraph
from potentials.manifest import Manifest

Evaluate = Callable[[AtomicGraph], dict[str, Tensor]]


class Uncertainties:
    """Which uncertainties one head tells, and what they mean.

    Args:
        potential: that answers.
        head: of it.
        manifest: of its checkpoint.

    Attributes:
        names: of what is told.
    """

    def __init__(self, potential: AnyPotential, head: str, manifest: Manifest) -> None:
        known = potential.known_uncertainties(head)
        self._head = head
        self._calibration = calibration = manifest.calibration.get(head)
        self._intervals = None if calibration is None else Intervals(calibration)
        if calibration is not None:
            told = {UNCERTAINTY[name] for name in calibration.quantities}
            told |= {"uncertainty"} if UNCERTAINTY["forces"] in told else set()
            known = tuple(name for name in known if name in told)
        self.names = known

    @property
    def calibrated(self) -> bool:
        """Whether they are half-widths of intervals; else they are standard deviations."""
        return self._intervals is not None

    @property
    def coverage(self) -> float | None:
        """Share of errors that the intervals hold; none of standard deviations."""
        return None if self._intervals is None else self._intervals.coverage

    def use_coverage(self, coverage: float) -> None:
        """From now on intervals that hold this share of errors.

        Raises:
            ValueError: not calibrated, or not for this coverage.
        """
        if self._calibration is None:
            raise ValueError(f"head {self._head!r} has no calibrated uncertainties; make them: gfm-ase calibrate")
        self._intervals = Intervals(self._calibration, coverage)

    def of(self, evaluate: Evaluate) -> Evaluate:
        """The same function of graphs, its uncertainties calibrated."""
        intervals = self._intervals
        if intervals is None:
            return evaluate
        return lambda graph: intervals.apply(evaluate(graph), graph)

    def results(self, computed: dict[str, Tensor], *, forces: bool = True, stress: bool = True) -> dict[str, Any]:
        """For a calculator, of one structure; `forces`, `stress`: whether those told are the energy's derivatives."""
        found: dict[str, Any] = {}
        for name in self.names:
            there = stress if name == UNCERTAINTY["stress"] else forces or name == UNCERTAINTY["energy"]
            if name not in computed or not there:
                continue
            value: np.ndarray[Any, Any] = computed[name].cpu().numpy()
            found[name] = value if name == UNCERTAINTY["forces"] else float(value[0])
        return found
