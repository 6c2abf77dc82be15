"""The policy on uncertainty in a screening: marks that follow the limit of the call, and candidates for labelling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from md_workflows.candidates import candidate, candidates_path
from md_workflows.durable import check_directory
from md_workflows.frames import write_frames
from md_workflows.properties.base import Column
from md_workflows.screening.intake import Register
from md_workflows.screening.outputs import Records, ScreenFiles
from md_workflows.screening.records import Record
from md_workflows.screening.rows import DOUBTS, Status
from md_workflows.screening.table import Table
from md_workflows.uncertainty import MARK, UncertaintyPolicy, uncertainties_of

_BATCH = 500


def judged(record: Record, policy: UncertaintyPolicy | None) -> Record:
    """The record with the mark that the policy of this call gives it, and none without a policy."""
    if record.row.status is Status.DUPLICATE:  # it has the values of another
        return record
    mark = None if policy is None else _mark(record, policy)
    if record.row.values.get(MARK) is mark and record.atoms.info.get(MARK) is mark:
        return record
    atoms = record.atoms.copy()
    atoms.calc = record.atoms.calc
    values = {name: value for name, value in record.row.values.items() if name != MARK}
    atoms.info.pop(MARK, None)
    if mark is not None:
        values[MARK] = atoms.info[MARK] = mark
    return replace(record, row=replace(record.row, values=values), atoms=atoms)


def _mark(record: Record, policy: UncertaintyPolicy) -> bool | None:
    """Whether it is above the limit, or was when it was computed and is no number; None where nothing is known."""
    value = uncertainties_of(record.atoms).get(policy.output)
    if record.row.status in {Status.CONVERGED, Status.NOT_CONVERGED} and value is not None:
        return policy.above(value)
    return True if record.row.status is Status.UNCERTAIN or record.atoms.info.get(MARK) else None


def judge_all(table: Table, run: str, policy: UncertaintyPolicy, register: Register) -> None:
    """Write the marks of this call's limit into the table."""
    numbers = iter(register.order)
    while batch := list(islice(numbers, _BATCH)):
        found = [(number, record, judged(record, policy)) for number, record in table.read(batch)]
        changed = [(number, after) for number, before, after in found if after is not before]
        if changed:
            table.write(changed, run)


def doubt_columns(policy: UncertaintyPolicy | None, known: bool) -> list[Column]:
    """The columns of uncertainties, where some row knows them or there is a policy; the mark's only with a policy."""
    if policy is None and not known:
        return []
    return [column for name, column in DOUBTS.items() if policy is not None or name != MARK]


def candidates_beside(policy: UncertaintyPolicy | None, files: ScreenFiles) -> Path | None:
    """Where candidates are written, None where none are; raises ValueError for a directory that is not there."""
    if policy is None:  # of labels there may be no outputs to stand beside
        return None
    path = candidates_path(policy, files.table.with_suffix(".candidates.extxyz"))
    if path is not None:
        check_directory(path)
    return path


def write_candidates(path: Path, records: Records) -> int:
    """Write the structures that are marked, beside and renamed; returns how many. Without any there is no file."""
    marked = _marked(records())
    found = (candidate(one.atoms, source=one.row.identifier, step=one.row.steps) for one in marked)
    count = write_frames(path, found)
    if not count:
        path.unlink()
    return count


def _marked(records: Iterable[Record]) -> Iterator[Record]:
    return (one for one in records if one.row.values.get(MARK) and one.row.status is not Status.DUPLICATE)
