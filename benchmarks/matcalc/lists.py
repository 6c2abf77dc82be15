"""The lists of the MatCalc benchmark, a sample of each, and what becomes of one structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from md_workflows.engine import Engine

FOLDER = "matcalc_benchmark"
ELEMENTS = "element_refs_mp_pbe"
NAMES = ("material_id", "mp_id", "name")
"""Where a structure has its name."""


@dataclass
class Row:
    """What became of one structure.

    task: name of its list · id: in the list · formula · values: numbers, predicted and of DFT, by name · notes: what is
    odd about it, such as "not relaxed": it still counts, as in the published table · error: why there are no numbers ·
    seconds: of the processor, its share of its chunk.
    """

    task: str
    id: str
    formula: str
    values: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


Measure = Callable[[Sequence[Atoms], Engine], list[Row]]
"""Rows of structures of one list, in their order."""


@dataclass(frozen=True)
class Task:
    """One list and how it is measured: structures go in chunks, of which rows are kept when they are done."""

    name: str
    structures: Sequence[Atoms]
    measure: Measure
    chunk: int
    listed: int


def read_list(data: Path, name: str) -> list[Atoms]:
    """All structures of one list.

    Raises:
        ValueError: the folder is not there.
    """
    path = data / FOLDER / f"{name}.extxyz.gz"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; --data, or GFM_ASE_DATA, has to name the folder that holds {FOLDER}")
    frames: list[Atoms] = read(path, index=":")
    return frames


def sample(frames: Sequence[Atoms], limit: int | None, seed: int) -> list[Atoms]:
    """The first `limit` of all frames in an order drawn by the seed: a larger sample holds the smaller one."""
    order = np.random.default_rng(seed).permutation(len(frames))
    return [frames[number] for number in order[:limit]]


def bare(atoms: Atoms) -> Atoms:
    """The structure without calculator and reference values."""
    return Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)


def name_of(atoms: Atoms) -> str:
    """Its name in the list; the symbol for an element, whose `info` ASE reads as False where it is F."""
    if "element" in atoms.info:
        return str(atoms.symbols[0])
    return next(str(atoms.info[key]) for key in NAMES if key in atoms.info)
