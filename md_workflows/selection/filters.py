"""Which structures are not worth a label: broken ones, and those outside of the bounds of uncertainty."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from md_workflows.selection.describing import Described


def closest_ratio(atoms: Atoms, up_to: float) -> float:
    """The smallest distance of two atoms over the sum of their covalent radii; infinite where none is below `up_to`."""
    from potentials.neighbours import neighbour_list

    radii = covalent_radii[atoms.numbers]
    pairs = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, up_to * 2 * float(radii.max()))
    if not len(pairs.centre):
        return math.inf
    vectors = atoms.positions[pairs.neighbour] - atoms.positions[pairs.centre] + pairs.shift @ atoms.cell.array
    ratios = np.linalg.norm(vectors, axis=1) / (radii[pairs.neighbour] + radii[pairs.centre])
    smallest = float(ratios.min())
    return smallest if smallest < up_to else math.inf


def reason_against(
    atoms: Atoms, described: Described, bounds: tuple[float | None, float | None], closest: float, *, needed: bool
) -> str:
    """Why a structure is left out, in few words that are counted; nothing where it is a candidate.

    bounds: of the uncertainty, eV/Å · closest: as `closest_ratio` · needed: whether the uncertainty has to be known.
    """
    if described.vector is None:
        return "cannot be described"
    if closest and closest_ratio(atoms, closest) < closest:
        return "atoms too close"
    lower, upper = bounds
    if math.isnan(described.uncertainty):
        return "uncertainty unknown" if needed or lower is not None or upper is not None else ""
    if not math.isfinite(described.uncertainty):
        return "uncertainty not finite"
    if lower is not None and described.uncertainty < lower:
        return "uncertainty too low"
    return "uncertainty too high" if upper is not None and described.uncertainty > upper else ""
