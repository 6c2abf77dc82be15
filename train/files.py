"""Structures from files: extended XYZ, ASE databases, trajectories, whatever ASE reads."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import IO, Any

from ase import Atoms
from ase.db import connect
from ase.io import iread
from ase.io.extxyz import read_xyz

from train.sources.registry import SOURCES

XYZ = {".xyz", ".extxyz", ".exyz"}
PACKED = {".gz", ".bz2", ".xz"}


def frames_of(path: Path, layout: str = "auto") -> Iterator[tuple[str, Atoms]]:
    """Stream (`file:index`, structure); the rows of a database are called `file:id=7`.

    Args:
        path: of the file.
        layout: "auto" to go by its suffix, or a name of `train.sources.registry.SOURCES`.

    Raises:
        ValueError: the file, or a frame of it, cannot be read, or it holds none.
    """
    source, number = str(path), 0
    frames = _by_suffix(path) if layout == "auto" else _from_source(path, layout)
    while True:
        try:
            source, atoms = next(frames)
        except StopIteration:
            break
        except Exception as error:  # whatever ASE's many readers raise at a broken file
            why = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} cannot be read beyond its first {number} frames: {why}") from error
        yield source, atoms
        number += 1
    if not number:
        raise ValueError(f"{path} holds no structure; take it out of the run file")


def _by_suffix(path: Path) -> Iterator[tuple[str, Atoms]]:
    suffix = Path(path.stem).suffix if path.suffix in PACKED else path.suffix
    if suffix.lower() in XYZ:
        return _from_xyz(path)
    if suffix == ".db":
        return _from_database(path, connect(path, type="db"))
    if suffix == ".aselmdb":
        return _from_database(path, _lmdb(path))
    return ((f"{path}:{number}", atoms) for number, atoms in enumerate(iread(path, index=":")))


def _from_source(path: Path, layout: str) -> Iterator[tuple[str, Atoms]]:
    return ((f"{path}:{name}", atoms) for name, atoms in SOURCES[layout].frames(path))


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    if path.suffix == ".bz2":
        return bz2.open(path, "rt", encoding="utf-8")
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _from_xyz(path: Path) -> Iterator[tuple[str, Atoms]]:
    """Cut into frames here, for ASE seeks in the file: minutes for thousands of frames where it is compressed.

    ASE also ends at a blank line in the middle, and says nothing of the frames after it.
    """
    with _open(path) as stream:
        lines = stream.read().rstrip().split("\n")
    start, number = 0, 0
    while start < len(lines) and lines != [""]:
        if not lines[start].strip().isdecimal():
            raise ValueError(f"line {start + 1} is {lines[start][:40]!r} instead of a number of atoms")
        end = start + 2 + int(lines[start])
        while end < len(lines) and lines[end].lstrip().startswith("VEC"):
            end += 1
        # the comment of an empty frame at the end may have gone with the trailing blank lines
        if end > len(lines) and end > start + 2:
            raise ValueError(f"the file ends in the middle of frame {number}")
        yield f"{path}:{number}", next(read_xyz(StringIO("\n".join([*lines[start:end], "", ""])), 0))
        start, number = end, number + 1


def _lmdb(path: Path) -> Any:
    """The layout of OMat24, OMol25 and Alexandria as fairchem publishes them: rows are JSON, not pickles."""
    try:
        return connect(path, type="aselmdb", readonly=True, use_lock_file=False)
    except ImportError:
        raise ValueError(f"{path} needs ase-db-backends: pip install 'gfm-ase[lmdb]'") from None


def _from_database(path: Path, database: Any) -> Iterator[tuple[str, Atoms]]:
    for row in database.select():
        atoms = row.toatoms()
        atoms.info.update(row.data)
        atoms.info.update(row.key_value_pairs)
        yield f"{path}:id={row.id}", atoms
