"""Reading structures from any file ASE reads, and telling whether two are the same."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.io import iread, read, write
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, string2index
from ase.io.jsonio import encode

from md_workflows.durable import check_directory, temporary_beside


@dataclass(frozen=True)
class Unreadable:
    """Stands for a structure that its file does not give; `error` says why."""

    error: str


Structure: TypeAlias = Atoms | Unreadable


def one_line(error: BaseException) -> str:
    """An exception in one line: its kind and what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def read_structure(path: Path, index: int = -1) -> Atoms:
    """One structure of a file, by default the last.

    Raises:
        ValueError: the file is missing, holds no such frame, or is of no format that ASE reads.
    """
    _check_files([path])
    if path.suffix == ".h5":
        from md_workflows.h5_frames import read_h5

        return read_h5(path, index)
    try:
        return read(path, index=index)
    except UnknownFileTypeError:
        raise ValueError(f"{path} is of no format that ASE knows; see `ase info --formats`.") from None
    except (IndexError, StopIteration):
        raise ValueError(f"{path} has no frame {index}.") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read ({one_line(error)}).") from error


def read_structures(paths: Sequence[Path], index: str = ":") -> Iterator[tuple[str, Structure]]:
    """Stream (identifier, structure) from many files; the identifier is `path:frame`.

    index: which frames of each file, as ASE writes it: "0", "-1", ":", "10:20:2". A file that breaks in the
    middle gives an `Unreadable` in its place, so that the others still come. Of an HDF5 trajectory of ours it is
    which frames of each group, and the identifier is `path:group:frame` where there are several.

    Raises:
        ValueError: no file, a missing one, one given twice, or no index; before anything is read.
    """
    _check_files(paths)
    try:
        wanted = string2index(index)
    except ValueError:
        wanted = index
    if isinstance(wanted, str):
        raise ValueError(f"index '{index}' is not one; write a number or a slice such as ':', '0:10' or '::2'.")
    return _stream(paths, wanted)


def _stream(paths: Sequence[Path], wanted: int | slice) -> Iterator[tuple[str, Structure]]:
    for path in paths:
        done = 0
        try:
            for name, atoms in _frames_of_h5(path, wanted) if path.suffix == ".h5" else _frames(path, wanted):
                yield f"{path}:{name}", atoms
                done += 1
        except Exception as error:
            yield f"{path}:unreadable", Unreadable(f"after {done} frames: {one_line(error)}")


def _frames(path: Path, wanted: int | slice) -> Iterator[tuple[int, Atoms]]:
    if isinstance(wanted, slice) and _counts_from_the_start(wanted):
        return zip(count(wanted.start or 0, wanted.step or 1), iread(path, index=wanted), strict=False)
    every = read(path, index=":")
    numbers = range(len(every))
    chosen = numbers[wanted] if isinstance(wanted, slice) else [numbers[wanted]]
    return ((number, every[number]) for number in chosen)


def _frames_of_h5(path: Path, wanted: int | slice) -> Iterator[tuple[str, Atoms]]:
    from md_workflows.h5_frames import h5_groups, iread_h5, read_h5

    groups = h5_groups(path)
    for group, length in groups.items():
        before = f"{group}:" if len(groups) > 1 else ""
        if isinstance(wanted, slice):
            for number, frame in zip(range(length)[wanted], iread_h5(path, wanted, group), strict=True):
                yield f"{before}{number}", frame.atoms()
        else:
            yield f"{before}{range(length)[wanted]}", read_h5(path, wanted, group)


def _counts_from_the_start(wanted: slice) -> bool:
    """Whether frame numbers are known without reading all of the file."""
    return all(part is None or part >= 0 for part in (wanted.start, wanted.stop)) and (wanted.step or 1) > 0


def _check_files(paths: Sequence[Path]) -> None:
    if not paths:
        raise ValueError("no structure file is given; name at least one.")
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise ValueError(f"{', '.join(missing)}: no such file.")
    twice = [str(path) for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is given more than once; name each file once.")


def structure_hash(atoms: Atoms) -> str:
    """SHA-256 of what a relaxation starts from: elements, positions, cell, pbc, charge, spin, constraints."""
    digest = hashlib.sha256()
    arrays: dict[str, tuple[Any, str]] = {
        "numbers": (atoms.numbers, "<i8"),
        "positions": (atoms.positions, "<f8"),
        "cell": (atoms.cell.array, "<f8"),
        "pbc": (atoms.pbc, "<i8"),
    }
    for name, (value, dtype) in arrays.items():
        digest.update(name.encode() + np.ascontiguousarray(value, dtype=dtype).tobytes())
    states = {key: float(atoms.info[key]) for key in ("charge", "spin") if key in atoms.info}
    constraints = [encode(constraint.todict()) for constraint in atoms.constraints if hasattr(constraint, "todict")]
    digest.update(json.dumps([states, constraints], sort_keys=True).encode())
    return digest.hexdigest()


def check_writable(path: Path) -> None:
    """Raise ValueError when a structure cannot be written to `path`: no such directory, or no format of its name."""
    check_directory(path)
    _format(path)


def write_structure(path: Path, atoms: Atoms) -> None:
    """Write one structure in the format that the name of `path` tells, beside and renamed."""
    temporary = temporary_beside(path)
    try:
        write(temporary, atoms, format=_format(path))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _format(path: Path) -> str:
    try:
        name = str(filetype(str(path), read=False))
    except UnknownFileTypeError:
        name = ""
    if name not in ioformats or not ioformats[name].can_write:
        raise ValueError(f"{path}: ASE writes no format of this name; use .extxyz, .cif or .vasp, say.")
    return name
