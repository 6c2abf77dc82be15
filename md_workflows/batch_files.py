"""The files of many runs: frames and log lines wait in memory, and reach each file at once.

So a thousand trajectories need no thousand open files, and a restart can still cut each back to where a state knows it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ase import Atoms

from md_workflows.analysis.reporting import all_tables, report_path
from md_workflows.durable import check_directory
from md_workflows.frames import FrameWriter, Mark, check_suffix, frame_writer, mark_file, rewind_file, write_frames
from md_workflows.md_files import LOG_COLUMNS

WAITING_ATOMS = 500_000
WAITING_SECONDS = 10.0
"""Frames wait until the next state, or until there are so many atoms or they are so old."""

SYNCS = 16
"""Files that are brought to the disk at a time."""


@dataclass(frozen=True)
class BatchFiles:
    """Where many runs write: a file of frames (.extxyz or .traj) and a log (CSV) each, one state for all.

    Attributes:
        directory: made if it is not there; structure 12 has 000012.extxyz, 000012.csv and, if a guard has stopped it,
            000012.last_good.extxyz, and 000012.rdf.csv of a report; the state is state.npz.
        suffix: of the frames; empty to write none.
        log: whether logs are written.
    """

    directory: Path
    suffix: str = ".extxyz"
    log: bool = True

    @property
    def candidates(self) -> Path:
        """Structures of all runs that are kept for labelling, unless another place is named."""
        return self.directory / "candidates.extxyz"

    @property
    def state(self) -> Path:
        """The state that a restart goes on from."""
        return self.directory / "state.npz"

    def frames_of(self, key: int) -> Path | None:
        """The frames of structure `key`."""
        return self.directory / f"{key:06d}{self.suffix}" if self.suffix else None

    def log_of(self, key: int) -> Path | None:
        """The log of structure `key`."""
        return self.directory / f"{key:06d}.csv" if self.log else None

    def last_good_of(self, key: int) -> Path:
        """The last good frame of structure `key`, where it was stopped."""
        return self.directory / f"{key:06d}.last_good.extxyz"

    def beside(self, key: int) -> Path:
        """The name that tables of reports of structure `key` stand beside."""
        return self.directory / f"{key:06d}"

    def check(self) -> None:
        """Raise ValueError for a suffix of no trajectory, or a directory that cannot be made."""
        if self.suffix:
            check_suffix(Path("frames" + self.suffix))
        check_directory(self.directory)
        if self.directory.exists() and not self.directory.is_dir():
            raise ValueError(f"{self.directory} is a file; many runs write into a directory, name another.")

    def present(self, count: int) -> list[Path]:
        """Those files of runs 0 to `count` that exist."""
        if not self.directory.is_dir():
            return []
        there = {path.name for path in self.directory.iterdir()}
        return [path for path in (self.state, *self._all(range(count))) if path.name in there]

    def _all(self, keys: Iterable[int]) -> list[Path]:
        paths: list[Path | None] = []
        for key in keys:
            paths += [self.frames_of(key), self.log_of(key), self.last_good_of(key)]
            paths += [report_path(self.beside(key), table) for table in all_tables()]
        return [path for path in paths if path is not None]


class BatchWriter:
    """Appends frames and lines to the files of many runs.

    Args:
        files: where.
        marks: how long each file is, by its name, after a restart.
    """

    def __init__(self, files: BatchFiles, marks: dict[str, Mark]) -> None:
        self._files = files
        self._marks = dict(marks)
        self._frames: dict[int, list[Atoms]] = {}
        self._lines: dict[int, list[str]] = {}
        self._unsynced: set[Path] = set()
        self._atoms = 0
        self._since = time.monotonic()
        self.wants_frames, self.wants_lines = bool(files.suffix), files.log

    def frame(self, key: int, atoms: Atoms) -> None:
        """Append a frame, which must not change afterwards."""
        self._frames.setdefault(key, []).append(atoms)
        self._atoms += len(atoms)

    def line(self, key: int, line: str) -> None:
        """Append a line to a log."""
        self._lines.setdefault(key, []).append(line)

    def rest(self) -> None:
        """Write if much waits, or has waited for long."""
        if self._atoms > WAITING_ATOMS or time.monotonic() - self._since > WAITING_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Append all that waits; whoever reads the files sees it from now on."""
        for key, frames in self._frames.items():
            path = self._files.frames_of(key)
            if path is not None:
                _append_frames(path, frames)
                self._unsynced.add(path)
        for key, lines in self._lines.items():
            path = self._files.log_of(key)
            if path is not None:
                _append_lines(path, lines)
                self._unsynced.add(path)
        self._frames, self._lines, self._atoms, self._since = {}, {}, 0, time.monotonic()

    def last_good(self, key: int, atoms: Atoms) -> None:
        """Keep the last good frame of a run that was stopped."""
        write_frames(self._files.last_good_of(key), [atoms])

    def marks(self) -> dict[str, Mark]:
        """The length of every file, after all that was appended has reached the disk."""
        self.flush()
        paths = sorted(self._unsynced)
        if len(paths) == 1:
            self._marks[paths[0].name] = mark_file(paths[0])
        elif paths:
            with ThreadPoolExecutor(SYNCS) as pool:
                self._marks.update(zip((path.name for path in paths), pool.map(mark_file, paths), strict=True))
        self._unsynced = set()
        return dict(self._marks)


def _append_frames(path: Path, frames: Sequence[Atoms]) -> None:
    writer: FrameWriter = frame_writer(path)
    try:
        for frame in frames:
            writer.write(frame)
    finally:
        writer.close()


def _append_lines(path: Path, lines: Sequence[str]) -> None:
    handle: IO[Any]
    with path.open("a", encoding="utf-8", newline="") as handle:
        first = [] if handle.tell() else [",".join(LOG_COLUMNS)]
        handle.write("".join(f"{line}\r\n" for line in (*first, *lines)))


def rewind_all(files: BatchFiles, marks: dict[str, Mark], count: int) -> None:
    """Cut the files of runs 0 to `count` back to `marks`; those that the marks do not know are removed.

    Raises:
        ValueError: a file is missing or shorter than its mark.
    """
    for name, mark in marks.items():
        rewind_file(files.directory / name, mark)
    for path in files.present(count):
        if path.name not in marks and path.suffix in {files.suffix, ".csv"} and ".last_good" not in path.name:
            path.unlink()
