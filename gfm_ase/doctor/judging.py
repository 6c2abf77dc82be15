"""From differences to a finding: the worst one counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gfm_ase.doctor.findings import SEVERITY, Finding, Verdict
from gfm_ase.doctor.subject import HARMFUL_ENERGY, HARMFUL_FORCE, VALUE_SOURCE, Answer, Bounds


def judge(value: float, threshold: float, harmful: float) -> Verdict:
    """Pass up to the threshold, warning up to what does harm, failure beyond and where it is no number."""
    if value <= threshold:
        return Verdict.PASS
    return Verdict.WARN if value <= harmful else Verdict.FAIL


class Difference(NamedTuple):
    """One comparison: what, by how much it differs, what rounding allows and what does harm."""

    what: str
    value: float
    bound: float
    harmful: float
    unit: str

    @property
    def verdict(self) -> Verdict:
        """Of it alone."""
        return judge(self.value, self.bound, self.harmful)

    @property
    def rank(self) -> tuple[int, float]:
        """The larger, the worse."""
        return SEVERITY[self.verdict], self.value / max(self.bound, 1e-300) if np.isfinite(self.value) else np.inf


@dataclass
class Worst:
    """Collects differences; the finding is that of the worst."""

    source: str = VALUE_SOURCE
    seen: list[Difference] = field(default_factory=list)

    def add(self, what: str, got: ArrayLike, wanted: ArrayLike, *, bound: float, harmful: float, unit: str) -> None:
        """Note the largest difference of two arrays."""
        difference = np.abs(np.asarray(got, dtype=np.float64) - np.asarray(wanted, dtype=np.float64))
        self.seen.append(Difference(what, float(np.max(difference, initial=0.0)), bound, harmful, unit))

    def add_answers(self, what: str, got: Answer, wanted: Answer, bounds: Bounds) -> None:
        """Note energy and forces of what is one structure."""
        limit = len(wanted.forces) * HARMFUL_ENERGY
        self.add(f"energy of {what}", got.energy, wanted.energy, bound=bounds.energy, harmful=limit, unit="eV")
        self.add(
            f"forces of {what}", got.forces, wanted.forces, bound=bounds.forces, harmful=HARMFUL_FORCE, unit="eV/Å"
        )

    def finding(self, passed: str, failed: str) -> Finding:
        """The worst, with a sentence for a pass and the beginning of one for all else."""
        assert self.seen, "nothing was compared"
        worst = max(self.seen, key=lambda each: each.rank)
        size = f"{worst.value:.2g} {worst.unit}" if np.isfinite(worst.value) else "no number"
        text = f"{passed}; largest difference" if worst.verdict == Verdict.PASS else failed
        detail = f"{text}: {worst.what}, {size}"
        return Finding(worst.verdict, detail, worst.value, worst.bound, worst.unit, self.source)
