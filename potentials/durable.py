"""Files that are on the disk, whole, under their name, or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file to; it takes the place of `path` at the end.

    Its content is on the disk before the name is, and the name is on the disk at the end: whatever dies at whatever
    moment leaves the old file or the new one. An exception inside leaves the old one. The name is in a folder of its
    own, for writers have temporary files too; what a killed process has left in it goes with the next call.
    """
    folder = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    beside = folder / path.name
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    with suppress(OSError):  # file systems without a sync of folders: they write names in order
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
