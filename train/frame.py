"""`Frame`: a structure with its labels, in eV and Å, before it is a graph."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """A structure as it was read.

    Attributes:
        atoms: the structure.
        source: `file:index`.
        energy: eV, total; None where it is unknown, as for the others.
        forces: [N, 3] eV/Å.
        stress: [3, 3] eV/Å³, ASE's sign.
        outputs: labels of outputs by name, those that are known, see `train.reading_outputs`.
    """

    atoms: Atoms
    source: str
    energy: float | None
    forces: Floats | None
    stress: Floats | None
    outputs: dict[str, Floats] = field(default_factory=dict)
