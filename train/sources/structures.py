"""A structure and its labels, as readers hand them on."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator


def labelled(atoms: Atoms, **labels: Any) -> Atoms:
    """The structure with a calculator that holds its labels; those that are NaN altogether are unknown.

    Args:
        atoms: the structure.
        labels: by ASE's names; an array of which all is NaN stands for a calculation that was not made.
    """
    calculator = SinglePointCalculator(atoms)
    for name, value in labels.items():
        if value is None:
            continue
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            calculator.results[name] = value  # is refused where labels are read, or its frame left out
            continue
        if not np.isnan(array).all():
            calculator.results[name] = array if array.ndim else float(array)
    atoms.calc = calculator
    return atoms
