"""What only the whole table can tell, after the last structure: hulls and the like, and the values of duplicates."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from md_workflows.properties.base import Measured, Value
from md_workflows.screening.intake import Register
from md_workflows.screening.notes import rated
from md_workflows.screening.records import Record
from md_workflows.screening.rows import Status
from md_workflows.screening.stages import Asked
from md_workflows.screening.table import Table
from md_workflows.uncertainty import UncertaintyPolicy

_BATCH = 500


def token(asked: Sequence[Asked], register: Register, policy: UncertaintyPolicy | None) -> str:
    """A hash of all that the completion depends on, beside the rows themselves."""
    keys = " ".join(f"{each.name}-{each.key}" for each in asked)
    keys += "" if policy is None else f" {policy.output} {policy.limit!r}"
    return hashlib.sha256(keys.encode() + register.order.tobytes()).hexdigest()


def finish(table: Table, run: str, asked: Asked, register: Register) -> None:
    """Let a property fill the columns that need every row."""
    assert asked.row.finish is not None, f"{asked.name} has nothing to finish"
    names = [column.name for column in asked.row.columns]
    own: list[int] = []
    rows: list[Mapping[str, Value]] = []
    for number, record in table.read(register.order):
        if record.row.status is not Status.DUPLICATE:
            own.append(number)
            rows.append({name: value for name, value in record.row.values.items() if name in names})
    found = iter(zip(own, asked.row.finish(rows, asked.settings), strict=True))
    while batch := dict(islice(found, _BATCH)):
        changed = [(number, _finished(record, asked, batch[number])) for number, record in table.read(batch)]
        table.write(changed, run)


def _finished(record: Record, asked: Asked, found: Measured) -> Record:
    errors = {**record.errors, asked.name: found.error} if found.error else dict(record.errors)
    if found.values and not found.error:
        errors[asked.name] = ""  # of an earlier hull, which lacked something
    row = replace(record.row, values={**record.row.values, **found.values})
    return rated(replace(record, row=row, errors=errors))


def fill_duplicates(table: Table, run: str, register: Register) -> None:
    """Give every duplicate the values of the structure that it equals."""
    numbers = {known.id for _, known in table.known(run) if known.status is Status.DUPLICATE}
    asked = iter([number for number in register.order if number in numbers])
    while batch := list(islice(asked, _BATCH)):
        records = list(table.read(batch))
        firsts = {record.row.duplicate_of: table.number(run, record.row.duplicate_of) for _, record in records}
        known = dict(table.read(firsts.values()))
        table.write(
            [(number, _filled(record, known[firsts[record.row.duplicate_of]])) for number, record in records], run
        )


def _filled(record: Record, first: Record) -> Record:
    row = first.row
    filled = replace(
        record.row,
        energy=row.energy,
        energy_per_atom=row.energy_per_atom,
        fmax=row.fmax,
        volume=row.volume,
        steps=row.steps,
        error=f"it equals {row.identifier}, which failed: {row.error}" if row.status is Status.FAILED else row.error,
        values=row.values,
    )
    return replace(record, row=filled, measured=first.measured)


def counted(table: Table, run: str, register: Register) -> tuple[Counter[Status], bool]:
    """How many structures of the input have each status, and whether the uncertainty of any is known."""
    wanted, counts, doubted = set(register.order), Counter[Status](), False
    for _, known in table.known(run):
        if known.id in wanted:
            counts[known.status] += 1
            doubted |= known.doubted
    return counts, doubted
