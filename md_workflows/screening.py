"""Screening: many structures in, one row each out, whatever happens to any one of them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ase import Atoms

from md_workflows.durable import check_directory
from md_workflows.engine import ASEEngine, Engine
from md_workflows.journal import Journal
from md_workflows.progress import ProgressCallback
from md_workflows.relaxation import RelaxSettings
from md_workflows.screen_rows import (
    ScreenRow,
    Status,
    decode_structure,
    encode_structure,
    row_of,
    unreadable_row,
    write_structures,
    write_table,
)
from md_workflows.structures import Structure, Unreadable, one_line, structure_hash

Item: TypeAlias = Structure | tuple[str, Structure]


@dataclass(frozen=True)
class ScreenFiles:
    """What a screening leaves: table (CSV), relaxed structures (extxyz), journal to resume from (JSONL)."""

    table: Path
    structures: Path
    journal: Path

    @classmethod
    def beside(cls, table: str | Path) -> "ScreenFiles":
        """The names that follow from the table's: screen.csv, screen.extxyz, screen.journal.jsonl."""
        path = Path(table)
        if path.suffix != ".csv":
            raise ValueError(f"the table {path} has to end in .csv.")
        check_directory(path)
        return cls(path, path.with_suffix(".extxyz"), path.with_suffix(".journal.jsonl"))


@dataclass(frozen=True)
class ScreenResult:
    """How a screening ended. rows: in the order of the input · resumed: how many came from the journal."""

    rows: tuple[ScreenRow, ...]
    resumed: int
    files: ScreenFiles

    def count(self, status: Status) -> int:
        """How many structures ended with `status`."""
        return sum(row.status is status for row in self.rows)


def screen(
    structures: Iterable[Item],
    output: str | Path,
    settings: RelaxSettings | None = None,
    *,
    calculator: Any = None,
    engine: Engine | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
) -> ScreenResult:
    """Relax every structure and write one row each; a failure is a row, never the end of the run.

    structures: Atoms (named by their number) or (identifier, Atoms); a stream is read as it is needed.
    output: the table's name (.csv), from which the others follow. Either calculator or engine, not both.
    resume: structures in the journal beside the output are not computed again, if identifier, structure,
    settings and engine are the same; False clears the journal first.

    Raises:
        ValueError: neither or both of calculator and engine, an identifier twice, an output that cannot be
            written, a journal that is damaged or in use.
    """
    driver = _engine(calculator, engine)
    files = ScreenFiles.beside(output)
    chosen = settings or RelaxSettings()
    total = len(structures) if isinstance(structures, Sequence) else None
    if isinstance(structures, Sequence):  # a stream cannot be looked at beforehand, a list can
        _check_identifiers(structures)
    with closing(Journal(files.journal, fresh=not resume)) as journal:
        intake = _Intake(journal, f"{chosen.model_dump_json()} {driver.identity}")
        for outcome in driver.relax_many(intake.waiting(structures), chosen):
            key, identifier, atoms = intake.taken.pop(outcome.index)
            relaxed = None if outcome.result is None else outcome.result.atoms
            _note(journal, key, row_of(identifier, atoms, outcome), relaxed)
            if progress is not None:
                progress(len(intake.keys) - len(intake.taken), total)
        if intake.taken:
            missing = ", ".join(identifier for _, identifier, _ in intake.taken.values())
            raise RuntimeError(f"{type(driver).__name__} gave no outcome for {missing}")
        rows = tuple(_row(journal, key) for key in intake.keys)
        write_table(files.table, rows)
        write_structures(files.structures, _relaxed(journal, intake.keys))
    return ScreenResult(rows, intake.resumed, files)


class _Intake:
    """Names and counts the structures that come in, and holds back those that are done already."""

    def __init__(self, journal: Journal, fingerprint: str) -> None:
        self._journal = journal
        self._fingerprint = fingerprint
        self.keys: list[str] = []
        self.taken: dict[int, tuple[str, str, Atoms]] = {}
        self.resumed = 0

    def waiting(self, structures: Iterable[Item]) -> Iterator[Atoms]:
        """Stream the structures to compute, noting each in `taken` under its place in this stream."""
        seen: set[str] = set()
        place = 0
        for identifier, given in _named(structures):
            if identifier in seen:
                raise ValueError(_twice(identifier))
            seen.add(identifier)
            key, structure = self._key(identifier, given)
            self.keys.append(key)
            if key in self._journal.offsets:
                self.resumed += 1
            elif isinstance(structure, Unreadable):
                _note(self._journal, key, unreadable_row(identifier, structure), None)
            else:
                self.taken[place] = (key, identifier, structure)
                place += 1
                yield structure

    def _key(self, identifier: str, structure: Structure) -> tuple[str, Structure]:
        content = structure.error if isinstance(structure, Unreadable) else ""
        if isinstance(structure, Atoms):
            try:
                content = structure_hash(structure)
            except (TypeError, ValueError) as error:  # a charge that is no number, say
                structure = Unreadable(content := one_line(error))
        text = json.dumps([identifier, content, self._fingerprint])
        return hashlib.sha256(text.encode()).hexdigest(), structure


def _engine(calculator: Any, engine: Engine | None) -> Engine:
    if (calculator is None) == (engine is None):
        raise ValueError("give either calculator= (any ASE calculator) or engine=, one of them.")
    return engine if engine is not None else ASEEngine(calculator)


def _named(structures: Iterable[Item]) -> Iterator[tuple[str, Structure]]:
    for number, item in enumerate(structures):
        identifier, structure = item if isinstance(item, tuple) else (str(number), item)
        if not isinstance(identifier, str) or not isinstance(structure, Atoms | Unreadable):
            raise ValueError(
                f"structure {number} is {item!r:.80}; give ase.Atoms or (identifier, ase.Atoms) with a str."
            )
        yield identifier, structure


def _check_identifiers(structures: Sequence[Item]) -> None:
    seen: set[str] = set()
    for identifier, _ in _named(structures):
        if identifier in seen:
            raise ValueError(_twice(identifier))
        seen.add(identifier)


def _twice(identifier: str) -> str:
    return f"the identifier '{identifier}' is given twice; each structure needs its own."


def _note(journal: Journal, key: str, row: ScreenRow, relaxed: Atoms | None) -> None:
    keep = relaxed is not None and row.status is not Status.FAILED
    structure = encode_structure(relaxed) if relaxed is not None and keep else None
    journal.append(key, {"row": asdict(row), "structure": structure})


def _row(journal: Journal, key: str) -> ScreenRow:
    stored = journal.read(key)["row"]
    return ScreenRow(**{**stored, "status": Status(stored["status"])})


def _relaxed(journal: Journal, keys: Iterable[str]) -> Iterator[Atoms]:
    for key in keys:
        entry = journal.read(key)
        if entry["structure"] is not None:
            atoms = decode_structure(entry["structure"])
            atoms.info |= {"identifier": entry["row"]["identifier"], "status": entry["row"]["status"]}
            yield atoms
