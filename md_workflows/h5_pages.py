"""A file of pages that changes from one consistent content to the next, also when the process is killed in between.

HDF5 overwrites its tables in place: killed while it does, a file is lost with all its frames. Here HDF5 writes into
memory. `commit` puts new pages behind the old end, where nothing refers to them yet; then those that replace old ones
into a journal beside the file; then it replaces them and removes the journal. Whoever opens the file finds either the
content before, or a journal to finish with. Between commits any program can read the file.
"""

import hashlib
import os
import struct
from io import SEEK_CUR, SEEK_END, SEEK_SET
from itertools import groupby
from pathlib import Path
from typing import IO

from md_workflows.durable import write_beside

PAGE = 4096
_MAGIC = b"gfm-ase pages 1\n"
_HEAD = struct.Struct("<QQ")  # size of the file afterwards, number of pages
_DIGEST = 32


class PagedFile:
    """What h5py's driver "fileobj" asks of a file; changes stay in memory until `commit`.

    A file opened to write has its journal finished first; one opened to read looks through it.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._pages: dict[int, bytearray] = {}
        self._place = 0
        left = read_journal(path)
        if write and left is None:
            journal_of(path).unlink(missing_ok=True)  # begun, never complete: the file is as it was before
        self._file = os.open(path, os.O_RDWR | os.O_CREAT if write else os.O_RDONLY)
        self._size = self._valid = os.fstat(self._file).st_size  # what lies on the disk beyond `_valid` is cut off
        if left is not None:
            self._size, self._pages = left
            if write:
                self._replace(self._pages)

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return self._size == 0

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move to `offset` bytes from the start, the present place or the end."""
        start = {SEEK_SET: 0, SEEK_CUR: self._place, SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """The present place."""
        return self._place

    def flush(self) -> None:
        """Nothing: what HDF5 has flushed is in memory, `commit` brings it to the disk."""

    def truncate(self, size: int) -> int:
        """Set the length; what is cut off comes back as zeros."""
        last, kept = divmod(size, PAGE)
        if size < self._size:
            self._pages = {page: content for page, content in self._pages.items() if page * PAGE < size}
            if last in self._pages:
                self._pages[last][kept:] = bytes(PAGE - kept)
        self._size, self._valid = size, min(self._valid, size)
        return size

    def read(self, length: int) -> bytes:
        """The next `length` bytes."""
        buffer = bytearray(length)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from the present place; beyond the end are zeros."""
        view, start = memoryview(buffer).cast("B"), self._place
        done = 0
        while done < len(view):
            page, first = divmod(start + done, PAGE)
            if page in self._pages:
                piece: bytes | bytearray = self._pages[page][first : first + len(view) - done]
            else:
                piece = self._stored(start + done, self._until_changed(page, len(view) - done, first))
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._place = start + done
        return done

    def _until_changed(self, page: int, wanted: int, first: int) -> int:
        length = PAGE - first
        while length < wanted and page + 1 not in self._pages:
            page, length = page + 1, length + PAGE
        return min(length, wanted)

    def _stored(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, min(length, max(self._valid - offset, 0)), offset).ljust(length, b"\0")

    def write(self, content: memoryview) -> int:
        """Put `content` at the present place."""
        view, start = memoryview(content).cast("B"), self._place
        done = 0
        while done < len(view):
            page, first = divmod(start + done, PAGE)
            piece = view[done : done + PAGE - first]
            if len(piece) == PAGE:
                self._pages[page] = bytearray(piece)
            else:
                known = self._pages.get(page)
                if known is None:
                    known = self._pages[page] = bytearray(self._stored(page * PAGE, PAGE))
                known[first : first + len(piece)] = piece
            done += len(piece)
        self._place = start + done
        self._size = max(self._size, self._place)
        return done

    def commit(self) -> None:
        """Bring the present content to the disk; returns once it is there."""
        stored = os.fstat(self._file).st_size
        old_end = stored // PAGE  # the page in which the file ends is one that is replaced
        for page in range(self._valid // PAGE, -(-min(stored, self._size) // PAGE)):
            if self._valid < stored and page not in self._pages:  # cut off, and grown over again
                self._pages[page] = bytearray(self._stored(page * PAGE, PAGE))
        behind = {page: content for page, content in self._pages.items() if page >= old_end}
        within = {
            page: content
            for page, content in self._pages.items()
            if page < old_end and os.pread(self._file, PAGE, page * PAGE) != content
        }
        if 0 in behind:  # a new file: nothing to be lost, but its first page makes it a file of HDF5
            within[0] = behind.pop(0)
        _write_runs(self._file, behind)
        os.fsync(self._file)
        self._write_journal(within)
        self._replace(within)

    def _write_journal(self, pages: dict[int, bytearray]) -> None:
        body = _MAGIC + _HEAD.pack(self._size, len(pages))
        body += struct.pack(f"<{len(pages)}Q", *pages) + b"".join(pages.values())

        def fill(handle: IO[bytes]) -> None:
            handle.write(body + hashlib.sha256(body).digest())

        write_beside(journal_of(self.path), fill)
        _sync_directory(self.path.parent)  # the journal's name is on the disk before any page changes

    def _replace(self, pages: dict[int, bytearray]) -> None:
        _write_runs(self._file, pages)
        os.ftruncate(self._file, self._size)
        os.fsync(self._file)
        journal_of(self.path).unlink(missing_ok=True)
        self._pages, self._valid = {}, self._size

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        os.close(self._file)


def journal_of(path: Path) -> Path:
    """Where pages wait that are about to replace others."""
    return path.with_name(f".{path.name}.journal")


def read_journal(path: Path) -> tuple[int, dict[int, bytearray]] | None:
    """The size and the pages that a complete journal gives the file `path`; None where there is none."""
    try:
        content = journal_of(path).read_bytes()
    except FileNotFoundError:
        return None
    body = content[:-_DIGEST]
    if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != content[-_DIGEST:] or not path.exists():
        return None
    size, count = _HEAD.unpack_from(body, len(_MAGIC))
    numbers = struct.unpack_from(f"<{count}Q", body, len(_MAGIC) + _HEAD.size)
    start = len(body) - count * PAGE
    return size, {
        page: bytearray(body[start + place * PAGE : start + (place + 1) * PAGE]) for place, page in enumerate(numbers)
    }


def _write_runs(file: int, pages: dict[int, bytearray]) -> None:
    """Write pages in order, neighbours in one call."""
    for _, run in groupby(enumerate(sorted(pages)), lambda item: item[1] - item[0]):
        numbers = [page for _, page in run]
        left = memoryview(b"".join(pages[page] for page in numbers))
        offset = numbers[0] * PAGE
        while left:
            done = os.pwrite(file, left, offset)
            left, offset = left[done:], offset + done


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
