"""The one table of physical quantities that heads, losses, checkpoint and calculator read.

Units are ASE's throughout (eV, Å, eV/Å, eV/Å³); stress has ASE's sign (positive: tensile, dE/dε / V). Inside the
package it is the full symmetric 3×3 matrix; the calculator hands out the Voigt vector xx, yy, zz, yz, xz, xy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Level = Literal["graph", "atom", "edge"]


@dataclass(frozen=True)
class Quantity:
    """One row of the table.

    Attributes:
        name: the field's standard name, as ASE has it where ASE has one.
        level: one value per graph (structure) or per atom.
        shape: shape of one value; ``()`` is a scalar.
        unit: unit of the value.
        extensive: whether the value of two copies side by side is twice that of one.
        derived_from: quantity and variable it is the derivative of, or the quantity it is a part of.
        label: the label that it is trained on, where that is another quantity's.
    """

    name: str
    level: Level
    shape: tuple[int, ...]
    unit: str
    extensive: bool
    derived_from: str | None = None
    label: str | None = None

    @property
    def trained_on(self) -> str:
        """Name of the label that it is compared with."""
        return self.label or self.name

    @property
    def components(self) -> int:
        """Numbers in one value."""
        return math.prod(self.shape)


QUANTITIES: dict[str, Quantity] = {
    "energy": Quantity("energy", "graph", (), "eV", extensive=True),
    "energies": Quantity("energies", "atom", (), "eV", extensive=False, derived_from="energy, a part per atom"),
    "forces": Quantity("forces", "atom", (3,), "eV/Å", extensive=False, derived_from="-d energy / d positions"),
    "stress": Quantity(
        "stress", "graph", (3, 3), "eV/Å³", extensive=False, derived_from="d energy / d strain / volume"
    ),
}
"""What every potential gives."""

OUTPUTS: dict[str, Quantity] = {
    "charges": Quantity("charges", "atom", (), "e", extensive=False),
    "dipole": Quantity("dipole", "graph", (3,), "e·Å", extensive=True),
    "magmoms": Quantity("magmoms", "atom", (), "μB", extensive=False),
    "direct_forces": Quantity("direct_forces", "atom", (3,), "eV/Å", extensive=False, label="forces"),
}
"""What a potential gives where it has an output of that name; see `potentials.outputs` for how."""

UNCERTAINTIES: dict[str, Quantity] = {
    "uncertainty": Quantity("uncertainty", "graph", (), "eV/Å", extensive=False),
    "energy_uncertainty": Quantity("energy_uncertainty", "graph", (), "eV", extensive=True),
    "stress_uncertainty": Quantity("stress_uncertainty", "graph", (), "eV/Å³", extensive=False),
    "forces_uncertainty": Quantity("forces_uncertainty", "atom", (), "eV/Å", extensive=False),
}
"""What a potential gives that knows its uncertainty: of the energy of a structure, of a force component of an atom, the
largest of the latter in a structure; ensembles that of a stress component too. NaN where a head knows none, infinite
where an element was never seen."""

TRAINABLE: tuple[str, ...] = ("energy", "forces", "stress")
"""Quantities of `QUANTITIES` that a data set can label."""

VOIGT: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Row and column of each of the six Voigt components, in ASE's order."""
