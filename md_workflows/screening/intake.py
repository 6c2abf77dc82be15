"""The way into the table: every structure gets its row, and what is done already, or twice there, is found."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ase import Atoms
from ase.data import chemical_symbols

from md_workflows.screening.records import Record, measured_text, searchable
from md_workflows.screening.rows import ScreenRow, Status, row_of
from md_workflows.screening.table import Known, Table
from md_workflows.screening.twins import Twins
from md_workflows.structures import Structure, Unreadable, one_line, structure_hash
from md_workflows.uncertainty import without_uncertainties

Item: TypeAlias = Structure | tuple[str, Structure]

_BATCH = 500


class Stages(NamedTuple):
    """What is left to do with a structure: relax it, and measure these properties."""

    relax: bool
    names: tuple[str, ...]


@dataclass
class Register:
    """The structures of this run: numbers of their rows in the order of the input, and what is to be done with which.

    resumed: how many were done already.
    """

    order: "array[int]" = field(default_factory=lambda: array("q"))
    pending: dict[Stages, "array[int]"] = field(default_factory=dict)
    resumed: int = 0


@dataclass(frozen=True)
class _Entry:
    """A structure on its way in: the row it has, the record it is to get (None: stays), what is left to do."""

    number: int | None
    record: Record | None
    stages: Stages | None


@dataclass(frozen=True)
class Intake:
    """Writes structures into the table of `run`.

    everything: what is to be done with a new one · keys: of the properties, by name · twins: finds those that are there
    twice · retry_failed: failures of an earlier run are no end.
    """

    table: Table
    run: str
    everything: Stages
    keys: Mapping[str, str]
    twins: Twins
    retry_failed: bool = False

    def register(self, structures: Iterable[Item]) -> Register:
        """Read all structures once, in batches; raises ValueError for an identifier that comes twice."""
        index = dict(self.table.known(self.run))
        register, batch, seen = Register(), list[_Entry](), set[bytes]()
        for identifier, given in named(structures):
            unique = self.table.unique(self.run, identifier)
            if (short := bytes.fromhex(unique)) in seen:
                raise ValueError(_twice(identifier))
            seen.add(short)
            batch.append(self._entry(identifier, given, index.pop(unique, None)))
            if len(batch) == _BATCH:
                self._flush(batch, register)
        self._flush(batch, register)
        return register

    def _flush(self, batch: list[_Entry], register: Register) -> None:
        new = [(entry.number, entry.record) for entry in batch if entry.record is not None]
        if new:
            self.table.reopen(self.run)
        written = iter(self.table.write(new, self.run) if new else [])
        for entry in batch:
            number = entry.number if entry.record is None else next(written)
            assert number is not None
            register.order.append(number)
            if entry.stages is not None:
                register.pending.setdefault(entry.stages, array("q")).append(number)
            elif entry.record is None:
                register.resumed += 1
        batch.clear()

    def _entry(self, identifier: str, given: Structure, known: Known | None) -> _Entry:
        number = None if known is None else known.id
        atoms, content, refusal = _contents(given)
        same = known is not None and known.content == content
        if refusal:
            row = row_of(identifier, atoms, Status.FAILED, refusal)
            stays = same and known is not None and known.status is Status.FAILED
            return _Entry(number, None if stays else Record(row, atoms, content), None)
        twin = self.twins.find(identifier, content, atoms)
        if known is not None and same:
            return self._known(identifier, atoms, known, twin)
        return self._new(identifier, atoms, content, twin, number)

    def _new(self, identifier: str, atoms: Atoms, content: str, twin: str, number: int | None) -> _Entry:
        if twin:
            row = _twin_row(identifier, atoms, twin)
            return _Entry(number, Record(row, atoms, content), None)
        return _Entry(number, Record(row_of(identifier, atoms, Status.WAITING), atoms, content), self.everything)

    def _known(self, identifier: str, atoms: Atoms, known: Known, twin: str) -> _Entry:
        computed = known.status not in {Status.WAITING, Status.DUPLICATE}
        if not computed and known.duplicate_of != searchable(twin):  # its twin came or went
            return self._new(identifier, atoms, known.content, twin, known.id)
        if known.status is Status.WAITING or (known.status is Status.FAILED and self.retry_failed):
            return _Entry(known.id, None, self.everything)
        missing = self._missing(known)
        return _Entry(known.id, None, Stages(False, missing) if missing else None)

    def _missing(self, known: Known) -> tuple[str, ...]:
        """The properties that a structure lacks which may be measured: one that converged, or was not to be relaxed."""
        done = known.measured.split()
        unmeasurable = known.status is Status.FAILED and bool(done)  # as it is, with the settings of an earlier call
        if known.status not in {Status.CONVERGED, Status.MEASURED} and not unmeasurable:
            return ()
        again = known.unmeasured.split() if self.retry_failed else []
        return tuple(
            name
            for name in self.everything.names
            if name in again or measured_text({name: self.keys[name]}) not in done
        )


def _twin_row(identifier: str, atoms: Atoms, twin: str) -> ScreenRow:
    blank = row_of(identifier, atoms, Status.DUPLICATE)
    return ScreenRow(identifier, blank.formula, blank.n_atoms, Status.DUPLICATE, duplicate_of=twin)


def _contents(given: Structure) -> tuple[Atoms, str, str]:
    """The structure, the hash of its contents, and why it cannot be worked on, or nothing."""
    if isinstance(given, Unreadable):
        return Atoms(), _digest(given.error), given.error
    given = without_uncertainties(given)
    bare = given if given.calc is None else given.copy()  # results of whatever made the file are not our engine's
    try:
        content = structure_hash(given)[:32]
    except (TypeError, ValueError) as error:  # a charge that is no number, say
        return bare, _digest(one_line(error)), one_line(error)
    strange = [type(each).__name__ for each in given.constraints if not hasattr(each, "todict")]
    if strange:
        bare = given.copy()
        bare.set_constraint()
        return bare, content, f"the constraint {strange[0]} has no todict(), so no table keeps it; take one of ASE's"
    beyond = {int(number) for number in given.numbers if not 0 <= number < len(chemical_symbols)}
    return bare, content, f"there is no element of number {min(beyond)}" if beyond else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def named(structures: Iterable[Item]) -> Iterator[tuple[str, Structure]]:
    """Structures with their identifiers, which are their places where they have none."""
    for number, item in enumerate(structures):
        identifier, structure = item if isinstance(item, tuple) else (str(number), item)
        if not isinstance(identifier, str) or not isinstance(structure, Atoms | Unreadable):
            raise ValueError(
                f"structure {number} is {item!r:.80}; give ase.Atoms or (identifier, ase.Atoms) with a str."
            )
        if not identifier or not _is_text(identifier):
            raise ValueError(
                f"structure {number} has the identifier {identifier!r}, which no table can hold; give it, or its file, "
                "a name of characters that Unicode has."
            )
        yield identifier, structure


def _is_text(identifier: str) -> bool:
    try:
        identifier.encode()
    except UnicodeEncodeError:  # bytes of a file name that are no UTF-8
        return False
    return True


def check_identifiers(structures: Sequence[Item]) -> None:
    """Raise ValueError for an identifier that comes twice."""
    seen: set[str] = set()
    for identifier, _ in named(structures):
        if identifier in seen:
            raise ValueError(_twice(identifier))
        seen.add(identifier)


def _twice(identifier: str) -> str:
    return f"the identifier '{identifier}' is given twice; each structure needs its own."
