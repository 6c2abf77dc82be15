"""Structures with what is known of their uncertainty, from files of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ase.io.formats import string2index

from md_workflows.selection.describing import UNCERTAINTY_NAMES
from md_workflows.structures import Structure, Unreadable, one_line, read_structures


def read_candidates(paths: Sequence[Path], index: str = ":") -> Iterator[tuple[str, Structure]]:
    """As `read_structures`; of a database, the table of a screening say, with the uncertainty that its rows tell."""
    read_structures(paths, index)  # what is wrong with them is said before anything is read
    return (item for path in paths for item in (_rows(path, index) if path.suffix == ".db" else _frames(path, index)))


def _frames(path: Path, index: str) -> Iterator[tuple[str, Structure]]:
    return read_structures([path], index)


def _rows(path: Path, index: str) -> Iterator[tuple[str, Structure]]:
    from ase.db import connect

    wanted = string2index(index)
    try:
        with connect(path) as table:
            numbers = range(table.count())[wanted]
            for number, row in enumerate(table.select()):
                if number in (numbers if isinstance(numbers, range) else (numbers,)):
                    atoms = row.toatoms()
                    told = row.key_value_pairs
                    atoms.info |= {name: told[name] for name in UNCERTAINTY_NAMES if name in told}
                    yield f"{path}:{number}", atoms
    except Exception as error:
        yield f"{path}:unreadable", Unreadable(one_line(error))
