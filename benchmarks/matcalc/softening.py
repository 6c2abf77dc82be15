"""Force softening: the slope of predicted over DFT forces, through the origin, off equilibrium."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from benchmarks.matcalc.lists import Row, bare, name_of
from md_workflows.engine import Engine, evaluate_many

SETS = ("mptrj_1k", "mpf_tp")
"""Folders whose test files are used: PBE(+U) as the Materials Project has it."""

LEAST_FORCE = 0.1
"""eV/Å; frames whose largest DFT force is smaller are at equilibrium, and left out."""


def frames(data: Path) -> list[Atoms]:
    """Frames off equilibrium of the test files, with DFT forces; `info["name"]` tells which is which."""
    chosen = []
    for name in SETS:
        path = data / name / "test.extxyz.gz"
        if not path.is_file():
            raise ValueError(f"{path}: no such file; --data, or GFM_ASE_DATA, has to name the folder that holds {name}")
        for number, atoms in enumerate(read(path, index=":")):
            atoms.info["name"] = f"{name}/{number}"
            if np.linalg.norm(atoms.get_forces(), axis=1).max() > LEAST_FORCE:
                chosen.append(atoms)
    return chosen


def rows(structures: Sequence[Atoms], engine: Engine) -> list[Row]:
    """Of each frame the sums that slopes are made of: f·F and F·F over all components, F of DFT (eV²/Å²)."""
    made = [Row("softening", name_of(atoms), str(atoms.symbols)) for atoms in structures]
    for outcome in evaluate_many(engine, [bare(atoms) for atoms in structures]):
        row, result = made[outcome.index], outcome.result
        if result is None or not np.isfinite(result.energy):
            row.error = outcome.error or "energy or forces are not finite numbers"
            continue
        dft_N3 = structures[outcome.index].get_forces()
        own_N3 = result.atoms.get_forces(apply_constraint=False)
        row.values = {"fF": float((own_N3 * dft_N3).sum()), "FF": float((dft_N3**2).sum())}
    return made


def slope(fF: Sequence[float], FF: Sequence[float]) -> tuple[float, float]:
    """The slope over all frames, and its standard error by leaving out one frame at a time."""
    own, dft = np.asarray(fF, dtype=float), np.asarray(FF, dtype=float)
    whole = float(own.sum() / dft.sum())
    if len(own) < 2:
        return whole, float("nan")
    without = (own.sum() - own) / (dft.sum() - dft)
    return whole, float(np.sqrt((len(own) - 1) / len(own) * ((without - without.mean()) ** 2).sum()))
