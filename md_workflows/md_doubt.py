"""The uncertainty along one run of molecular dynamics: a reason to stop, marks on frames, candidates for labelling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from md_workflows.candidates import candidate
from md_workflows.uncertainty import MARK, UncertaintyPolicy, uncertainties_of


@dataclass(frozen=True)
class Doubts:
    """What a policy has seen of a run since its very beginning.

    steps_above: steps whose uncertainty was above the limit · kept: candidates that were written · largest: the largest
    value, in the unit of what is looked at.
    """

    steps_above: int = 0
    kept: int = 0
    largest: float = 0.0


@dataclass(frozen=True)
class Keeper:
    """Takes candidates. keep: appends one · source: what they say of where they come from."""

    keep: Callable[[Atoms], None]
    source: str


class Doubt:
    """Looks at the uncertainty of `atoms`, whose calculator holds the results of the present step.

    Args:
        atoms: of the run; their `info` tells whether they are above the limit.
        policy: None looks at nothing.
        timestep_fs: from step to step.
        keeper: takes candidates.
        known: what a state knows, empty at the beginning.
    """

    def __init__(
        self,
        atoms: Atoms,
        policy: UncertaintyPolicy | None,
        timestep_fs: float,
        keeper: Keeper,
        known: dict[str, Any],
    ) -> None:
        self._atoms, self._policy, self._timestep_fs, self._keeper = atoms, policy, timestep_fs, keeper
        self._value = 0.0  # of the step that was judged last
        self._above, self._kept = int(known.get("above", 0)), int(known.get("kept", 0))
        self._largest, self._last = float(known.get("largest", 0.0)), known.get("last")

    def judge(self, step: int) -> str:
        """Mark the atoms; returns why the run has to stop, empty where it goes on."""
        if self._policy is None:
            return ""
        known = uncertainties_of(self._atoms)
        self._value = known.get(self._policy.output, 0.0)
        reason = self._policy.judge(self._atoms, known)
        if not reason or self._policy.action != "stop":
            return ""
        self._count()
        if self._policy.candidates is not None:
            self._write(step)
        return reason

    def take(self, step: int) -> None:
        """Count a step that was judged, and keep the structure where that is due."""
        if self._policy is None:
            return
        self._count()
        due = self._kept < self._policy.most and (self._last is None or step - self._last >= self._policy.interval)
        if self._policy.action == "keep" and self._atoms.info[MARK] and due:
            self._write(step)
            self._last = step

    def _count(self) -> None:
        """Count the present step."""
        assert self._policy is not None
        self._above += self._atoms.info[MARK]
        self._largest = max(self._largest, self._value)

    def _write(self, step: int) -> None:
        told = {"step": step, "time_fs": step * self._timestep_fs}
        told["temperature_K"] = float(self._atoms.get_temperature())
        self._keeper.keep(candidate(self._atoms, source=self._keeper.source, **told))
        self._kept += 1

    def state(self) -> dict[str, Any]:
        """What a restart has to know."""
        if self._policy is None:
            return {}
        return {"above": self._above, "kept": self._kept, "largest": self._largest, "last": self._last}

    def found(self) -> Doubts | None:
        """What was seen; None without a policy."""
        return None if self._policy is None else Doubts(self._above, self._kept, self._largest)
