"""Atoms with the calculator that drives them: a working copy, checked once."""

from typing import Any

import numpy as np
from ase import Atoms

from md_workflows.uncertainty import drop_uncertainties


def with_calculator(atoms: Atoms, calculator: Any = None) -> Atoms:
    """A copy of `atoms` driven by `calculator`, or by the one attached to them when None is given.

    Raises:
        ValueError: no calculator, or as `check_usable`.
    """
    driver = atoms.calc if calculator is None else calculator
    if driver is None:
        raise ValueError("the atoms have no calculator; set atoms.calc or pass calculator=.")
    check_usable(atoms)
    work = atoms.copy()
    drop_uncertainties(work)
    work.calc = driver
    return work


def check_usable(atoms: Atoms) -> None:
    """Raise ValueError for no atoms, positions or a cell that are not finite, or a zero vector that repeats."""
    if len(atoms) == 0:
        raise ValueError("the structure has no atoms; give one with at least one atom.")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise ValueError("the structure has positions or a cell that are not finite numbers; repair it first.")
    if (atoms.pbc & (np.linalg.norm(atoms.cell.array, axis=1) == 0)).any():
        raise ValueError("the structure is periodic along a zero cell vector; give it a cell or set pbc to False.")


def forget(calculator: Any) -> None:
    """Let a calculator drop its cached results and, where its `reset` does so, its neighbour lists."""
    if hasattr(calculator, "reset"):
        calculator.reset()
