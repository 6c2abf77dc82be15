"""What a search leaves of each trial."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from train.comparison_rows import Record

State = Literal["waiting", "running", "paused", "finished", "stopped", "violates", "failed"]
OVER: tuple[State, ...] = ("finished", "stopped", "violates", "failed")
"""States that nothing follows."""


class Outcome(Record):
    """What a session of a trial has come to, as its process says.

    Attributes:
        kind: "finished"; "paused" at the epoch asked for; "interrupted" by a signal; "violates" a constraint; "failed".
        reason: in a sentence.
        exit_code: of what failed.
        parameters: learnt numbers.
        inference_atoms_per_s: energy and forces.
        training_atoms_per_s: of the fastest epoch of the session.
        peak_memory_MB: of the process.
    """

    kind: Literal["finished", "paused", "interrupted", "violates", "failed"]
    reason: str = ""
    exit_code: int = 0
    parameters: int = 0
    inference_atoms_per_s: float = 0.0
    training_atoms_per_s: float = 0.0
    peak_memory_MB: float = 0.0


class TrialRow(Record):
    """One trial.

    Attributes:
        number: in the study.
        state: "waiting" for a worker after an interruption, or for more to spend; "running"; "paused" (it may go on);
            "finished"; "stopped" early for good; "violates" a constraint; "failed".
        reason: of the state, in a sentence.
        values: of the parameters.
        tries: sessions that failed.
        worker: that had it last.
        epochs, of_epochs: over, and in all.
        error: of the weights taken: what the search makes small; none before the first validation.
        inference_s_per_atom: energy and forces; none while it is not measured.
        energy_J: used, all sessions together; none where the journal does not say.
        energy_source: who says so.
        seconds: of training.
        parameters: learnt numbers.
        training_atoms_per_s: of the fastest epoch.
        peak_memory_MB: of a process.
    """

    number: int
    state: State = "waiting"
    reason: str = ""
    values: dict[str, Any] = Field(default_factory=dict)
    tries: int = 0
    worker: str = ""
    epochs: int = 0
    of_epochs: int = 0
    error: float | None = None
    inference_s_per_atom: float | None = None
    energy_J: float | None = None
    energy_source: str = ""
    seconds: float = 0.0
    parameters: int = 0
    training_atoms_per_s: float = 0.0
    peak_memory_MB: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self.state in OVER

    def objectives(self, minimise: tuple[str, ...]) -> list[float]:
        """What the search makes small, in its order; infinite where it is not known."""
        of = {"error": self.error, "inference": self.inference_s_per_atom, "energy": self.energy_J}
        return [math.inf if (value := of[name]) is None else value for name in minimise]


def pareto_front(rows: list[TrialRow], minimise: tuple[str, ...]) -> list[TrialRow]:
    """Finished trials that no other beats in an objective while it is as good in the others; the least error first.

    Of trials that are alike in all objectives the first is taken.
    """
    finished = [row for row in rows if row.state == "finished" and row.error is not None]
    points = {row.number: row.objectives(minimise) for row in finished}

    def beaten(one: TrialRow) -> bool:
        own = points[one.number]
        for other in finished:
            theirs = points[other.number]
            alike = theirs == own and other.number < one.number
            if all(a <= b for a, b in zip(theirs, own, strict=True)) and (theirs != own or alike):
                return True
        return False

    return sorted((row for row in finished if not beaten(row)), key=lambda row: (row.error, row.number))
