"""One writer for each table: a second screening into the same one is refused."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

_ADVISORY = 0x67666D_617365  # the number under which PostgreSQL keeps our lock: "gfmase" in ASCII


class FileLock:
    """Held on a hidden file beside the database as long as this process lives; the kernel ends it after any kill.

    The database itself is not locked: SQLite does that by other means, which end when any handle is closed.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock; raises ValueError when another process has it."""
        self._path = database.with_name(f".{database.name}.lock")
        while True:
            self._handle = self._path.open("ab")
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._handle.close()
                raise ValueError(in_use(str(database))) from None
            if self._is_there():
                return
            self._handle.close()  # its owner removed it between our opening and our locking

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._handle.fileno()))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let others have the database."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._handle.close()


class ServerLock:
    """An advisory lock of PostgreSQL on the whole database, held by a connection of its own."""

    def __init__(self, url: str) -> None:
        """Take the lock; raises ValueError when another connection has it."""
        import psycopg2

        self._connection: Any = psycopg2.connect(url)
        self._connection.autocommit = True  # an open transaction would keep the server from cleaning up
        cursor = self._connection.cursor()
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_ADVISORY,))
        if not cursor.fetchone()[0]:
            self._connection.close()
            raise ValueError(in_use(url.rpartition("@")[2]))

    def close(self) -> None:
        """Let others have the database."""
        self._connection.close()


def in_use(database: str) -> str:
    """What a second screening is told; of a URL without the password."""
    return f"{database} is in use by another screening; wait for its end or choose another table."
