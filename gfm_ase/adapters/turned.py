"""Cells as programs want them whose first vector is along x and whose second is in the xy plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[Any]


def lower_triangular(atoms: Atoms) -> tuple[Array, Array]:
    """The cell [3, 3] with zeros above a positive diagonal, and Q [3, 3] with ``cell @ Q`` the cell of the atoms.

    Vectors of the atoms are ``v`` there and ``v @ Q.T`` here. Q turns; where the cell is left-handed it inverts too,
    which changes no energy.
    """
    form, rotation = atoms.cell.standard_form()
    sign = np.sign(form.array[0, 0])  # the diagonal is all positive, or all negative
    return sign * np.array(form.array), sign * np.array(rotation)
