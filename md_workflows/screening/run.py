"""Screening: many structures in, one row each out, whatever happens to any one of them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from md_workflows.engine import Engine, engine_for
from md_workflows.progress import ProgressCallback
from md_workflows.relaxation import RelaxSettings
from md_workflows.screening.completion import counted, fill_duplicates, finish, token
from md_workflows.screening.doubts import candidates_beside, doubt_columns, judge_all, judged, write_candidates
from md_workflows.screening.intake import Intake, Item, Register, Stages, check_identifiers
from md_workflows.screening.notes import Notes, current
from md_workflows.screening.outputs import ScreenFiles, write_outputs
from md_workflows.screening.records import Record
from md_workflows.screening.rows import ScreenRow, Status
from md_workflows.screening.stages import Asked, Plan, Task
from md_workflows.screening.table import Reader, Table
from md_workflows.screening.twins import CrystalTwins, ExactTwins, Twins, check_comparison
from md_workflows.screening.workers import Computer, InProcess, Spread
from md_workflows.uncertainty import UncertaintyPolicy


@dataclass(frozen=True)
class ScreenSettings:
    """What to do with each structure.

    relax: how to relax it first; None takes it as it is · asked: properties, measured on what converged · duplicates:
    Å within which two crystals are the same; None compares to the last digit · retry_failed: compute failed ones
    again · export_only: compute nothing, write the outputs of what the table holds.
    """

    relax: RelaxSettings | None = field(default_factory=RelaxSettings)
    asked: tuple[Asked, ...] = ()
    duplicates: float | None = None
    retry_failed: bool = False
    export_only: bool = False

    def run(self, identity: str) -> str:
        """The name, in the table, of all that these settings and this engine lead to; properties are known by row."""
        relax = None if self.relax is None else self.relax.model_dump_json(exclude={"uncertainty"})
        policy = self.policy
        stops = [] if policy is None or policy.action != "stop" else [policy.output, policy.limit]
        return "r" + hashlib.sha256(json.dumps([relax, identity, *stops]).encode()).hexdigest()[:12]

    @property
    def policy(self) -> UncertaintyPolicy | None:
        """What happens to structures that are too uncertain: that of the relaxation."""
        return None if self.relax is None else self.relax.uncertainty

    def check(self) -> None:
        """Raise ValueError when there is nothing to do, or a library is missing."""
        if self.relax is None and not self.asked:
            raise ValueError("nothing is asked of the structures; ask to relax them, or for a property.")
        for each in self.asked:
            each.row.check()
        if self.duplicates is not None:
            check_comparison(self.duplicates)

    def stages(self) -> Stages:
        """What is to be done with a structure of which nothing is known."""
        return Stages(self.relax is not None, tuple(each.name for each in self.asked))


@dataclass(frozen=True)
class ScreenResult:
    """How a screening ended. counts: of each status · resumed: how many were done already · files: where all is ·
    numbers: of the rows in the database, in the order of the input · candidates: where structures are kept for
    labelling, None where there are none, and n_candidates: how many."""

    counts: Mapping[Status, int]
    resumed: int
    files: ScreenFiles
    numbers: Sequence[int]
    candidates: Path | None = None
    n_candidates: int = 0

    @cached_property
    def rows(self) -> tuple[ScreenRow, ...]:
        """The rows in the order of the input, read from the table when they are first asked for."""
        return tuple(record.row for _, record in Reader(self.files.database).read(self.numbers))

    def count(self, status: Status) -> int:
        """How many structures ended with `status`."""
        return self.counts.get(status, 0)


def screen(
    structures: Iterable[Item],
    output: str | Path | ScreenFiles,
    settings: RelaxSettings | ScreenSettings | None = None,
    *,
    calculator: Any = None,
    engine: Engine | InProcess | Spread | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
) -> ScreenResult:
    """Relax and measure every structure and write one row each; a failure is a row, never the end of the run.

    structures: Atoms (named by their number) or (identifier, Atoms); a stream is read once, and never held in memory.
    output: a name, from which those of the table (.db) and of the files written from it follow, or a ScreenFiles.
    settings: a RelaxSettings stands for relaxation alone. Either calculator or engine, not both; a `Spread` is engines
    on the workers of an executor, an `InProcess` one here with a chunk of its own. resume: a structure in the table is
    not computed again, if identifier, structure, settings and engine are the same; False forgets it first.

    Raises:
        ValueError: neither or both of calculator and engine, an identifier twice, an output that cannot be
            written, a table that cannot be read or is in use, export_only without resume, a worker that cannot build
            its engine.
        RuntimeError: an engine that loses structures, workers that die whatever they are given.
    """
    computer = _computer(calculator, engine)
    files = output if isinstance(output, ScreenFiles) else ScreenFiles.beside(output)
    chosen = settings if isinstance(settings, ScreenSettings) else ScreenSettings(settings or RelaxSettings())
    chosen.check()
    candidates_beside(chosen.policy, files)
    if chosen.export_only and not resume:
        raise ValueError(
            "to compute everything again (--fresh) would forget what is to be written without computing "
            "(--export-only); give one of them."
        )
    if isinstance(structures, Sequence):  # a stream cannot be looked at beforehand, a list can
        check_identifiers(structures)
    with closing(Table(files.database, files.name)) as table:
        screening = _Screening(table, chosen.run(computer.identity), chosen)
        if not resume:
            table.forget(screening.run)
        register = screening.register(structures)
        if not chosen.export_only:
            asked = screening.compute(register, computer, progress)
            screening.complete(register, asked)
        return screening.result(files, register)


def _computer(calculator: Any, engine: Engine | InProcess | Spread | None) -> Computer:
    if (calculator is None) == (engine is None):
        raise ValueError("give either calculator= (any ASE calculator) or engine=, one of them.")
    if isinstance(engine, InProcess | Spread):
        return engine
    return InProcess(engine_for(calculator) if engine is None else engine)


@dataclass(frozen=True)
class _Screening:
    """The stages of a screening; run: its name in the table."""

    table: Table
    run: str
    settings: ScreenSettings

    def register(self, structures: Iterable[Item]) -> Register:
        """Give every structure its row."""
        keys = {each.name: each.key for each in self.settings.asked}
        twins: Twins = ExactTwins()
        if self.settings.duplicates is not None:
            twins = CrystalTwins(self.settings.duplicates, lambda identifier: self.table.start(self.run, identifier))
        intake = Intake(self.table, self.run, self.settings.stages(), keys, twins, self.settings.retry_failed)
        return intake.register(structures)

    def compute(self, register: Register, computer: Computer, progress: ProgressCallback | None) -> dict[str, Asked]:
        """Do what is pending, and return the properties that were prepared for it, or are for the completion."""
        if register.pending:
            self.table.reopen(self.run)
        due = {name for stages in register.pending for name in stages.names}
        if not self._whole(register):
            due |= {each.name for each in self.settings.asked if each.row.finish is not None}
        wanted = [each for each in self.settings.asked if each.name in due]
        prepared = {each.name: each for each in computer.prepare(wanted)}
        total = len(register.order)
        done = total - sum(len(numbers) for numbers in register.pending.values())
        notes = Notes(self.table, self.run)
        if progress is not None and register.pending:
            progress(done, total)
        try:
            for stages, numbers in register.pending.items():
                relax = self.settings.relax if stages.relax else None
                plan = Plan(relax, tuple(prepared[name] for name in stages.names))
                for found in computer.compute(self._tasks(numbers), plan):
                    notes.add(found, plan)
                    done += len(found)
                    if progress is not None:
                        progress(done, total)
        finally:
            notes.flush()
        return prepared

    def _tasks(self, numbers: Iterable[int]) -> Iterator[Task]:
        return (Task(number, record.row.identifier, record.atoms) for number, record in self.table.read(numbers))

    def complete(self, register: Register, asked: Mapping[str, Asked]) -> None:
        """Fill what needs the whole table, unless nothing has changed since that was done."""
        if self._whole(register):
            return
        for each in asked.values():
            if each.row.finish is not None:
                finish(self.table, self.run, each, register)
        if self.settings.policy is not None:
            judge_all(self.table, self.run, self.settings.policy, register)
        fill_duplicates(self.table, self.run, register)
        self.table.complete(self.run, self._token(register))

    def result(self, files: ScreenFiles, register: Register) -> ScreenResult:
        """Write the outputs, with marks of this call's limit."""
        asked, policy = self.settings.asked, self.settings.policy
        counts, doubted = counted(self.table, self.run, register)
        if policy is not None and not doubted and (counts[Status.CONVERGED] or counts[Status.NOT_CONVERGED]):
            policy.check_known((), "the engine of this screening")
        columns = doubt_columns(policy, doubted) + [column for each in asked for column in each.row.columns]

        def records() -> Iterator[Record]:
            return (judged(current(record, asked), policy) for _, record in self.table.read(register.order))

        write_outputs(files, columns, records)
        candidates = candidates_beside(policy, files)
        kept = 0 if candidates is None else write_candidates(candidates, records)
        return ScreenResult(counts, register.resumed, files, register.order, candidates if kept else None, kept)

    def _token(self, register: Register) -> str:
        return token(self.settings.asked, register, self.settings.policy)

    def _whole(self, register: Register) -> bool:
        """Whether all was done, and completed, by an earlier call."""
        return not register.pending and self.table.completed(self.run) == self._token(register)
