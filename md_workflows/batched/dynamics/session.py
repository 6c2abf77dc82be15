"""One call of many runs: what goes in, what is written down, what comes out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from md_workflows.analysis.registry import Wish
from md_workflows.analysis.reporting import Reporting
from md_workflows.batch_files import BatchFiles, BatchWriter, rewind_all
from md_workflows.batched.advance import Advance, Departure
from md_workflows.batched.dynamics.doubting import Doubting
from md_workflows.batched.dynamics.frames import candidates_of, frames_of, outcome_of
from md_workflows.batched.dynamics.motion import Driver, MolecularDynamics, Plan, last_good
from md_workflows.batched.dynamics.observed import log_rows
from md_workflows.batched.dynamics.registry import integrator_for
from md_workflows.batched.dynamics.reports import Reports
from md_workflows.batched.dynamics.state import BatchState, Gone, extended, fingerprint_of_all
from md_workflows.batched.dynamics.watch import Watch
from md_workflows.batched.fleet import Fleet
from md_workflows.batched.models import GraphModel, Model
from md_workflows.batched.room import measure_room
from md_workflows.candidates import CANDIDATES, CandidateFile, candidates_path
from md_workflows.durable import check_directory
from md_workflows.frames import Mark, rewind_file
from md_workflows.md import MDSettings
from md_workflows.md_guards import MDGuards
from md_workflows.md_many import MDOutcome
from md_workflows.progress import ProgressCallback

PROGRESS_SECONDS = 0.2
"""From one report of progress to the next."""


@dataclass(frozen=True)
class Asked:
    """What a call is about: structures with settings and guards of each, a model with its name, files or none.

    reporters: of every run.
    """

    structures: Sequence[Atoms]
    settings: Sequence[MDSettings]
    guards: Sequence[MDGuards]
    model: Model
    name: str
    files: BatchFiles | None
    reporters: Sequence[Wish] = ()

    def motion(self, plan: Plan) -> MolecularDynamics:
        """How they move; raises ValueError where that cannot be."""
        integrator = integrator_for(self.settings[0].ensemble)
        doubting = Doubting([one.uncertainty for one in self.settings], self.model, self.name)
        driver = Driver(self.name, self.model.has_stress, self.model.outputs)
        return MolecularDynamics(integrator, Watch(self.guards, integrator), doubting, plan, driver)

    def candidates(self) -> Path | None:
        """The file that structures are kept in for labelling; raises ValueError for none or several."""
        beside = None if self.files is None else self.files.candidates
        paths = {candidates_path(one.uncertainty, beside) for one in self.settings} - {None}
        if len(paths) > 1:
            raise ValueError(f"the runs of one call have one file of candidates, these have {sorted(map(str, paths))}.")
        return next(iter(paths), None)

    def source(self, key: int) -> str:
        """Where a candidate of this run comes from: the name of its frames, where there are any."""
        frames = None if self.files is None else self.files.frames_of(key)
        return f"run_{key:06d}" if frames is None else frames.name

    def fresh(self) -> BatchState:
        """The state before anything has begun."""
        reporting = Reporting(self.reporters)
        watched = {"reporters": reporting.settings} if reporting.settings else {}
        values: list[dict[str, Any]] = [
            {**one.model_dump(mode="json", exclude={"steps"}), "guards": limits.model_dump(mode="json"), **watched}
            for one, limits in zip(self.settings, self.guards, strict=True)
        ]
        return BatchState(fingerprint_of_all(self.structures, values), self.model.identity)


def begin(asked: Asked, on_existing: str) -> Session:
    """Check all that can be checked before anything is computed, and read the state that is to be continued.

    Raises:
        ValueError: as `run_md_many`.
    """
    files, fresh = asked.files, asked.fresh()
    session = Session(asked, fresh)
    candidates = asked.candidates()
    kept = [] if candidates is None or not candidates.exists() else [candidates]
    if candidates is not None and candidates.parent != getattr(files, "directory", None):
        check_directory(candidates)
    if files is None:
        if kept:
            raise ValueError(f"{candidates} exists already; name another file for the candidates, or remove it.")
        return session
    files.check()
    present = files.present(len(asked.structures)) + kept
    if present and on_existing == "error":
        raise ValueError(
            f"{files.directory} holds {present[0].name} and {len(present) - 1} more files of such runs; "
            "pass on_existing='restart' to continue or 'overwrite' to start again."
        )
    if present and on_existing == "restart":
        if not files.state.exists():
            raise ValueError(
                f"{files.directory} holds files of such runs, but no state to continue them from; "
                "remove them or use 'overwrite'."
            )
        for half_written in files.directory.glob(f".{files.state.stem}.*.tmp{files.state.suffix}"):
            half_written.unlink()
        state = BatchState.load(files.state, asked.model.device)
        state.check(fresh, files.state)
        state = extended(state, [one.steps for one in asked.settings], files.state)
        marks = dict(state.marks)
        kept_then = marks.pop(CANDIDATES, Mark(0))
        rewind_all(files, marks, len(asked.structures))
        if candidates is not None:
            rewind_file(candidates, kept_then)
        return Session(asked, replace(state, marks=marks))
    for path in present:
        path.unlink()
    files.directory.mkdir(exist_ok=True)
    return session


@dataclass
class Session:
    """A call on its way; it is its motion's observer."""

    asked: Asked
    state: BatchState
    _gone: list[tuple[Gone, Fleet | None]] = field(default_factory=list)  # since the state
    _rounds: int = 0
    _steps_of_gone: int = 0
    _told: float = 0.0
    _progress: ProgressCallback | None = None

    def __post_init__(self) -> None:
        """Make what moves and what writes; raises ValueError where the settings cannot be."""
        asked = self.asked
        self._reports = Reports(asked.reporters, asked.files, self.state.reports)
        self._reports.check_model(asked.model, asked.name)
        self._candidates = CandidateFile(asked.candidates())
        self.state = replace(self.state, reports={})  # the reporters have it now
        self._motion = asked.motion(Plan(asked.settings, self, self._rest, self._reports.intervals))
        self._writer = None if self.asked.files is None else BatchWriter(self.asked.files, self.state.marks)
        self._rounds = self.state.rounds

    def run(self, progress: ProgressCallback | None) -> Iterator[MDOutcome]:
        """Yield the outcome of each structure, those that had ended before first."""
        self._progress = progress
        self._reports.write()
        model, structures = self.asked.model, self.asked.structures
        for gone, fleet in self.state.ended_runs():
            yield self._outcome(gone, fleet)
        self._settle_room()
        if self.state.fleet is None and self.state.began == 0:
            self._save(None)  # from here on a restart is possible
        try:
            coming = islice(structures, self.state.began, None)
            fleet = None if self.state.fleet is None else self.state.fleet.copy()
            if fleet is not None:
                model.forget()  # as the run did that wrote the state
                self._motion.resume(fleet)
            for departure in Advance(model, self._motion).run(coming, fleet, self.state.began):
                parted = self._parted(departure)
                if self._writer is not None:  # else there is no state to keep them for
                    self._gone.append(parted)
                yield self._outcome(*parted)
            self._save(None)
        finally:
            if self._writer is not None:
                self._writer.flush()
        self._tell(None)

    def _settle_room(self) -> None:
        """What goes together is decided once, so that a restart puts the same together again."""
        model = self.asked.model
        if not isinstance(model, GraphModel) or self.asked.files is None:
            return
        if self.state.room is not None and self.state.ceiling is not None:
            model.sizer.budget, model.sizer.ceiling = self.state.room, self.state.ceiling
        elif not model.sizer.fixed:
            measure_room(model, self.asked.structures)
        model.sizer.settled = model.sizer.fixed = True

    def _parted(self, departure: Departure) -> tuple[Gone, Fleet | None]:
        fleet, key = departure.fleet, departure.key
        stopped = departure.error or self._motion.take_reason(key)
        if not departure.finite:
            stopped = "energy or forces are not finite"
        seconds = 0.0 if fleet is None else float(fleet.graph["seconds"][0])
        if stopped and fleet is not None:
            step = int(fleet.graph["step"][0])
            fleet = last_good(fleet)
            after = 0 if fleet is None else int(fleet.graph["step"][0]) + 1
            stopped = f"step {max(step, after)}: {stopped}"
        return Gone(key, stopped, seconds), None if fleet is None else fleet.copy()

    def _outcome(self, gone: Gone, fleet: Fleet | None) -> MDOutcome:
        outcome = outcome_of(self.asked.structures, gone, fleet)
        self._steps_of_gone += self.asked.settings[gone.key].steps
        if outcome.atoms is None:  # nothing to keep, nothing to tell
            return outcome
        if gone.stopped and self._writer is not None:
            self._writer.last_good(gone.key, outcome.atoms)
        reporting = self._reports.of(gone.key)
        return replace(outcome, reports=reporting.reporters, unwritten=reporting.unwritten)

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where a reporter cannot look at a structure."""
        self._reports.check(atoms)

    def look(self, fleet: Fleet, rows: list[int]) -> dict[int, str]:
        """Show the present frames of these rows to their reporters; returns why they refuse some."""
        keys = [int(fleet.graph["key"][row]) for row in rows]
        frames = frames_of(self.asked.structures, fleet, rows)
        reasons = {row: self._reports.look(key, frame) for row, key, frame in zip(rows, keys, frames, strict=True)}
        return {row: reason for row, reason in reasons.items() if reason}

    def frames(self, fleet: Fleet, rows: list[int]) -> None:
        """Write the present frames of these rows."""
        if self._writer is not None and self._writer.wants_frames:
            for frame, row in zip(frames_of(self.asked.structures, fleet, rows), rows, strict=True):
                self._writer.frame(int(fleet.graph["key"][row]), frame)

    def keep(self, fleet: Fleet, rows: list[int]) -> None:
        """Keep the present structures of these rows for labelling."""
        for structure in candidates_of(self.asked.structures, fleet, rows, self.asked.source):
            self._candidates.append(structure)

    def log(self, fleet: Fleet, rows: list[int]) -> None:
        """Write the present lines of the log of these rows."""
        if self._writer is not None and self._writer.wants_lines and rows:
            lines, keys = log_rows(fleet), fleet.keys
            for row in rows:
                self._writer.line(keys[row], lines[row])

    def _rest(self, fleet: Fleet) -> None:
        """All is known of the present geometry of everyone: the time to write a state, and to tell of progress."""
        interval = self.asked.settings[0].state_interval
        due = int(fleet.graph["step"][0]) if fleet.n_structures == 1 else self._rounds
        if due % interval == 0 and not (self._rounds == self.state.rounds and self.state.fleet is not None):
            self._save(fleet)
            if self.asked.model.remembers:
                self.asked.model.forget()
        self._rounds += 1
        if self._writer is not None:
            self._writer.rest()
        self._tell(fleet)

    def _save(self, fleet: Fleet | None) -> None:
        if self.asked.files is None or self._writer is None:
            return
        state = self.state.with_gone(self._gone)
        keys = [one.key for one in state.gone] + ([] if fleet is None else fleet.keys)
        model = self.asked.model
        self._reports.write()
        size: dict[str, Any] = {"reports": self._reports.state()}
        if isinstance(model, GraphModel):
            size |= {"room": model.sizer.budget, "ceiling": model.sizer.ceiling}
        began = max(keys, default=-1) + 1
        marks = self._writer.marks() | self._candidates.marks()
        state = replace(state, fleet=fleet, began=began, rounds=self._rounds, marks=marks, **size)
        state.save(self.asked.files.state)
        self.state, self._gone = replace(state, reports={}), []

    def _tell(self, fleet: Fleet | None) -> None:
        now = time.monotonic()
        if self._progress is None or (fleet is not None and now - self._told < PROGRESS_SECONDS):
            return
        self._told = now
        moving = 0 if fleet is None else int(torch.sum(fleet.graph["step"]))
        self._progress(self._steps_of_gone + moving, sum(one.steps for one in self.asked.settings))
