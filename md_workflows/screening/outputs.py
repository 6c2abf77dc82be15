"""What a screening leaves beside its table: files that are written from it, streamed row by row."""

import csv
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias, get_type_hints

from ase import Atoms

from md_workflows.durable import check_directory, write_beside
from md_workflows.frames import write_frames
from md_workflows.properties.base import Column, Value
from md_workflows.screening.records import Record
from md_workflows.screening.rows import COLUMNS, ScreenRow, Status
from md_workflows.screening.table import is_url

Records: TypeAlias = Callable[[], Iterator[Record]]
"""Streams the records from the table, anew at each call."""

_NOT_FOR_STRUCTURES = {Status.WAITING, Status.FAILED, Status.DUPLICATE, Status.UNCERTAIN}
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


def write_outputs(files: ScreenFiles, columns: Sequence[Column], records: Records) -> None:
    """Write every output, beside and renamed. columns: of the properties, in their order."""
    for path in files.outputs:
        WRITERS[path.suffix](path, columns, records)


def all_columns(columns: Sequence[Column]) -> list[Column]:
    """Those of every row, then those of the properties."""
    return [*COLUMNS.values(), *columns]


def values(row: ScreenRow, columns: Sequence[Column]) -> dict[str, Value]:
    """The row by the names of `all_columns`; None where there is nothing."""
    own = {column.name: getattr(row, field) for field, column in COLUMNS.items()}
    found = own | {column.name: row.values.get(column.name) for column in columns}
    return {name: None if value == "" else value for name, value in found.items()}


def relaxed(records: Iterable[Record], columns: Sequence[Column]) -> Iterator[Atoms]:
    """The structures as they came out, each with identifier, status and values in its info; duplicates are left out."""
    for record in records:
        row = record.row
        if row.status not in _NOT_FOR_STRUCTURES:
            atoms = record.atoms
            known = {column.name: row.values.get(column.name) for column in columns}
            atoms.info |= {"identifier": row.identifier, "status": str(row.status)}
            atoms.info |= {name: value for name, value in known.items() if value is not None}
            yield atoms


def _write_csv(path: Path, columns: Sequence[Column], records: Records) -> None:
    def fill(handle: IO[bytes]) -> None:
        text = TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(column.name for column in all_columns(columns))
        table.writerows(
            ["" if value is None else value for value in values(record.row, columns).values()] for record in records()
        )
        text.detach()

    write_beside(path, fill)


def _write_extxyz(path: Path, columns: Sequence[Column], records: Records) -> None:
    write_frames(path, relaxed(records(), columns))


def _write_parquet(path: Path, columns: Sequence[Column], records: Records) -> None:
    """In groups of rows, so that memory holds one of them; the types of the columns are found in a first pass."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    names = [column.name for column in all_columns(columns)]
    schema = pa.schema(list(zip(names, _types(pa, columns, records), strict=True)))

    def fill(handle: IO[bytes]) -> None:
        rows = (values(record.row, columns) for record in records())
        with ParquetWriter(handle, schema) as writer:
            while group := list(islice(rows, _GROUP)):
                arrays = {field.name: _cast(field.type, pa, [row[field.name] for row in group]) for field in schema}
                writer.write_table(pa.table(arrays, schema))

    write_beside(path, fill)


def _types(pa: Any, columns: Sequence[Column], records: Records) -> list[Any]:
    """Arrow's type of each column; those of rows are known, those of properties are seen."""
    own = {int: pa.int64(), float: pa.float64(), float | None: pa.float64()}
    hints = get_type_hints(ScreenRow)
    seen: dict[str, set[type]] = {column.name: set() for column in columns}
    for record in records():
        for name, kinds in seen.items():
            value = record.row.values.get(name)
            if value is not None:
                kinds.add(type(value))
    return [own.get(hints[field], pa.string()) for field in COLUMNS] + [_type_of(pa, kinds) for kinds in seen.values()]


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


def _write_page(path: Path, columns: Sequence[Column], records: Records) -> None:
    """One HTML file to look at; structures and curves come from a window of the rows that were last handed over."""
    from md_workflows.page import PageSettings, write_page
    from md_workflows.page.packing import ROWS_IN_BLOCK

    window: OrderedDict[str, Record] = OrderedDict()

    def rows() -> Iterator[dict[str, Value]]:
        for record in records():
            window[record.row.identifier] = record
            if len(window) > 2 * ROWS_IN_BLOCK:
                window.popitem(last=False)
            yield values(record.row, columns)

    def drawn(identifier: str) -> dict[str, Atoms] | None:
        record = window[identifier]
        if not len(record.atoms) or record.row.status is Status.DUPLICATE:
            return None
        others = {
            f"{name} {label}": atoms for name, found in record.structures.items() for label, atoms in found.items()
        }
        return {"structure": record.atoms, **others}

    def curves(identifier: str) -> dict[str, tuple[list[float], list[float]]]:
        found = window[identifier].curves.values()
        return {label: curve for curves in found for label, curve in curves.items()}

    first = PageSettings(x=COLUMNS["volume"].name, y=COLUMNS["energy_per_atom"].name, colour=COLUMNS["status"].name)
    title = f"Screening {path.stem}"
    write_page(path, title, all_columns(columns), rows(), drawn, curves=curves, settings=first)


WRITERS: dict[str, Callable[[Path, Sequence[Column], Records], None]] = {
    ".csv": _write_csv,
    ".extxyz": _write_extxyz,
    ".parquet": _write_parquet,
    ".html": _write_page,
}
"""What can be written of a screening, by the suffix: a function of path, columns of the properties and records.

The one place where outputs are added. `all_columns`, `values` and `relaxed` stream what most of them need; records hold
curves and other structures of the properties too.
"""
