"""What is done with each structure: relaxed first where that is asked, then measured, many at once."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ase import Atoms

from md_workflows.engine import Engine, Outcome
from md_workflows.properties.base import Measured, Property, Value
from md_workflows.relaxation import RelaxSettings
from md_workflows.settings import Settings
from md_workflows.structures import one_line


@dataclass(frozen=True)
class Asked:
    """A property that is asked for, and how.

    key: a hash of the settings as they were given; `prepare` may put numbers into them later.
    """

    name: str
    row: Property
    settings: Any
    key: str

    @classmethod
    def of(cls, name: str, row: Property, settings: Settings | None = None) -> "Asked":
        """The property with these settings, by default its own."""
        chosen = row.settings() if settings is None else settings
        digest = hashlib.sha256(chosen.model_dump_json().encode())
        for field_name in type(chosen).model_fields:
            value = getattr(chosen, field_name)
            if isinstance(value, Path) and value.is_file():  # a file of references: what it holds counts
                digest.update(value.read_bytes())
        return cls(name, row, chosen, digest.hexdigest()[:12])

    def prepared(self, engine: Engine) -> "Asked":
        """With the numbers that `prepare` computes, where there is one."""
        if self.row.prepare is None:
            return self
        return replace(self, settings=self.row.prepare(engine, self.settings))


@dataclass(frozen=True)
class Plan:
    """What is done with some structures: relax first (or not: None), then measure."""

    relax: RelaxSettings | None
    asked: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class Task:
    """A structure to work on; number: its row of the table."""

    number: int
    identifier: str
    atoms: Atoms


@dataclass(frozen=True)
class Done:
    """What became of a task. outcome: of the relaxation, if there was one · error: where nothing could be done."""

    number: int
    outcome: Outcome | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def process(tasks: Iterable[Task], plan: Plan, engine: Engine, group: int) -> Iterator[Done]:
    """Relax and measure tasks, in any order; properties are measured on `group` structures at a time.

    Only what converged is measured: an elastic tensor of a structure under forces says nothing.
    """
    ready = _as_they_are(tasks) if plan.relax is None else _relaxed(tasks, plan.relax, engine)
    if not plan.asked:
        yield from (done for done, _ in ready)
        return
    while gathered := list(islice(ready, group)):
        yield from (done for done, atoms in gathered if atoms is None)
        yield from _measured([(done, atoms) for done, atoms in gathered if atoms is not None], plan.asked, engine)


def _as_they_are(tasks: Iterable[Task]) -> Iterator[tuple[Done, Atoms | None]]:
    return ((Done(task.number), task.atoms) for task in tasks)


def _relaxed(tasks: Iterable[Task], settings: RelaxSettings, engine: Engine) -> Iterator[tuple[Done, Atoms | None]]:
    """Each task with its relaxed structure, or with None where it cannot be measured."""
    taken: dict[int, Task] = {}

    def structures() -> Iterator[Atoms]:
        for place, task in enumerate(tasks):
            taken[place] = task
            yield task.atoms

    for outcome in engine.relax_many(structures(), settings):
        done = Done(taken.pop(outcome.index).number, outcome, seconds=outcome.seconds)
        good = outcome.result is not None and outcome.result.converged
        yield done, outcome.result.atoms if good and outcome.result is not None else None
    if taken:
        missing = ", ".join(task.identifier for task in taken.values())
        raise RuntimeError(f"{type(engine).__name__} gave no outcome for {missing}")


def _measured(ready: list[tuple[Done, Atoms]], asked: Sequence[Asked], engine: Engine) -> Iterator[Done]:
    start = time.perf_counter()
    found: list[dict[str, Measured]] = [{} for _ in ready]
    structures = [atoms for _, atoms in ready]
    for each in asked:
        for values, measured in zip(found, _apart(each, structures, engine), strict=True):
            values[each.name] = measured
    share = (time.perf_counter() - start) / max(1, len(ready))
    for (done, _), values in zip(ready, found, strict=True):
        yield replace(done, measured=values, seconds=done.seconds + share)


def _apart(asked: Asked, structures: Sequence[Atoms], engine: Engine) -> list[Measured]:
    """Measure all at once; when that raises, one by one, so that only the structure at fault has none."""
    try:
        return _checked(asked, structures, engine)
    except Exception as failure:
        if len(structures) == 1:
            return [Measured(error=one_line(failure))]
        return [found for atoms in structures for found in _apart(asked, [atoms], engine)]


def _checked(asked: Asked, structures: Sequence[Atoms], engine: Engine) -> list[Measured]:
    found = asked.row.measure(structures, engine, asked.settings)
    known = {column.name for column in asked.row.columns}
    unknown = {name for measured in found for name in measured.values} - known
    assert not unknown, f"{asked.name} gives {unknown}, which are not among its columns"
    assert len(found) == len(structures), f"{asked.name} gives {len(found)} for {len(structures)} structures"
    return found


def column_values(asked: Sequence[Asked], measured: Mapping[str, Measured]) -> dict[str, Value]:
    """All values that were measured, by the names of their columns."""
    return {
        name: value for each in asked if each.name in measured for name, value in measured[each.name].values.items()
    }
