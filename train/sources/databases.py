"""ASE databases: SQLite, and LMDB as OMat24, OMol25 and Alexandria are published for fairchem."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.db import connect

from potentials.structures import structure_state


def sqlite(path: Path) -> Iterator[tuple[str, Atoms]]:
    """Rows of a `.db`; key-value pairs and `data` are in ``info``."""
    return _rows(connect(path, type="db"))


def ase_lmdb(path: Path) -> Iterator[tuple[str, Atoms]]:
    """Rows of an `.aselmdb`, which are JSON and no pickles; key-value pairs and `data` are in ``info``.

    Total energy in eV, forces in eV/Å, stress in eV/Å³ with ASE's sign, where ASE's calculator holds them. Of several
    files of a data set each is read by itself; `metadata.npz` beside them holds numbers of atoms, and is not needed.
    """
    try:
        importlib.import_module("ase_db_backends.aselmdb")
    except ImportError:
        raise ValueError(f"{path} needs ase-db-backends: pip install 'gfm-ase[lmdb]'") from None
    open_lmdb(path).close()  # the class behind connect() speaks up at its own end, too, where it cannot open a file
    return _rows(connect(path, type="aselmdb", readonly=True, use_lock_file=False))


def omol25(path: Path) -> Iterator[tuple[str, Atoms]]:
    """OMol25's `.aselmdb`: as `ase_lmdb`, with `charge` and `spin` in `data`.

    The spin there is the multiplicity, one more than the unpaired electrons that ``info`` is given.
    """
    for name, atoms in ase_lmdb(path):
        if "spin" in atoms.info:
            atoms.info["spin"] = structure_state(atoms).spin - 1
        yield name, atoms


def open_lmdb(path: Path) -> Any:
    """An lmdb.Environment of one file, to be read."""
    try:
        lmdb = importlib.import_module("lmdb")
    except ImportError:
        raise ValueError(f"{path} needs lmdb: pip install 'gfm-ase[lmdb]'") from None
    return lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_readers=1)


def _rows(database: Any) -> Iterator[tuple[str, Atoms]]:
    for row in database.select():
        atoms = row.toatoms()
        atoms.info.update(row.data)
        atoms.info.update(row.key_value_pairs)
        yield f"id={row.id}", atoms
