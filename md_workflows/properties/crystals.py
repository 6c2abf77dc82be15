"""What properties of crystals have in common: that they are crystals, how they are strained and repeated."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from ase import Atoms
from numpy.typing import NDArray


def crystal(atoms: Atoms) -> Atoms:
    """A copy without constraints and calculator.

    Raises:
        ValueError: it does not repeat in all three directions, or has no volume.
    """
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(f"this property is of crystals, periodic in three directions; pbc is {atoms.pbc.tolist()}.")
    copy = atoms.copy()
    copy.set_constraint()
    return copy


def neutral_crystal(atoms: Atoms) -> Atoms:
    """A crystal that may be repeated or lose an atom.

    Raises:
        ValueError: not a crystal, or with a charge or unpaired electrons, of which supercells would not know theirs.
    """
    check_neutral(atoms)
    return crystal(atoms)


def check_neutral(atoms: Atoms) -> None:
    """Raise ValueError for a structure with a charge or unpaired electrons, which is to be repeated or changed."""
    for state in ("charge", "spin"):
        if atoms.info.get(state):
            raise ValueError(
                f"the structure has {state} {atoms.info[state]}, and supercells of it would not know theirs; "
                f"take it out of atoms.info."
            )


@contextmanager
def quiet_spglib() -> Iterator[None]:
    """Without spglib's advice to set a global switch, the user's, which phonopy sets at its import."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING", DeprecationWarning)
        yield


def deformed(atoms: Atoms, deformation_33: NDArray[np.float64]) -> Atoms:
    """A copy with cell and atoms deformed: rows of the cell and positions are multiplied by `deformation_33` [3,3]."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ deformation_33, scale_atoms=True)
    return copy


def repeats(atoms: Atoms, length_A: float) -> tuple[int, int, int]:
    """How often each cell vector is repeated so that periodic images are at least `length_A` apart."""
    heights = atoms.cell.volume / np.array(
        [np.linalg.norm(np.cross(atoms.cell[(i + 1) % 3], atoms.cell[(i + 2) % 3])) for i in range(3)]
    )
    a, b, c = (max(1, math.ceil(length_A / height - 1e-6)) for height in heights)
    return a, b, c
