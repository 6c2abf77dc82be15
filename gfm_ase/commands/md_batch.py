"""Many runs of `gfm-ase md` in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import md_workflows

if TYPE_CHECKING:
    from ase import Atoms

TOLD = 10
"""Stopped runs that are named one by one."""


@dataclass(frozen=True)
class Batch:
    """What is asked for; the output's suffix is that of the trajectories, in a directory of its name without it."""

    structures: list[Atoms]
    settings: md_workflows.MDSettings
    replicas: int
    guards: md_workflows.MDGuards | None
    output: Path
    on_existing: Any
    report: str | None = None

    @property
    def needed(self) -> bool:
        """Whether it is more than one plain run, or one that ASE's integrators cannot do."""
        many = len(self.structures) > 1 or self.replicas > 1 or self.guards is not None
        return many or bool(md_workflows.why_not_ase(self.settings.ensemble))

    @property
    def reporters(self) -> list[str]:
        """The names of the reporters asked for."""
        return [] if self.report is None else [name.strip() for name in self.report.split(",")]

    @property
    def files(self) -> md_workflows.BatchFiles:
        """Where all is written."""
        if not self.output.suffix:
            return md_workflows.BatchFiles(self.output)
        return md_workflows.BatchFiles(self.output.with_suffix(""), suffix=self.output.suffix)


def run_batch(batch: Batch, calculator: Any) -> list[str]:
    """Run all; returns what is to be said of it."""
    structures, settings = md_workflows.replicated(batch.structures, batch.settings, batch.replicas)
    with md_workflows.progress_bar("molecular dynamics", "steps") as bar:
        outcomes = list(
            md_workflows.run_md_many(
                structures,
                settings,
                calculator=calculator,
                files=batch.files,
                on_existing=batch.on_existing,
                guards=batch.guards,
                progress=bar,
                reporters=batch.reporters,
            )
        )
    stopped = [outcome for outcome in outcomes if outcome.stopped]
    lines = [f"{len(outcomes) - len(stopped)} of {len(outcomes)} runs came to step {batch.settings.steps}."]
    for outcome in sorted(stopped, key=lambda outcome: outcome.index)[:TOLD]:
        how = "stopped at" if outcome.stopped.startswith("step ") else "did not begin:"
        lines.append(f"Run {outcome.index:06d} {how} {outcome.stopped.rstrip('.')}.")
    if len(stopped) > TOLD:
        lines.append(f"{len(stopped) - TOLD} more stopped.")
    lines.append(f"Trajectories, logs and state: {batch.files.directory}")
    return [*lines, *_of_doubts(batch, outcomes), *_of_reports(batch, outcomes)]


def _of_doubts(batch: Batch, outcomes: list[md_workflows.MDOutcome]) -> list[str]:
    """How many runs were above a limit on the uncertainty, and where candidates are."""
    policy = batch.settings.uncertainty
    if policy is None:
        return []
    seen = [outcome.doubts for outcome in outcomes if outcome.doubts is not None]
    above, kept = sum(one.steps_above > 0 for one in seen), sum(one.kept for one in seen)
    largest = max((one.largest for one in seen), default=0.0)
    lines = [f"{above} of {len(outcomes)} runs were uncertain, at most {largest:.4g} eV/Å."]
    if kept:
        lines.append(f"Candidates for labelling: {kept} in {policy.candidates or batch.files.candidates}")
    return lines


def _of_reports(batch: Batch, outcomes: list[md_workflows.MDOutcome]) -> list[str]:
    """Where the tables of each report are, and why some are not."""
    lines = []
    for name in batch.reporters:
        reasons = [outcome.unwritten[name] for outcome in outcomes if name in outcome.unwritten]
        written = sum(name in outcome.reports for outcome in outcomes) - len(reasons)
        if written:
            lines.append(f"Report {name} of {written} runs: {batch.files.directory}/*.{name}.csv")
        if reasons:
            lines.append(f"Left out for {len(reasons)} runs: {reasons[0]}")
    return lines
