"""Envelope and bases against their formulas."""

import math

import numpy as np
import pytest
import torch

from potentials.radial import BesselBasis, GaussianBasis, polynomial_envelope

CUTOFF = 4.3


def derivatives(distance: torch.Tensor, order: int) -> list[torch.Tensor]:
    """The envelope and its derivatives."""
    results = [polynomial_envelope(distance, CUTOFF)]
    for _ in range(order):
        results.append(torch.autograd.grad(results[-1].sum(), distance, create_graph=True)[0])
    return [result.detach() for result in results]


def test_envelope_and_two_derivatives_are_zero_at_the_cutoff() -> None:
    """Just inside, u = 1 - (56/3!) t³ ... in t = 1 - r/c: third order with coefficient p (p + 1) (p + 2) / 6 = 56."""
    t = 1e-4
    inside = torch.tensor([CUTOFF * (1 - t)], dtype=torch.float64, requires_grad=True)
    value, first, second = (float(d) for d in derivatives(inside, 2))
    leading = 56.0
    assert value == pytest.approx(leading * t**3, rel=1e-2, abs=1e-14)
    assert first == pytest.approx(-3 * leading * t**2 / CUTOFF, rel=1e-2)
    assert second == pytest.approx(6 * leading * t / CUTOFF**2, rel=1e-2)


def test_envelope_is_exactly_zero_from_the_cutoff_on() -> None:
    outside = torch.tensor([CUTOFF, CUTOFF + 1e-12, 2 * CUTOFF, 1e6], dtype=torch.float64, requires_grad=True)
    for derivative in derivatives(outside, 3):
        assert torch.equal(derivative, torch.zeros(4, dtype=torch.float64))


def test_envelope_is_one_at_zero_and_falls() -> None:
    distance = torch.linspace(0, CUTOFF, 200, dtype=torch.float64, requires_grad=True)
    value, first = derivatives(distance, 1)
    assert value[0] == 1
    assert bool((first <= 1e-12).all())
    assert bool((value >= -1e-12).all())


@pytest.mark.parametrize("order", [4, 6, 9])
def test_envelope_is_the_papers_polynomial(order: int) -> None:
    """Gasteiger et al. 2020, eq. 8, as it is printed."""
    p, x = order, np.linspace(0, 0.999, 50)
    wanted = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    got = polynomial_envelope(torch.from_numpy(x * CUTOFF), CUTOFF, order)
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-12)


def test_bessel_basis_is_the_papers_formula() -> None:
    r, size = np.linspace(0.3, 4.2, 40), 7
    n = np.arange(1, size + 1)
    wanted = math.sqrt(2 / CUTOFF) * np.sin(n * math.pi * r[:, None] / CUTOFF) / r[:, None]
    got = BesselBasis(CUTOFF, size).double()(torch.from_numpy(r), torch.ones(40, dtype=torch.float64))
    # frequencies are held in float32: a phase of n π r / c is off by as much
    np.testing.assert_allclose(got.numpy(), wanted, atol=float(n.max() * math.pi * 6e-8 / r.min()))


def test_bessel_functions_are_orthonormal_in_the_sphere() -> None:
    """∫ φ_m φ_n r² dr = δ_mn: independent of the formula's way of writing."""
    r = torch.linspace(1e-6, CUTOFF, 4001, dtype=torch.float64)
    basis = BesselBasis(CUTOFF, 5).double()(r, torch.ones_like(r)) * r[:, None]
    overlap = torch.trapezoid(basis[:, :, None] * basis[:, None, :], r, dim=0)
    torch.testing.assert_close(overlap, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-5)


def test_gaussian_basis() -> None:
    basis = GaussianBasis(CUTOFF, 5).double()
    centres = torch.linspace(0, CUTOFF, 5, dtype=torch.float64)
    got = basis(centres, torch.ones(5, dtype=torch.float64))
    steps = torch.arange(5, dtype=torch.float64)
    wanted = torch.exp(-0.5 * (steps[:, None] - steps) ** 2)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("basis", [BesselBasis(CUTOFF, 6), GaussianBasis(CUTOFF, 6)])
def test_bases_carry_the_envelope_and_have_no_state(basis: BesselBasis | GaussianBasis) -> None:
    distance = torch.linspace(0.5, 6.0, 30)
    envelope = polynomial_envelope(distance, CUTOFF)
    bare = basis(distance, torch.ones_like(distance))
    torch.testing.assert_close(basis(distance, envelope), bare * envelope[:, None])
    assert basis.state_dict() == {}


@pytest.mark.parametrize("make", [BesselBasis, GaussianBasis])
def test_bases_do_not_depend_on_the_sessions_default_dtype(make: type[BesselBasis] | type[GaussianBasis]) -> None:
    single = make(CUTOFF, 6)
    torch.set_default_dtype(torch.float64)
    try:
        double = make(CUTOFF, 6)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(single.buffers(), double.buffers(), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
