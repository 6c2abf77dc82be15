"""The durable journal of a screening: one JSON line per finished structure, appended and synced."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Lines that survive a kill: each is on the disk before `append` returns.

    A last line that was cut short is dropped on opening. A second process that opens the same journal is
    refused. Lines are read back by their offset, so that memory holds only an index of them.
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        """Open `path`, emptied if `fresh`; raises ValueError when it is damaged or in use."""
        self.path = path
        self._handle = path.open("a+b")
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._handle.close()
            raise ValueError(f"{path} is in use by another screening; wait or choose another output.") from None
        self.offsets: dict[str, int] = {}
        if fresh:
            self._handle.truncate(0)
        try:
            self._scan()
        except ValueError:
            self.close()
            raise

    def _scan(self) -> None:
        """Index every line by its key; the latest of a key counts."""
        self._handle.seek(0)
        offset = 0
        for number, line in enumerate(self._handle, start=1):
            if not line.endswith(b"\n"):
                self._handle.truncate(offset)  # killed in the middle of writing it
                break
            try:
                self.offsets[json.loads(line)["key"]] = offset
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path} is damaged at line {number}; remove this line, or start again with resume=False."
                ) from error
            offset += len(line)

    def append(self, key: str, entry: dict[str, Any]) -> None:
        """Add one line and wait until the disk has it."""
        line = json.dumps({"key": key, **entry}, allow_nan=False) + "\n"
        offset = self._handle.seek(0, os.SEEK_END)
        self._handle.write(line.encode())
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self.offsets[key] = offset

    def read(self, key: str) -> dict[str, Any]:
        """The entry of `key`."""
        self._handle.seek(self.offsets[key])
        entry: dict[str, Any] = json.loads(self._handle.readline())
        return entry

    def close(self) -> None:
        """Close the file and let others have it."""
        self._handle.close()
