"""What a potential says of its own errors, as the calculator tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from gfm_ase.outside import OUTSIDE, Limits
from potentials.calibration import UNCERTAINTY, HeadCalibration, Intervals
from potentials.ensemble import AnyPotential
from potentials.graph import AtomicGraph
from potentials.manifest import Manifest

Evaluate = Callable[[AtomicGraph], dict[str, Tensor]]


class Uncertainties:
    """Which uncertainties one head tells, and what they mean.

    Args:
        potential: that answers.
        head: of it; none as long as it is not chosen, and nothing is told.
        manifest: of its checkpoint.

    Attributes:
        names: of what is told.
        limits: what they are compared with to say how far outside of the training structures a structure is; none where
            the checkpoint does not know.
    """

    def __init__(self, potential: AnyPotential, head: str | None, manifest: Manifest) -> None:
        self._head = head
        self.names: tuple[str, ...] = ()
        self.limits: Limits | None = None
        self._calibration: HeadCalibration | None = None
        self._intervals: Intervals | None = None
        if head is None:
            return
        known = potential.known_uncertainties(head)
        self._outside = manifest.heads[head].outside
        self._calibration = calibration = manifest.calibration.get(head)
        if calibration is not None:
            self._intervals = Intervals(calibration)
            told = {UNCERTAINTY[name] for name in calibration.quantities}
            told |= {"uncertainty"} if UNCERTAINTY["forces"] in told else set()
            known = tuple(name for name in known if name in told)
        if self._outside and UNCERTAINTY["forces"] in known:
            self.limits = Limits(head, self._outside, calibration)
            known = (*known, OUTSIDE)
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
        if self.limits is not None:
            self.limits = Limits(self.limits.head, self._outside, self._calibration, coverage)

    def of(self, evaluate: Evaluate) -> Evaluate:
        """The same function of graphs, its uncertainties calibrated, and with `outside` where that is known."""
        intervals, limits = self._intervals, self.limits
        if intervals is None and limits is None:
            return evaluate

        def tell(graph: AtomicGraph) -> dict[str, Tensor]:
            found = evaluate(graph)
            if intervals is not None:
                found = intervals.apply(found, graph)
            return found if limits is None else limits.add(found, graph)

        return tell

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
