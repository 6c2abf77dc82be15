"""Trajectory frames: what one holds, and writers that can be cut back to an earlier length.

A writer appends; `mark` tells the length reached, `rewind` brings a file back to a mark, byte for byte.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.io.trajectory import Trajectory

from md_workflows.durable import sync_file, write_beside
from md_workflows.uncertainty import UNCERTAINTIES, note_uncertainties, uncertainties_of

_ULM_HEADER = 48  # bytes: magic, version, number of items, position of the table of offsets


@dataclass(frozen=True)
class Mark:
    """The length of a file in bytes; for .traj its header (hexadecimal) at that length, for .h5 frames by group."""

    size: int
    header: str = ""
    frames: dict[str, int] | None = None


def frame_of(atoms: Atoms, **info: float) -> Atoms:
    """A copy of `atoms` with `info` added and the results its calculator holds; nothing is computed.

    Keeps energy (eV), forces (eV/Å, without constraints) and stress (eV/Å³, Voigt) where they are known, and
    uncertainties in `info`, those of atoms in `arrays`.
    """
    frame = atoms.copy()
    frame.info.update(info)
    note_uncertainties(frame, uncertainties_of(atoms))
    frame.calc = SinglePointCalculator(frame, **known_results(atoms))
    return frame


def known_results(atoms: Atoms) -> dict[str, Any]:
    """Energies, forces and stress that the calculator of `atoms` holds for them, copied; nothing is computed."""
    found = {name: _known(atoms, name) for name in ("energy", "free_energy", "forces", "stress")}
    return {name: value for name, value in found.items() if value is not None}


def _known(atoms: Atoms, name: str) -> Any:
    calculator = atoms.calc
    held = (*getattr(calculator, "implemented_properties", ()), *getattr(calculator, "results", ()))
    if calculator is None or name not in held:
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
        """Append `frame`; ASE flushes after every frame, and keeps no arrays of others: they go into `info`."""
        arrays = {name: frame.arrays[name] for name in UNCERTAINTIES if name in frame.arrays}
        if arrays:
            given, frame = frame, frame.copy()
            frame.calc = given.calc
            frame.info |= arrays
        self._trajectory.write(frame)

    def close(self) -> None:
        """Close the file."""
        self._trajectory.close()


def write_frames(path: Path, frames: Iterable[Atoms]) -> int:
    """Write extended XYZ, beside and renamed; returns how many. A stream is written as it comes."""
    count = 0

    def fill(handle: IO[bytes]) -> None:
        nonlocal count
        text = TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
        for frame in frames:
            write(text, frame, format="extxyz", parallel=False)
            count += 1
        text.detach()

    write_beside(path, fill)
    return count


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


def _h5_writer(path: Path) -> FrameWriter:
    from md_workflows.h5_frames import H5Writer

    return H5Writer(path)


WRITERS: dict[str, Callable[[Path], FrameWriter]] = {".traj": TrajWriter, ".extxyz": ExtxyzWriter, ".h5": _h5_writer}


def frame_writer(path: Path) -> FrameWriter:
    """A writer for the format that the suffix of `path` names; raises ValueError for any other suffix."""
    check_suffix(path)
    return WRITERS[path.suffix](path)


def check_suffix(path: Path) -> None:
    """Raise ValueError when frames cannot be written to a file of this name."""
    if path.suffix not in WRITERS:
        raise ValueError(f"the trajectory {path} has to end in one of {', '.join(WRITERS)}.")
    if path.suffix == ".h5" and find_spec("h5py") is None:
        raise ValueError(f"{path}: HDF5 needs the extra: pip install gfm-ase[hdf5]")


def mark_file(path: Path) -> Mark:
    """Sync `path` to the disk and return its length; a missing file has length 0."""
    if not path.exists():
        return Mark(0)
    if path.suffix == ".h5":
        from md_workflows.h5_frames import mark_h5

        return mark_h5(path)
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
    if size < mark.size and (mark.frames is None or size == 0):
        raise lost(path, f"{size} bytes", mark.size)
    if mark.size == 0:
        path.unlink(missing_ok=True)
        return
    if mark.frames is not None:
        from md_workflows.h5_frames import rewind_h5

        rewind_h5(path, mark)
        return
    with path.open("r+b") as handle:
        handle.truncate(mark.size)
        handle.write(bytes.fromhex(mark.header))


def lost(path: Path, has: str, known: int) -> ValueError:
    """The error for a file that `has` less than what is `known` of it."""
    return ValueError(
        f"{path} has {has}, but the saved state knows of {known}: it was changed or removed "
        "since; put it back, or start again with on_existing='overwrite'."
    )
