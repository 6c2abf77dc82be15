"""What tells one geometry from another."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

DECIMALS = 5
"""Positions and cells that agree to 1e-5 Å are one geometry written twice."""


def geometry_digest(
    numbers: NDArray[np.integer],
    places: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    state: tuple[float, float],
) -> bytes:
    """32 bytes, the same for structures with the same atoms in the same places, cell, periodicity, charge and spin.

    Args:
        numbers: [N] atomic numbers.
        places: [N, 3] Å.
        cell: [3, 3] Å.
        pbc: [3].
        state: charge and spin.
    """
    digest = hashlib.sha256(numbers.astype(np.int64).tobytes() + pbc.astype(bool).tobytes())
    for value in (places, cell, np.array(state)):
        digest.update((np.round(value, DECIMALS) + 0.0).tobytes())  # + 0.0: no negative zero
    return digest.digest()
