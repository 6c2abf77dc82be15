"""What a screening leaves beside its table: files that are written from it, streamed row by row."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias

from ase import Atoms
from ase.io import write

from md_workflows.durable import check_directory, write_beside
from md_workflows.properties.base import Value
from md_workflows.screening.records import Record
from md_workflows.screening.rows import COLUMNS, ScreenRow, Status
from md_workflows.screening.table import is_url

Records: TypeAlias = Callable[[], Iterator[Record]]
"""Streams the records from the table, anew at each call."""

_NOT_FOR_STRUCTURES = {Status.WAITING, Status.FAILED, Status.DUPLICATE}
_GROUP = 10_000


@dataclass(frozen=True)
class ScreenFiles:
    """Where a screening is kept, and what is written from it at the end.

    database: the table, an SQLite file or a postgresql:// URL · name: of the screening · outputs: files, each of a
    suffix that WRITERS knows.
    """

    database: str
    name: str
    outputs: tuple[Path, ...]

    @classmethod
    def beside(cls, output: str | Path, *, table: str | None = None, also: Sequence[str] = ()) -> "ScreenFiles":
        """The names that follow from one: metals gives metals.db, metals.csv and metals.extxyz.

        output: with or without the suffix .csv · table: a URL in the place of metals.db, or another file · also: more
        suffixes, as in (".parquet",).

        Raises:
            ValueError: a folder that is not there, a suffix that nothing writes, a library that it needs.
        """
        path = Path(output)
        base = path.with_suffix("") if path.suffix in {".db", *WRITERS} else path
        check_directory(base)
        outputs = tuple(base.with_name(base.name + suffix) for suffix in (".csv", ".extxyz", *also))
        for file in outputs:
            check_output(file)
        return cls(table or f"{base}.db", base.name if table and is_url(table) else "", outputs)

    @property
    def place(self) -> str:
        """Where the table is, for people: of a URL without the password."""
        return self.database.rpartition("@")[2] if is_url(self.database) else self.database

    @property
    def table(self) -> Path:
        """The table as CSV."""
        return self.outputs[0]

    @property
    def structures(self) -> Path:
        """The structures."""
        return self.outputs[1]


def check_output(path: Path) -> None:
    """Raise ValueError, before any time is spent, when nothing writes files of this name, or a library is missing."""
    if path.suffix not in WRITERS:
        raise ValueError(f"{path}: a screening is written as {', '.join(WRITERS)}, and not as '{path.suffix}'.")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ValueError(f"{path}: parquet needs pyarrow: pip install 'gfm-ase[parquet]'.")


def write_outputs(files: ScreenFiles, columns: Sequence[str], records: Records) -> None:
    """Write every output, beside and renamed. columns: of the properties, in their order."""
    for path in files.outputs:
        WRITERS[path.suffix](path, columns, records)


def header(columns: Sequence[str]) -> list[str]:
    """The names of all columns: those of every row, then those of the properties."""
    return [*COLUMNS.values(), *columns]


def cells(row: ScreenRow, columns: Sequence[str]) -> list[Value]:
    """The values of a row under `header`; None where there is nothing."""
    own = [getattr(row, field) for field in COLUMNS]
    return [None if value == "" else value for value in (*own, *(row.values.get(name) for name in columns))]


def relaxed(records: Iterable[Record], columns: Sequence[str]) -> Iterator[Atoms]:
    """The structures as they came out, each with identifier, status and values in its info; duplicates are left out."""
    for record in records:
        row = record.row
        if row.status not in _NOT_FOR_STRUCTURES:
            atoms = record.atoms
            known = {name: row.values[name] for name in columns if row.values.get(name) is not None}
            atoms.info |= {"identifier": row.identifier, "status": str(row.status), **known}
            yield atoms


def _write_csv(path: Path, columns: Sequence[str], records: Records) -> None:
    def fill(handle: IO[bytes]) -> None:
        text = TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(header(columns))
        table.writerows(
            ["" if value is None else value for value in cells(record.row, columns)] for record in records()
        )
        text.detach()

    write_beside(path, fill)


def _write_extxyz(path: Path, columns: Sequence[str], records: Records) -> None:
    def fill(handle: IO[bytes]) -> None:
        text = TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
        for atoms in relaxed(records(), columns):
            write(text, atoms, format="extxyz", parallel=False)
        text.detach()

    write_beside(path, fill)


def _write_parquet(path: Path, columns: Sequence[str], records: Records) -> None:
    """In groups of rows, so that memory holds one of them; the types of the columns are found in a first pass."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    names = header(columns)
    schema = pa.schema(list(zip(names, _types(pa, columns, records), strict=True)))

    def fill(handle: IO[bytes]) -> None:
        rows = (cells(record.row, columns) for record in records())
        with ParquetWriter(handle, schema) as writer:
            while group := list(islice(rows, _GROUP)):
                values = {
                    name: _cast(field.type, pa, column)
                    for name, field, column in zip(names, schema, zip(*group, strict=True), strict=True)
                }
                writer.write_table(pa.table(values, schema))

    write_beside(path, fill)


def _types(pa: Any, columns: Sequence[str], records: Records) -> list[Any]:
    """Arrow's type of each column; those of rows are known, those of properties are seen."""
    own = {"int": pa.int64(), "float": pa.float64(), "float | None": pa.float64()}
    types = {field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(ScreenRow)}
    seen: dict[str, set[type]] = {name: set() for name in columns}
    for record in records():
        for name in columns:
            value = record.row.values.get(name)
            if value is not None:
                seen[name].add(type(value))
    return [own.get(types[field], pa.string()) for field in COLUMNS] + [_type_of(pa, seen[name]) for name in columns]


def _type_of(pa: Any, kinds: set[type]) -> Any:
    if str in kinds:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    return pa.int64() if kinds == {int} else pa.float64()


def _cast(kind: Any, pa: Any, column: Sequence[Value]) -> list[Value]:
    """A column of one type: numbers among texts become texts, whole numbers among others floats."""
    if kind == pa.string():
        return [None if value is None else str(value) for value in column]
    return [float(value) if kind == pa.float64() and value is not None else value for value in column]


WRITERS: dict[str, Callable[[Path, Sequence[str], Records], None]] = {
    ".csv": _write_csv,
    ".extxyz": _write_extxyz,
    ".parquet": _write_parquet,
}
"""What can be written of a screening, by the suffix: a function of path, columns of the properties and records."""
