"""The durable table of a screening: an ASE database, in an SQLite file or on a PostgreSQL server."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms
from ase.db import connect

from md_workflows.durable import check_directory
from md_workflows.screening.lock import FileLock, ServerLock
from md_workflows.screening.records import Record, ase_row, data, pairs, record_of, searchable, unique_id
from md_workflows.screening.rows import DOUBTS, Status

_BATCH = 500
"""Rows that are read or written at once."""

_SCAN = f"SELECT id, unique_id, key_value_pairs FROM systems WHERE id > ? ORDER BY id LIMIT {_BATCH}"  # noqa: S608 - ours


class Known(NamedTuple):
    """What is remembered of each row: its number in the database, and what decides whether it is done.

    doubted: whether its uncertainty is known.
    """

    id: int
    status: Status
    content: str
    measured: str
    unmeasured: str
    duplicate_of: str
    doubted: bool = False


class Reader:
    """Reads the rows of a database; it needs no lock."""

    def __init__(self, database: str) -> None:
        kind = "postgresql" if is_url(database) else "db"
        self.db: Any = connect(database, type=kind, use_lock_file=False, serial=True)

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Record]]:
        """Stream the records of these numbers, in their order."""
        source = iter(numbers)
        while batch := list(islice(source, _BATCH)):
            with self.db:
                found = [(number, record_of(self.db.get(id=number))) for number in batch]
            yield from found

    def scan(self) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
        """Number, unique id and key-value pairs of every row, in the order of the numbers.

        By SQL: `select` of ASE would sort the whole table for each batch.
        """
        last = 0
        while found := self._after(last):
            for number, unique, kept in found:  # of SQLite text, of PostgreSQL a dictionary
                yield number, unique, kept if isinstance(kept, dict) else json.loads(kept)
            last = found[-1][0]

    def _after(self, last: int) -> list[tuple[int, str, Any]]:
        with self.db, self.db.managed_connection() as connection:  # the first closes it, the second alone would not
            cursor = connection.cursor()
            cursor.execute(_SCAN, (last,))
            return list(cursor.fetchall())


class Table:
    """The rows of one screening, written by this process alone.

    What `write` was given is in the database, and on the disk, when it returns: one transaction. The database refuses a
    second row of one structure.
    """

    def __init__(self, database: str, scope: str) -> None:
        """Open or begin the table; raises ValueError when it cannot be opened, or is in use.

        database: path of an SQLite file, or postgresql://user:password@host:port/name.
        scope: the name of the screening, which keeps several apart in one database.
        """
        self._scope = scope
        self._lock: FileLock | ServerLock
        if is_url(database):
            _check_client()
            self._lock = _server_lock(database)
        else:
            check_directory(Path(database))
            self._lock = FileLock(Path(database))
        try:
            self._reader = Reader(database)
            self._db = self._reader.db
            self._db.count()
        except (sqlite3.DatabaseError, AssertionError) as error:
            self._lock.close()
            raise ValueError(
                f"{database} is no ASE database that can be read ({error}); choose another table."
            ) from error
        except BaseException:
            self._lock.close()
            raise

    def known(self, run: str) -> Iterator[tuple[str, Known]]:
        """Stream the rows of `run` that are there, each with its unique id, in the order of their numbers."""
        for number, unique, found in self._reader.scan():
            if found.get("run") == run and found.get("screening", "") == searchable(self._scope):
                measured, unmeasured, twin = (found.get(key, "") for key in ("measured", "unmeasured", "duplicate_of"))
                doubted = any(column.name in found for column in DOUBTS.values())
                status, content = Status(found["status"]), found["content"][1:]
                yield unique, Known(number, status, content, measured, unmeasured, twin, doubted)

    def number(self, run: str, identifier: str) -> int:
        """The number of a row that is there."""
        with self._db:
            return int(self._db.get(unique_id=self.unique(run, identifier)).id)

    def unique(self, run: str, identifier: str) -> str:
        """Under which a structure is found in `index`."""
        return unique_id(self._scope, run, identifier)

    def write(self, records: Sequence[tuple[int | None, Record]], run: str) -> list[int]:
        """Write records in one transaction, over the row of that number or as new ones; returns the numbers.

        Raises:
            ValueError: an SQLite file that a full disk or another program keeps from being written.
        """
        try:
            with self._db:
                return [self._write(number, record, run) for number, record in records]
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"{self._db.filename} cannot be written ({error}); all that was written before is there, and the same "
                "command goes on when that is seen to."
            ) from error

    def _write(self, number: int | None, record: Record, run: str) -> int:
        row = ase_row(record, self.unique(run, record.row.identifier))
        return int(self._db.write(row, pairs(record, run, self._scope), data(record), id=number))

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Record]]:
        """Stream the records of these numbers, in their order."""
        return self._reader.read(numbers)

    def start(self, run: str, identifier: str) -> Atoms | None:
        """A structure as it came in, or None when the table has no atoms of it."""
        with self._db:
            return record_of(self._db.get(unique_id=self.unique(run, identifier))).start

    def forget(self, run: str) -> None:
        """Remove the rows of `run`."""
        numbers = iter([known.id for _, known in self.known(run)])
        while batch := list(islice(numbers, _BATCH)):
            self._db.delete(batch)

    def completed(self, run: str) -> str:
        """What `complete` noted last, or nothing."""
        return str(self._db.metadata.get("completed", {}).get(f"{self._scope} {run}", ""))

    def complete(self, run: str, mark: str) -> None:
        """Note in the database's metadata that the table is whole."""
        metadata = self._db.metadata
        completed = {**metadata.get("completed", {}), f"{self._scope} {run}": mark}
        self._db.metadata = {**metadata, "completed": completed}

    def reopen(self, run: str) -> None:
        """Note, before rows are changed, that the table is whole no more, whatever ends the call that changes them."""
        if self.completed(run):
            self.complete(run, "")

    def close(self) -> None:
        """Let others have the table."""
        self._lock.close()


def is_url(database: str) -> bool:
    """Whether a table is on a server."""
    return database.startswith(("postgresql://", "postgres://"))


def _check_client() -> None:
    missing = [name for name in ("ase_db_backends", "psycopg2") if find_spec(name) is None]
    if missing:
        raise ValueError(f"a table on a PostgreSQL server needs {', '.join(missing)}: pip install 'gfm-ase[postgres]'.")


def _server_lock(url: str) -> ServerLock:
    import psycopg2

    try:
        return ServerLock(url)
    except psycopg2.Error as error:
        raise ValueError(f"the PostgreSQL server refuses: {' '.join(str(error).split())}") from None
