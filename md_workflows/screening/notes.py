"""What workers found, noted in the table: in transactions that cost little beside the work they keep."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from md_workflows.properties.base import Measured
from md_workflows.screening.records import Record
from md_workflows.screening.rows import ScreenRow, Status, relaxed_row
from md_workflows.screening.stages import Asked, Done, Plan, column_values
from md_workflows.screening.table import Table

WORTH = 20.0
"""A transaction is made as soon as the work that waits for it took so many times as long as the last one did."""

_MOST = 500


class Notes:
    """Takes what is done and writes it to the table.

    What waits for a transaction is never worth more than WORTH transactions and one structure, and is at most _MOST
    structures: a long one is written at once, and 10,000 quick ones do not sync the disk 10,000 times.
    """

    def __init__(self, table: Table, run: str) -> None:
        self._table = table
        self._run = run
        self._waiting: list[tuple[Done, Plan]] = []
        self._worth = 0.0
        self._cost = 0.0

    def add(self, found: Sequence[Done], plan: Plan) -> None:
        """Note what was found under `plan`."""
        self._waiting.extend((done, plan) for done in found)
        self._worth += sum(done.seconds for done in found)
        if self._worth >= WORTH * self._cost or len(self._waiting) >= _MOST:
            self.flush()

    def flush(self) -> None:
        """Return once the table holds everything."""
        if not self._waiting:
            return
        start = time.perf_counter()
        plans = {done.number: (done, plan) for done, plan in self._waiting}
        records = self._table.read(plans)
        self._table.write([(number, noted(record, *plans[number])) for number, record in records], self._run)
        self._waiting, self._worth = [], 0.0
        self._cost = time.perf_counter() - start


def noted(record: Record, done: Done, plan: Plan) -> Record:
    """The record with what was found."""
    if done.error:
        row = replace(record.row, status=Status.FAILED, error=done.error)
        return replace(record, row=row, errors={}, measured={})
    if done.outcome is not None:
        row = relaxed_row(record.row.identifier, record.atoms, done.outcome)
        result = done.outcome.result
        good = row.status is not Status.FAILED and result is not None
        record = Record(
            row, result.atoms if good and result is not None else record.atoms, record.content, start=record.start
        )
        spent = 0.0
    else:
        spent = record.row.wall_time
    record = replace(record, row=replace(record.row, wall_time=spent + done.seconds))
    return measured_record(record, plan.asked, done.measured)


def measured_record(record: Record, asked: Sequence[Asked], found: Mapping[str, Measured]) -> Record:
    """The record with properties that were measured; values of earlier measurements of the same are replaced."""
    keys = {each.name: each.key for each in asked if each.name in found}
    stale = {column.name for each in asked if each.name in found for column in each.row.columns}
    kept = {name: value for name, value in record.row.values.items() if name not in stale}
    record = replace(
        record,
        measured={**record.measured, **keys},
        errors={**record.errors, **{name: measured.error for name, measured in found.items()}},
        curves={**record.curves, **{name: measured.curves for name, measured in found.items() if measured.curves}},
        structures={
            **record.structures,
            **{name: measured.structures for name, measured in found.items() if measured.structures},
        },
    )
    return rated(replace(record, row=replace(record.row, values={**kept, **column_values(asked, found)})))


def current(record: Record, asked: Sequence[Asked]) -> Record:
    """The record without what was measured with other settings than those asked for now, for a file of the latter."""
    old = [each for each in asked if record.measured.get(each.name) != each.key]
    if not old:
        return record
    names = {each.name for each in old}
    stale = {column.name for each in old for column in each.row.columns}
    kept = {name: value for name, value in record.row.values.items() if name not in stale}
    record = replace(
        record,
        row=replace(record.row, values=kept),
        errors={name: error for name, error in record.errors.items() if name not in names},
        curves={name: found for name, found in record.curves.items() if name not in names},
        structures={name: found for name, found in record.structures.items() if name not in names},
    )
    return record if not record.measured else replace(record, row=replace(record.row, error=_errors(record)))


def rated(record: Record) -> Record:
    """The record with the error and the status that follow from those of its properties."""
    row = replace(record.row, error=_errors(record))
    return replace(record, row=replace(row, status=_status(row, record)))


def _errors(record: Record) -> str:
    if record.row.status in {Status.FAILED, Status.UNCERTAIN} and not record.errors:
        return record.row.error
    return "; ".join(f"{name}: {error}" for name, error in record.errors.items() if error)


def _status(row: ScreenRow, record: Record) -> Status:
    """Of a structure that was not to be relaxed: failed when no property could be measured."""
    if row.status in {Status.CONVERGED, Status.NOT_CONVERGED} or not record.measured:
        return row.status
    return Status.FAILED if all(record.errors.get(name) for name in record.measured) else Status.MEASURED
