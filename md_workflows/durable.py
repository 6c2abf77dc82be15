"""Writing files so that a reader finds either the old or the new content, never half of one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def temporary_beside(path: Path) -> Path:
    """A hidden name in the directory of `path`, with its suffix: renaming within a directory is atomic."""
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


def write_beside(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it to the disk and rename it to `path`."""
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Return once all that was flushed to `path` is on the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def check_directory(path: Path) -> None:
    """Raise ValueError when `path` lies in a directory that is not there, before any time is spent."""
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: the directory {path.parent} does not exist; create it first.")
