"""Real harmonics against SciPy's complex ones, couplings against their symmetry and SymPy's exact symbols."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from sympy import Rational
from sympy.physics.wigner import wigner_3j

from potentials.spherical import clebsch_gordan, degrees, n_components, real_harmonics

L_MAX = 6
ROUNDING = 1e-13
"""Polynomials of degree 6 with coefficients of order 100."""

TRIPLES = [
    (l1, l2, l3)
    for l1, l2 in itertools.product(range(4), repeat=2)
    for l3 in range(abs(l1 - l2), min(l1 + l2, L_MAX) + 1)
]


def directions() -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(40, 3))
    vectors[:2] = [[0, 0, 1], [0, 0, -1]]  # the poles, where angles have none
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]


def harmonics(u_E3: np.ndarray) -> np.ndarray:
    return real_harmonics(torch.from_numpy(u_E3), L_MAX).numpy()


def rotation_of(degree: int, matrix: np.ndarray) -> np.ndarray:
    """How components of one degree turn, by least squares over directions."""
    rows = slice(degree**2, (degree + 1) ** 2)
    u_E3 = directions()
    return np.linalg.lstsq(harmonics(u_E3)[:, rows], harmonics(u_E3 @ matrix.T)[:, rows], rcond=None)[0].T


def test_harmonics_are_scipys() -> None:
    u_E3 = directions()
    polar, azimuth = np.arccos(u_E3[:, 2]), np.arctan2(u_E3[:, 1], u_E3[:, 0])
    found = harmonics(u_E3)
    for degree in range(L_MAX + 1):
        for m in range(-degree, degree + 1):
            wave = sph_harm_y(degree, abs(m), polar, azimuth) * np.sqrt(4 * np.pi)
            real = wave.real if m == 0 else np.sqrt(2) * (-1) ** m * (wave.real if m > 0 else wave.imag)
            assert np.abs(found[:, degree**2 + degree + m] - real).max() < ROUNDING


def test_norm_and_order() -> None:
    found = harmonics(directions())
    assert found.shape[1] == n_components(L_MAX) == len(degrees(L_MAX))
    for degree in range(L_MAX + 1):
        squares = (found[:, np.array(degrees(L_MAX)) == degree] ** 2).sum(1)
        assert np.abs(squares - (2 * degree + 1)).max() < ROUNDING * 10
    assert np.allclose(found[:, 1:4], np.sqrt(3) * directions()[:, [1, 2, 0]], atol=1e-14)


def test_second_derivatives() -> None:
    u_E3 = torch.from_numpy(directions()[2:6]).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda u: real_harmonics(u, 3), u_E3)


@pytest.mark.parametrize("triple", TRIPLES)
def test_couplings_turn_with_space(triple: tuple[int, int, int]) -> None:
    coupling = clebsch_gordan(*triple)
    matrix, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    matrix *= np.linalg.det(matrix)
    turned = np.einsum("abc,ai,bj,ck->ijk", coupling, *(rotation_of(degree, matrix) for degree in triple))
    assert np.abs(turned - coupling).max() < ROUNDING
    assert abs((coupling**2).sum() - 1) < ROUNDING
    if sum(triple) % 2 == 0:
        waves = [harmonics(directions())[:, degree**2 : (degree + 1) ** 2] for degree in triple]
        exact = abs(float(wigner_3j(*triple, 0, 0, 0))) * np.sqrt(np.prod([2 * degree + 1 for degree in triple]))
        sums = np.einsum("abc,na,nb,nc->n", coupling, *waves)
        assert np.abs(sums - exact).max() < ROUNDING * 10  # SymPy's symbol


def test_component_of_m_zero_is_the_3j_symbol() -> None:
    for triple in TRIPLES:
        if sum(triple) % 2 == 0:
            l1, l2, l3 = triple
            exact = abs(float(wigner_3j(Rational(l1), Rational(l2), Rational(l3), 0, 0, 0)))
            assert abs(clebsch_gordan(*triple)[l1, l2, l3] - exact) < ROUNDING


def test_no_coupling_outside_the_triangle() -> None:
    assert not clebsch_gordan(1, 1, 3).any()
    assert not clebsch_gordan(0, 2, 1).any()
