"""Structures from files: extended XYZ, ASE databases, trajectories, whatever ASE reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ase import Atoms
from ase.io import iread

from train.sources.databases import ase_lmdb, sqlite
from train.sources.packed_files import open_text, suffix_of
from train.sources.registry import SOURCES
from train.sources.xyz import xyz_frames

XYZ = {".xyz", ".extxyz", ".exyz"}
PUBLISHED = {".lmdb": '"oc20" or "oc22"', ".bp": '"hydragnn"'}
"""Suffixes of files that are read only where the run file says what is in them."""


def frames_of(path: Path, layout: str = "auto") -> Iterator[tuple[str, Atoms]]:
    """Stream (`file:index`, structure); the rows of a database are called `file:id=7`.

    Args:
        path: of the file.
        layout: "auto" to go by its suffix, or a name of `train.sources.registry.SOURCES`.

    Raises:
        ValueError: the file, or a frame of it, cannot be read, or it holds none.
    """
    source, number = str(path), 0
    frames = _frames(path, layout)
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


def _frames(path: Path, layout: str) -> Iterator[tuple[str, Atoms]]:
    """A generator, so that a file which cannot even be opened is named as others are."""
    frames = _by_suffix(path) if layout == "auto" else SOURCES[layout].frames(path)
    yield from ((f"{path}:{name}", atoms) for name, atoms in frames)


def _by_suffix(path: Path) -> Iterator[tuple[str, Atoms]]:
    if suffix_of(path) in XYZ:
        return _from_xyz(path)
    if path.suffix == ".db":
        return sqlite(path)
    if path.suffix == ".aselmdb":
        return ase_lmdb(path)
    for suffix in (path.suffix, path.parent.suffix):
        if suffix in PUBLISHED:
            raise ValueError(f"{suffix} does not say what is in it; give format = {PUBLISHED[suffix]}")
    return ((str(number), atoms) for number, atoms in enumerate(iread(path, index=":")))


def _from_xyz(path: Path) -> Iterator[tuple[str, Atoms]]:
    with open_text(path) as stream:
        yield from ((str(number), atoms) for number, atoms in enumerate(xyz_frames(stream)))
