"""Spherical Bessel functions that are zero at the cutoff, as polynomials: exact, and stable down to zero distance.

The closed forms of j_l divide by powers of the distance and lose all digits of float32 near zero. On an interval j_l is
a polynomial to rounding; its Chebyshev coefficients are found once, in float64, and all functions are then one product.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.polynomial import chebyshev, legendre
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]


def spherical_bessel(degree: int, x: Floats) -> Floats:
    """j_l at any shape of x ≥ 0, with errors below 1e-14: Gauss quadrature of ½ ∫ exp(ixt) P_l(t) dt / i^l, -1 to 1."""
    nodes, weights = legendre.leggauss(32 + int(np.max(x, initial=0.0)))
    kernel = weights * legendre.legval(nodes, [0.0] * degree + [1.0]) / 2
    wave = np.cos if degree % 2 == 0 else np.sin
    values: Floats = (-1) ** (degree // 2) * (wave(x[..., None] * nodes) @ kernel)
    return values


def spherical_bessel_zeros(degree: int, count: int) -> Floats:
    """The first positive zeros of j_l."""
    grid = np.arange(
        degree + 1.0, (count + degree + 2) * math.pi, 0.25
    )  # zeros are further apart than π, from l + 1.8 on
    values = spherical_bessel(degree, grid)
    change = np.flatnonzero(values[:-1] * values[1:] < 0)[:count]
    low, high, sign = grid[change], grid[change + 1], np.sign(values[change])
    for _ in range(60):
        middle = (low + high) / 2
        before = spherical_bessel(degree, middle) * sign > 0
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    zeros: Floats = (low + high) / 2
    return zeros


def chebyshev_table(n_degrees: int, count: int) -> Floats:
    """[K, n_degrees · count] coefficients in T_k(2s - 1) of sqrt(2) / |j_{l+1}(z_ln)| j_l(z_ln s), 0 ≤ s ≤ 1.

    Each function has the norm ∫ f² s² ds = 1; z_ln is the nth zero of j_l.
    """
    zeros = [spherical_bessel_zeros(degree, count) for degree in range(n_degrees)]
    scales = [math.sqrt(2) / np.abs(spherical_bessel(degree + 1, zeros[degree])) for degree in range(n_degrees)]

    def functions(y: Floats) -> Floats:
        s = (y + 1) / 2
        return np.concatenate(
            [spherical_bessel(n, s[:, None] * zeros[n]) * scales[n] for n in range(n_degrees)], axis=1
        )

    # a wave of z / 2 radians on [-1, 1] needs z / 2 functions, and some 25 more until rounding
    degree = int(zeros[-1][-1] / 2) + 25
    points = chebyshev.chebpts1(degree + 1)
    coefficients = chebyshev.chebvander(points, degree).T @ functions(points) * (2 / (degree + 1))
    coefficients[0] /= 2
    return coefficients


def chebyshev_polynomials(y_E: Tensor, count: int) -> Tensor:
    """[E] to [E, count]: T_0 ... T_(count-1), by doubling: T_(n+j) = 2 T_n T_j - T_(n-j)."""
    block = torch.stack([torch.ones_like(y_E), y_E], dim=1)
    while block.shape[1] < count:
        further = 2 * block[:, -1:] * block[:, 1:] - block[:, :-1].flip(1)
        block = torch.cat([block, further], dim=1)
    return block[:, :count]


class SphericalBesselBasis(nn.Module):
    """Spherical Bessel functions times the envelope (Gasteiger et al., ICLR 2020, eq. 6, without its sqrt(1/c³)).

    Args:
        cutoff: Å.
        n_degrees: how many degrees l, from 0.
        size: number of functions of each degree.
    """

    coefficients: Tensor

    def __init__(self, cutoff: float, n_degrees: int, size: int) -> None:
        super().__init__()
        self.cutoff, self.size = cutoff, size
        # float32 whatever the default: a potential must not depend on the session that builds it
        table = torch.tensor(chebyshev_table(n_degrees, size), dtype=torch.float32)
        self.register_buffer("coefficients", table, persistent=False)

    def forward(self, distance_E: Tensor, envelope_E: Tensor) -> tuple[Tensor, ...]:
        """[E] distances in Å and their envelope to [E, size] for each degree."""
        powers_EK = chebyshev_polynomials(2 / self.cutoff * distance_E - 1, self.coefficients.shape[0])
        return torch.split(powers_EK @ self.coefficients * envelope_E[:, None], self.size, dim=1)
