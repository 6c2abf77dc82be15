"""Frames of any trajectory as snapshots with steps and times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, string2index
from ase.io.trajectory import Trajectory

from md_workflows.h5_frames import h5_length, iread_h5
from md_workflows.snapshot import Snapshot, System
from md_workflows.structures import one_line


@dataclass(frozen=True)
class Source:
    """Which frames to read.

    path: .h5 of ours, or any format that ASE reads · index: which frames, as ASE writes it ("::2", "100:") · group: of
    an .h5 file with several · frame_interval_fs: between frames of the file, for formats that do not keep the time.
    """

    path: Path
    index: str = ":"
    group: str | None = None
    frame_interval_fs: float | None = None

    def __len__(self) -> int:
        """How many frames there are; text formats are read through for that.

        Raises:
            ValueError: the file is missing or unreadable, has no such group, or the index is no slice.
        """
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file.")
        if self.path.suffix == ".h5":
            return len(range(h5_length(self.path, self.group))[self._slice()])
        if self.group is not None:
            raise ValueError(f"{self.path} has no groups of systems, only .h5 has; leave the group out.")
        if self.path.suffix == ".traj":
            with Trajectory(self.path) as trajectory:
                return len(range(len(trajectory))[self._slice()])
        return sum(1 for _ in self._read())

    def _slice(self) -> slice:
        try:
            wanted = string2index(self.index)
        except ValueError:
            wanted = self.index
        if not isinstance(wanted, slice):
            raise ValueError(
                f"index '{self.index}' does not give a series; write a slice such as ':', '100:' or '::2'."
            )
        return wanted

    def __iter__(self) -> Iterator[Snapshot]:
        """The frames, one by one.

        Raises:
            ValueError: as for the length, or frames without a time where `frame_interval_fs` is not given.
        """
        wanted = self._slice()
        found = iread_h5(self.path, wanted, self.group) if self.path.suffix == ".h5" else self._from_ase()
        for number, snapshot in enumerate(found):
            if self.frame_interval_fs is None:
                yield snapshot
            else:
                spacing = (wanted.step or 1) * self.frame_interval_fs
                yield replace(snapshot, step=number * (wanted.step or 1), time_fs=number * spacing)

    def _from_ase(self) -> Iterator[Snapshot]:
        system: System | None = None
        for atoms in self._read():
            if self.frame_interval_fs is None and "time_fs" not in atoms.info:
                raise ValueError(
                    f"{self.path} does not say when its frames were taken; give the time from frame to frame "
                    "(--frame-interval-fs)."
                )
            now = System.of(atoms)
            if system is None or not _same(system, now):
                system = now
            yield Snapshot.of(atoms, int(atoms.info.get("step", 0)), float(atoms.info.get("time_fs", 0.0)), system)

    def _read(self) -> Iterator[Atoms]:
        wanted = self._slice()
        try:
            if self.path.suffix == ".traj":
                with Trajectory(self.path) as trajectory:
                    for number in range(len(trajectory))[wanted]:
                        yield trajectory[number]
            else:
                yield from iread(self.path, index=wanted)
        except UnknownFileTypeError:
            raise ValueError(f"{self.path} is of no format that ASE knows; see `ase info --formats`.") from None
        except (OSError, EOFError, KeyError, IndexError) as error:
            raise ValueError(f"{self.path} cannot be read ({one_line(error)}).") from error


def _same(one: System, other: System) -> bool:
    """Whether all that a system holds is equal."""
    return all(np.array_equal(getattr(one, part.name), getattr(other, part.name)) for part in fields(System))
