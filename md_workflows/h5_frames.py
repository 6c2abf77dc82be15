"""HDF5 trajectories (.h5): written in pieces that reach the disk as a whole, cut back by numbers of frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import overload

from ase import Atoms
from ase.io.formats import string2index

from md_workflows.frames import FrameWriter, Mark, lost
from md_workflows.h5_layout import GROUP, Series, open_h5
from md_workflows.snapshot import Snapshot, System, known_system

BUFFER_BYTES = 64 * 2**20
SECONDS_UNSEEN = 5.0
SHARE_OF_TIME = 0.02
"""Frames wait in memory until the next mark, or for at most these bytes and seconds, or longer where writing would
take more than this share of the time."""


class H5Writer(FrameWriter):
    """H5MD 1.1: one group of particles for each system, with any numbers of atoms.

    Frames reach the file at a mark, when it is closed, and in between when much waits or has waited for seconds. At
    every moment any program of HDF5 can read what had reached it, also after the process was killed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file, self._pages = open_h5(path, write=True)
        self._series: dict[str, Series] = {}
        self._systems: dict[str, System] = {}
        self._waiting: dict[str, list[Snapshot]] = {}
        self._bytes = 0
        self._whole = True  # False while, and after, a commit has gone wrong
        self._due = time.monotonic() + SECONDS_UNSEEN

    def write(self, frame: Atoms, group: str = GROUP) -> None:
        """Append `frame` to a group; its step and time_fs are taken from `info` (0 where they are missing)."""
        step, time_fs = int(frame.info.get("step", 0)), float(frame.info.get("time_fs", 0.0))
        self.append(Snapshot.of(frame, step, time_fs), group)

    def append(self, snapshot: Snapshot, group: str = GROUP) -> None:
        """Append a snapshot to a group, which its first one begins; the arrays must not change afterwards.

        Raises:
            ValueError: the group is about other atoms, or its name cannot be one.
        """
        if group not in self._systems:
            self._systems[group] = self._known(group, snapshot)
        if self._systems[group] is not snapshot.system:
            known_system(snapshot.system, self._systems[group], f"{self.path}, group {group!r},")
        self._waiting.setdefault(group, []).append(snapshot)
        self._bytes += 96 * len(snapshot.system) + 300
        if self._bytes > BUFFER_BYTES or time.monotonic() > self._due:
            self.commit()

    def _known(self, group: str, snapshot: Snapshot) -> System:
        if not group or "/" in group or group == ".":
            raise ValueError(f"{group!r} cannot be the name of a group in {self.path}; it is empty or has a '/'.")
        if group in self._file["particles"]:
            self._series[group] = Series(self._file, group)
            return self._series[group].system
        return snapshot.system

    def commit(self) -> None:
        """Bring all frames to the disk, or raise and leave the file with those that had reached it before."""
        self._whole = False
        began = time.monotonic()
        for group, snapshots in self._waiting.items():
            if group not in self._series:
                self._series[group] = Series.create(self._file, group, self._systems[group])
            self._series[group].append(snapshots)
        self._waiting, self._bytes = {}, 0
        self._file.flush()
        self._pages.commit()
        self._whole = True
        now = time.monotonic()
        self._due = now + max(SECONDS_UNSEEN, (now - began) / SHARE_OF_TIME)

    def mark(self) -> Mark:
        """The numbers of frames, after all of them have reached the disk."""
        self.commit()
        return _mark(self.path, self._file)

    def close(self) -> None:
        """Write what waits and close the file; after a commit that failed nothing more is written."""
        if not self._file:
            return
        if self._whole:
            self.commit()
        self._file.close()
        if self._whole:
            self._pages.commit()
        self._pages.close()


def mark_h5(path: Path) -> Mark:
    """The numbers of frames that an HDF5 trajectory has on the disk."""
    with _Reading(path) as reading:
        return _mark(path, reading.file)


def _mark(path: Path, file: object) -> Mark:
    return Mark(path.stat().st_size, frames=_counts(file))


def _counts(file: object) -> dict[str, int]:
    particles = file["particles"]  # type: ignore[index] # h5py has no types
    return {str(name): int(particles[name]["position/step"].shape[0]) for name in particles}


def rewind_h5(path: Path, mark: Mark) -> None:
    """Cut every group to its number of frames at `mark`, and remove groups that came later; all or nothing.

    Raises:
        ValueError: frames that the mark knows of are missing.
    """
    file, pages = open_h5(path, write=True)
    try:
        wanted, there = mark.frames or {}, _counts(file)
        for group, count in wanted.items():
            if there.get(group, 0) < count:
                raise lost(path, f"{there.get(group, 0)} frames of {group!r}", count)
        for group, count in there.items():
            if group not in wanted:
                del file["particles"][group]
                if group in file["observables"]:
                    del file["observables"][group]
            elif count > wanted[group]:
                Series(file, group).resize(wanted[group])
        file.close()
        pages.commit()
    finally:
        file.close()  # into memory only: without a commit nothing has changed
        pages.close()


class _Reading:
    """An open HDF5 trajectory, as a context."""

    def __init__(self, path: Path) -> None:
        self.file, self._pages = open_h5(path)

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._pages.close()


def h5_groups(path: str | Path) -> dict[str, int]:
    """The groups of particles of an HDF5 trajectory, and how many frames each has."""
    with _Reading(Path(path)) as reading:
        return _counts(reading.file)


def h5_length(path: str | Path, group: str | None = None) -> int:
    """How many frames a group has; 0 where nothing was written and no group is named.

    Raises:
        ValueError: no trajectory of ours, no such group, or no group named where there are several.
    """
    with _Reading(Path(path)) as reading:
        empty = group is None and not _counts(reading.file)
        return 0 if empty else _chosen(Path(path), reading.file, group).count


def iread_h5(path: str | Path, index: slice = slice(None), group: str | None = None) -> Iterator[Snapshot]:
    """Frames of one group, one by one.

    Raises:
        ValueError: no trajectory of ours, no such group, or no group named where there are several.
    """
    with _Reading(Path(path)) as reading:
        series = _chosen(Path(path), reading.file, group)
        for frame in range(series.count)[index]:
            yield series.read(frame)


@overload
def read_h5(path: str | Path, index: int = -1, group: str | None = None) -> Atoms: ...
@overload
def read_h5(path: str | Path, index: slice | str, group: str | None = None) -> Atoms | list[Atoms]: ...
def read_h5(path: str | Path, index: int | slice | str = -1, group: str | None = None) -> Atoms | list[Atoms]:
    """Frames of one group as ASE atoms, chosen as by `ase.io.read`: a number gives one, a slice (or ":") a list.

    Raises:
        ValueError: no trajectory of ours, no such group or frame, or no group named where there are several.
    """
    wanted = string2index(index) if isinstance(index, str) else index
    if isinstance(wanted, slice):
        return [one.atoms() for one in iread_h5(path, wanted, group)]
    with _Reading(Path(path)) as reading:
        series = _chosen(Path(path), reading.file, group)
        if not -series.count <= wanted < series.count:
            raise ValueError(f"{path} has {series.count} frames, there is no frame {wanted}.")
        return series.read(wanted % series.count).atoms()


def _chosen(path: Path, file: object, group: str | None) -> Series:
    there = list(_counts(file))
    names = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    if group is None and len(there) != 1:
        raise ValueError(f"{path} has {len(there)} groups ({names or 'no frame was written'}); name the one to read.")
    if group is not None and group not in there:
        raise ValueError(f"{path} has no group {group!r}; there are {names or 'none'}.")
    return Series(file, there[0] if group is None else group)
