"""Repulsion of atoms that collide, which no training structure teaches: a screened Coulomb potential of pairs."""

from __future__ import annotations

import torch
from ase.data import covalent_radii
from ase.units import Bohr, Hartree
from torch import Tensor

from potentials.backbones.base import N_ELEMENTS
from potentials.edges import EdgeGeometry, Edges
from potentials.exact import ExactBuffers

COULOMB = Hartree * Bohr
"""eV Å: e² / 4πε0."""

SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""Factors and exponents of the universal screening function."""

LENGTH = 0.88534 * Bohr
"""Å: the screening length of charges Z and Z' is this over Z^0.23 + Z'^0.23."""


class Repulsion(ExactBuffers):
    """Ziegler, Biersack and Littmark's universal potential, which ends where covalent radii touch.

    V(r) = Z Z' e² / (4πε0 r) φ(r / a) · u(r / R), with R the sum of the covalent radii and u a polynomial that goes
    from 1 to 0 at R with two derivatives, as MACE has it (Batatia et al., arXiv:2401.00096). At the bond lengths of a
    training set little of it is left, and the network learns the difference. There is nothing to learn in it, and it is
    computed in float64. J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (1985).

    Args:
        cutoff: Å, of the potential; R is at most this.
    """

    charge_Z: Tensor
    radius_Z: Tensor

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        radii = torch.from_numpy(covalent_radii[:N_ELEMENTS].copy()).double()
        self.register_buffer("charge_Z", torch.arange(N_ELEMENTS, dtype=torch.float64), persistent=False)
        self.register_buffer("radius_Z", radii, persistent=False)

    def forward(self, numbers_N: Tensor, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """[N] eV, float64: half of the repulsion of each pair to either atom."""
        distance_E = geometry.distance.double()
        here_E, there_E = numbers_N[edges.centre], numbers_N[edges.neighbour]
        charges_E = self.charge_Z[here_E], self.charge_Z[there_E]
        end_E = (self.radius_Z[here_E] + self.radius_Z[there_E]).clamp(max=self.cutoff)
        scaled_E = distance_E * (charges_E[0] ** 0.23 + charges_E[1] ** 0.23) / LENGTH
        screened_E = sum(
            (factor * torch.exp(-rate * scaled_E) for factor, rate in SCREENING), torch.zeros_like(scaled_E)
        )
        pair_E = COULOMB * charges_E[0] * charges_E[1] / distance_E * screened_E * _fading(distance_E / end_E)
        return edges.sum_to_centre(0.5 * pair_E)


def _fading(part_E: Tensor) -> Tensor:
    """1 at 0 and 0 from 1 on, with two continuous derivatives: the polynomial of DimeNet with p = 6."""
    inside_E = part_E.clamp(max=1.0)
    return 1 - 28 * inside_E**6 + 48 * inside_E**7 - 21 * inside_E**8
