"""How much of a spherical shell lies within a structure: what pair distances are normalised by."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 48  # of the quadrature; 1e-4 of the area in the worst case, two open directions of like extent
FLATTEST = 1e-4  # Å: a layer of no height is taken as one of this


@cache
def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    return nodes, weights


def shell_area(radii: Floats, extents: Floats) -> Floats:
    """Mean area of the part of a sphere that lies in a box, when its centre is anywhere in the box.

    For atoms spread evenly in the box, area times density is the number of neighbours per length at that distance: 4πr²
    in a crystal, 2πr times the height in a thin layer, and so on for wires and clusters.

    Args:
        radii: [R] Å.
        extents: [3] lengths of the box, Å; infinite along directions that repeat.

    Returns:
        [R] Å².
    """
    if np.isinf(extents).all():
        whole: Floats = 4 * np.pi * radii**2
        return whole
    # x runs along the first extent, φ around it: an area of r dx dφ, of which the box holds on average
    # (1 - x/H1)(1 - s sin φ/H2)(1 - s cos φ/H3), s² = r² - x², where all three are positive; φ is integrated by hand
    h_1, h_2, h_3 = np.sort(np.maximum(extents, FLATTEST))
    nodes, weights = _quadrature()
    top = np.minimum(radii, h_1)[:, None]
    x = top * (nodes + 1) / 2
    s = np.sqrt(np.maximum(radii[:, None] ** 2 - x**2, 0.0))
    with np.errstate(divide="ignore"):
        last = np.arcsin(np.minimum(1.0, np.where(s > 0, h_2 / s, 1.0)))
        first = np.arccos(np.minimum(1.0, np.where(s > 0, h_3 / s, 1.0)))
    last = np.maximum(first, last)

    def integral(phi: Floats) -> Floats:
        part: Floats = phi + s * np.cos(phi) / h_2 - s * np.sin(phi) / h_3 + (s * np.sin(phi)) ** 2 / (2 * h_2 * h_3)
        return part

    inner = (integral(last) - integral(first)) * (1 - x / h_1)
    area: Floats = 8 * radii * (inner @ weights) * top[:, 0] / 2
    return area


def occupied_box(positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> tuple[Floats, float]:
    """The extents [3] for `shell_area` and the volume (Å³) of the box that the atoms [N,3] fill.

    Along open directions the box ends where an even gas of N atoms, of which the outermost are known, ends on average:
    their distance times (N+1)/(N-1).
    """
    periodic = cell[pbc]
    n_atoms = len(positions)
    stretch = (n_atoms + 1) / (n_atoms - 1) if n_atoms > 1 else 1.0
    axes = np.linalg.svd(periodic)[2][len(periodic) :] if len(periodic) else np.eye(3)
    along = positions @ axes.T
    turned = along @ np.linalg.eigh(np.cov(along.T))[1] if n_atoms > 1 and len(axes) > 1 else along
    both = [np.maximum(stretch * np.ptp(one, axis=0), FLATTEST) for one in (along, turned)]
    heights = min(both, key=lambda one: float(np.prod(one)))  # atoms may lie along other axes than the cell's
    base = np.sqrt(abs(np.linalg.det(periodic @ periodic.T))) if len(periodic) else 1.0
    extents = np.concatenate([heights, np.full(len(periodic), np.inf)])
    return extents, float(base * np.prod(heights))
