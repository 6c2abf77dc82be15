"""Spherical Bessel functions against scipy's."""

import numpy as np
import pytest
import torch
from scipy.special import spherical_jn

from potentials.radial import polynomial_envelope
from potentials.spherical_bessel import (
    SphericalBesselBasis,
    chebyshev_polynomials,
    chebyshev_table,
    spherical_bessel,
    spherical_bessel_zeros,
)


@pytest.mark.parametrize("degree", range(8))
def test_functions_and_zeros(degree: int) -> None:
    x = np.concatenate([[0.0, 1e-8, 1e-3], np.linspace(0.1, 60, 200)])
    np.testing.assert_allclose(spherical_bessel(degree, x), spherical_jn(degree, x), rtol=0, atol=1e-14)
    zeros = spherical_bessel_zeros(degree, 8)
    assert len(zeros) == 8
    np.testing.assert_allclose(spherical_jn(degree, zeros), 0.0, atol=1e-14)
    # none was left out: the function keeps its sign between one and the next, and before the first
    between = [np.linspace(low + 1e-6, high - 1e-6, 100) for low, high in zip([0.01, *zeros], zeros, strict=False)]
    assert all(len(set(np.sign(spherical_jn(degree, points)))) == 1 for points in between)


def test_the_table_is_exact_and_normalised() -> None:
    s, weights = np.polynomial.legendre.leggauss(60)
    s, weights = (s + 1) / 2, weights / 2
    table = chebyshev_table(7, 6)
    values = np.polynomial.chebyshev.chebval(2 * s - 1, table)
    for degree in range(7):
        zeros = spherical_bessel_zeros(degree, 6)
        of_degree = values[6 * degree : 6 * degree + 6]
        scale = np.sqrt(2) / np.abs(spherical_jn(degree + 1, zeros))
        expected = scale[:, None] * spherical_jn(degree, zeros[:, None] * s)
        np.testing.assert_allclose(of_degree, expected, rtol=0, atol=1e-12)
        overlap = np.einsum("as,bs,s->ab", of_degree, of_degree, weights * s**2)
        np.testing.assert_allclose(overlap, np.eye(6), atol=1e-12)


def test_polynomials_by_doubling() -> None:
    y = torch.linspace(-1, 1, 50, dtype=torch.float64)
    for count in (1, 2, 3, 17, 40):
        found = chebyshev_polynomials(y, count)
        expected = np.polynomial.chebyshev.chebvander(y.numpy(), count - 1)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-11)


def test_float32_is_accurate_where_closed_forms_are_not() -> None:
    """At a twentieth of the cutoff the closed form of j_6 is off by far more than 1 in float32."""
    basis = SphericalBesselBasis(5.0, 7, 6)
    distance = torch.linspace(0.25, 5.0, 200)
    found = basis(distance, polynomial_envelope(distance, 5.0))
    exact_distance = distance.double()
    exact = basis.double()(exact_distance, polynomial_envelope(exact_distance, 5.0))
    assert len(found) == 7
    for one, other in zip(found, exact, strict=True):
        assert one.shape == (200, 6)
        assert float((one - other).abs().max()) < 1e-4 * float(other.abs().max())
