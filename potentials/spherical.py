"""Real spherical harmonics of directions, and the Clebsch-Gordan coefficients that couple them.

Order of components: l = 0, 1, 2, ..., and m = -l ... l in each, the polar axis is z; so l = 1 is (y, z, x). They are
polynomials of the direction, so nothing has a pole, and have the norm Σ_m Y_lm² = 2l + 1 on the unit sphere. All have
the parity of their l: inversion of space multiplies Y_lm by (-1)^l.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Exponents = tuple[int, int, int]


def n_components(l_max: int) -> int:
    """Components of all harmonics up to l_max."""
    return (l_max + 1) ** 2


def degrees(l_max: int) -> list[int]:
    """The l of each component."""
    return [degree for degree in range(l_max + 1) for _ in range(2 * degree + 1)]


def real_harmonics(direction_E3: Tensor, l_max: int) -> Tensor:
    """[E, 3] unit vectors to [E, (l_max + 1)²] real harmonics, differentiable to any order.

    Off the unit sphere they are continued as homogeneous polynomials.
    """
    exponents, matrix = _polynomials(l_max)
    powers = [torch.ones_like(direction_E3), direction_E3]
    for _ in range(l_max - 1):
        powers.append(powers[-1] * direction_E3)
    columns = [_monomial(powers, exponent) for exponent in exponents]
    coefficients = torch.tensor(matrix, dtype=direction_E3.dtype, device=direction_E3.device)
    harmonics_EM: Tensor = torch.stack(columns, dim=1) @ coefficients
    return harmonics_EM


def _monomial(powers: list[Tensor], exponent: Exponents) -> Tensor:
    product = powers[exponent[0]][:, 0]
    for axis in (1, 2):
        if exponent[axis]:
            product = product * powers[exponent[axis]][:, axis]
    return product


@cache
def _polynomials(l_max: int) -> tuple[list[Exponents], Floats]:
    """Exponents of x, y, z of all monomials up to degree l_max, and [monomials, components] coefficients."""
    exponents = [(i, j, n - i - j) for n in range(l_max + 1) for i in range(n, -1, -1) for j in range(n - i, -1, -1)]
    place = {exponent: row for row, exponent in enumerate(exponents)}
    matrix = np.zeros((len(exponents), n_components(l_max)))
    for degree in range(l_max + 1):
        for m in range(-degree, degree + 1):
            for exponent, value in _harmonic(degree, m).items():
                matrix[place[exponent], degree * degree + degree + m] = value
    return exponents, matrix


def _harmonic(degree: int, m: int) -> dict[Exponents, float]:
    """One homogeneous polynomial of x, y, z (Helgaker, Jørgensen, Olsen, Electronic-Structure Theory, 6.4)."""
    size = abs(m)
    polynomial: dict[Exponents, float] = {}
    scale = math.sqrt((2 * degree + 1) * (2 - (m == 0)) * math.factorial(degree - size) / math.factorial(degree + size))
    for k in range((degree - size) // 2 + 1):
        along = scale * (-1) ** k * 2.0**-degree * math.comb(degree, k) * math.comb(2 * degree - 2 * k, degree)
        along *= math.factorial(degree - 2 * k) / math.factorial(degree - 2 * k - size)
        for i, j, radius in _compositions(k):  # (x² + y² + z²)^k
            for p in range(size + 1):  # real or imaginary part of (x + iy)^|m|
                phase = (size - p) % 4
                if (phase % 2 == 0) != (m >= 0):
                    continue
                sign = 1.0 if phase < 2 else -1.0
                exponent = (p + 2 * i, size - p + 2 * j, degree - 2 * k - size + 2 * radius)
                share = math.factorial(k) / (math.factorial(i) * math.factorial(j) * math.factorial(radius))
                polynomial[exponent] = polynomial.get(exponent, 0.0) + along * sign * math.comb(size, p) * share
    return polynomial


def _compositions(k: int) -> list[Exponents]:
    return [(i, j, k - i - j) for i in range(k + 1) for j in range(k - i + 1)]


@cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> Floats:
    """[2l1+1, 2l2+1, 2l3+1] the invariant coupling of three real representations, of norm 1.

    Σ C_abc x_a y_b transforms as l3 where x and y do as l1 and l2. Zero unless |l1 - l2| ≤ l3 ≤ l1 + l2. The sign
    is that in which Σ C_abc Y_a Y_b Y_c > 0 where l1 + l2 + l3 is even.
    """
    coupling = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1), dtype=np.complex128)
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            if abs(m1 + m2) <= l3:
                coupling[l1 + m1, l2 + m2, l3 - m1 - m2] = _wigner_3j((l1, l2, l3), (m1, m2, -m1 - m2))
    q1, q2, q3 = (_real_from_complex(degree) for degree in (l1, l2, l3))
    real = np.einsum("ai,bj,ck,ijk->abc", q1.conj(), q2.conj(), q3.conj(), coupling)
    turned: Floats = real.real if np.abs(real.real).max() >= np.abs(real.imag).max() else real.imag
    if (l1 + l2 + l3) % 2 == 0 and abs(l1 - l2) <= l3 <= l1 + l2:
        # ∫ Y_a Y_b Y_c is the 3j symbol of m = 0 times this coupling: with its sign, the integrals are positive
        turned = turned * math.copysign(1.0, _wigner_3j((l1, l2, l3), (0, 0, 0)))
    turned[np.abs(turned) < 1e-14] = 0.0
    return turned


def _real_from_complex(degree: int) -> NDArray[np.complex128]:
    """[real m, complex m]: real harmonics of this module in terms of complex ones with Condon and Shortley's phase."""
    matrix = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=np.complex128)
    matrix[degree, degree] = 1.0
    for m in range(1, degree + 1):
        matrix[degree + m, degree + m] = (-1) ** m / math.sqrt(2)
        matrix[degree + m, degree - m] = 1 / math.sqrt(2)
        matrix[degree - m, degree + m] = -1j * (-1) ** m / math.sqrt(2)
        matrix[degree - m, degree - m] = 1j / math.sqrt(2)
    return matrix


def _wigner_3j(ls: tuple[int, int, int], ms: tuple[int, int, int]) -> float:
    """Racah's formula."""
    (j1, j2, j3), (m1, m2, m3) = ls, ms
    if m1 + m2 + m3 or not abs(j1 - j2) <= j3 <= j1 + j2 or any(abs(m) > j for j, m in zip(ls, ms, strict=True)):
        return 0.0
    f = math.factorial
    triangle = f(j1 + j2 - j3) * f(j1 - j2 + j3) * f(-j1 + j2 + j3) / f(j1 + j2 + j3 + 1)
    norm = triangle * math.prod(f(j + m) * f(j - m) for j, m in zip(ls, ms, strict=True))
    total = 0.0
    for t in range(max(0, j2 - j3 - m1, j1 - j3 + m2), min(j1 + j2 - j3, j1 - m1, j2 + m2) + 1):
        below = f(t) * f(j3 - j2 + t + m1) * f(j3 - j1 + t - m2) * f(j1 + j2 - j3 - t) * f(j1 - t - m1) * f(j2 - t + m2)
        total += (-1) ** t / below
    return float((-1) ** (j1 - j2 - m3) * math.sqrt(norm) * total)
