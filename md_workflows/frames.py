"""Trajectory frames: what one holds, and writers that can be cut back to an earlier length.

A writer appends; `mark` tells the length reached, `rewind` brings a file back to a mark, byte for byte.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.io.trajectory import Trajectory

from md_workflows.durable import sync_file

_ULM_HEADER = 48  # bytes: magic, version, number of items, position of the table of offsets


@dataclass(frozen=True)
class Mark:
    """The length of a file in bytes and, for .traj, its header (hexadecimal) at that length."""

    size: int
    header: str = ""


def frame_of(atoms: Atoms, **info: float) -> Atoms:
    """A copy of `atoms` with `info` added and the results its calculator holds; nothing is computed.

    Keeps energy (eV), forces (eV/Å, without constraints) and stress (eV/Å³, Voigt) where they are known.
    """
    frame = atoms.copy()
    frame.info.update(info)
    results: dict[str, Any] = {}
    for name in ("energy", "free_energy", "forces", "stress"):
        value = _known(atoms, name)
        if value is not None:
            results[name] = value
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def _known(atoms: Atoms, name: str) -> Any:
    calculator = atoms.calc
    if calculator is None or name not in getattr(calculator, "implemented_properties", ()):
        return None
    value = calculator.get_property(name, atoms, allow_calculation=False)
    return None if value is None else np.array(value) if np.ndim(value) else float(value)


class FrameWriter(ABC):
    """Appends frames to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def write(self, frame: Atoms) -> None:
        """Append `frame` and flush."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def mark(self) -> Mark:
        """The present length, after all of it has reached the disk."""
        return mark_file(self.path)


class TrajWriter(FrameWriter):
    """ASE's binary .traj: exact numbers."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._trajectory = Trajectory(path, mode="a")

    def write(self, frame: Atoms) -> None:
        """Append `frame`; ASE flushes after every frame."""
        self._trajectory.write(frame)

    def close(self) -> None:
        """Close the file."""
        self._trajectory.close()


class ExtxyzWriter(FrameWriter):
    """Extended XYZ: text, 8 decimals."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._handle = path.open("a", encoding="utf-8")

    def write(self, frame: Atoms) -> None:
        """Append `frame` and flush."""
        write(self._handle, frame, format="extxyz")
        self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


WRITERS: dict[str, type[FrameWriter]] = {".traj": TrajWriter, ".extxyz": ExtxyzWriter}


def frame_writer(path: Path) -> FrameWriter:
    """A writer for the format that the suffix of `path` names; raises ValueError for any other suffix."""
    check_suffix(path)
    return WRITERS[path.suffix](path)


def check_suffix(path: Path) -> None:
    """Raise ValueError when frames cannot be written to a file of this name."""
    if path.suffix not in WRITERS:
        raise ValueError(f"the trajectory {path} has to end in one of {', '.join(WRITERS)}.")


def mark_file(path: Path) -> Mark:
    """Sync `path` to the disk and return its length; a missing file has length 0."""
    if not path.exists():
        return Mark(0)
    sync_file(path)
    with path.open("rb") as handle:
        header = handle.read(_ULM_HEADER).hex() if path.suffix == ".traj" else ""
    return Mark(path.stat().st_size, header)


def rewind_file(path: Path, mark: Mark) -> None:
    """Cut what was appended to `path` after `mark` was taken.

    Raises:
        ValueError: the file is missing or shorter than the mark, so that frames or rows have been lost.
    """
    size = path.stat().st_size if path.exists() else 0
    if size < mark.size:
        raise ValueError(
            f"{path} has {size} bytes, but the saved state knows of {mark.size}: it was changed or removed "
            "since; put it back, or start again with on_existing='overwrite'."
        )
    if mark.size == 0:
        path.unlink(missing_ok=True)
        return
    with path.open("r+b") as handle:
        handle.truncate(mark.size)
        handle.write(bytes.fromhex(mark.header))
