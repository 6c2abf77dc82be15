"""Functions of the distance: smooth cutoffs and radial bases."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def polynomial_envelope(distance_E: Tensor, cutoff: float, order: int = 6) -> Tensor:
    """[E] to [E]: 1 at zero distance, 0 at the cutoff with zero first and second derivative, 0 beyond.

    Gasteiger et al., Directional Message Passing for Molecular Graphs, ICLR 2020, eq. 8 (their p is `order`).
    """
    x = distance_E / cutoff
    p = float(order)
    power = x**order
    value = 1 - power * ((p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2)))
    return torch.where(x < 1, value, torch.zeros_like(value))


class BesselBasis(nn.Module):
    """Spherical Bessel functions times the envelope: sqrt(2/c) sin(nπr/c) / r (Gasteiger et al., ICLR 2020, eq. 7).

    Args:
        cutoff: Å.
        size: number of functions.
    """

    frequency_B: Tensor

    def __init__(self, cutoff: float, size: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        # float32 whatever the default: a potential must not depend on the session that builds it
        frequency = torch.arange(1, size + 1, dtype=torch.float64) * math.pi / cutoff
        self.register_buffer("frequency_B", frequency.float(), persistent=False)

    def forward(self, distance_E: Tensor, envelope_E: Tensor) -> Tensor:
        """[E] distances in Å and their envelope to [E, B]."""
        scale = (2.0 / self.cutoff) ** 0.5 * envelope_E / distance_E
        basis_EB: Tensor = torch.sin(distance_E[:, None] * self.frequency_B) * scale[:, None]
        return basis_EB


class GaussianBasis(nn.Module):
    """Gaussians on evenly spaced centres times the envelope (Schütt et al., J. Chem. Phys. 148, 241722, 2018).

    Args:
        cutoff: Å.
        size: number of functions; their width is their spacing.
    """

    centre_B: Tensor

    def __init__(self, cutoff: float, size: int) -> None:
        super().__init__()
        self.width = cutoff / (size - 1)
        self.register_buffer("centre_B", torch.linspace(0, cutoff, size, dtype=torch.float32), persistent=False)

    def forward(self, distance_E: Tensor, envelope_E: Tensor) -> Tensor:
        """[E] distances in Å and their envelope to [E, B]."""
        scaled = (distance_E[:, None] - self.centre_B) / self.width
        basis_EB: Tensor = torch.exp(-0.5 * scaled**2) * envelope_E[:, None]
        return basis_EB
