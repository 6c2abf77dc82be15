"""DimeNet++ in linear form against loops over triplets with scipy's Bessel functions and Legendre polynomials."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import eval_legendre, spherical_jn
from torch import Tensor

from potentials.backbones.base import AtomInputs
from potentials.backbones.dimenet import (
    DimeNet,
    DimeNetConfig,
    DimeNetInteraction,
    directional_sum,
    harmonics_by_degree,
)
from potentials.derivatives import TensorInputs, prepare
from potentials.edges import EdgeGeometry
from potentials.radial import polynomial_envelope
from potentials.spherical_bessel import SphericalBesselBasis, chebyshev_table
from potentials.structures import graph_from_atoms

CUTOFF = 3.6
Floats = NDArray[np.float64]


def crystal() -> Atoms:
    """Cells shorter than the cutoff: atoms are their own neighbours, and go back to their images."""
    atoms = bulk("Cu", a=3.0, cubic=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def line() -> Atoms:
    return Atoms("Cu4", positions=[[0, 0, 0], [0, 0, 1.8], [0, 0, 3.4], [1.1, 0, 3.4]])


def bessel_zeros(count: int, n_degrees: int) -> list[list[float]]:
    """By bisection between the zeros of the degree below."""
    zeros = [[np.pi * n for n in range(1, count + n_degrees + 1)]]
    for degree in range(1, n_degrees):
        between = itertools.pairwise(zeros[-1])
        zeros.append([brentq(lambda x, n=degree: spherical_jn(n, x), a, b, xtol=1e-14) for a, b in between])
    return [row[:count] for row in zeros]


def radial_functions(distance: Floats, n_degrees: int, count: int) -> Floats:
    """[E, l, n] of the paper: envelope times normalised Bessel function."""
    x = distance / CUTOFF
    envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    functions = [
        [np.sqrt(2) / abs(spherical_jn(degree + 1, z)) * spherical_jn(degree, z * x) * envelope for z in zeros]
        for degree, zeros in enumerate(bessel_zeros(count, n_degrees))
    ]
    return np.array(functions).transpose(2, 0, 1)


def over_triplets(inputs: TensorInputs, weights: Floats, sent: Floats) -> Floats:
    """[E, C] for weights [l, n, C] and messages [E, C]: every k but i itself, image for image."""
    received = np.zeros_like(sent)
    directions, degrees = inputs.direction.numpy(), np.arange(len(weights))
    radial = radial_functions(inputs.distance.numpy(), *weights.shape[:2])
    for edge in range(len(sent)):
        j = int(inputs.neighbour[edge])
        for other in range(int(inputs.starts[j]), int(inputs.starts[j + 1])):
            if other == int(inputs.reverse[edge]):
                continue
            cosine = directions[other] @ -directions[edge]
            legendre = np.sqrt(2 * degrees + 1) * eval_legendre(degrees, cosine)
            received[edge] += np.einsum("l,ln,lnc->c", legendre, radial[other], weights) * sent[other]
    return received


def exact_basis(n_degrees: int, count: int) -> SphericalBesselBasis:
    basis = SphericalBesselBasis(CUTOFF, n_degrees, count)
    basis.coefficients = torch.from_numpy(chebyshev_table(n_degrees, count))  # without the rounding to float32
    return basis


@pytest.mark.parametrize("make", [crystal, line])
@pytest.mark.parametrize("n_degrees", [1, 4, 7])
def test_the_linear_form_is_the_sum_over_triplets(make: Callable[[], Atoms], n_degrees: int) -> None:
    inputs = prepare(graph_from_atoms(make(), CUTOFF), torch.float64)
    count, features = 3, 2
    generator = torch.Generator().manual_seed(n_degrees)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    weights, sent = random(n_degrees, count, features), random(len(inputs.distance), features)
    spherical = exact_basis(n_degrees, count)(inputs.distance, polynomial_envelope(inputs.distance, CUTOFF))
    weighted = [sent * (basis @ weight) for basis, weight in zip(spherical, weights, strict=True)]
    found = directional_sum(weighted, harmonics_by_degree(inputs.direction, n_degrees - 1), inputs.edges)
    expected = over_triplets(inputs, weights.numpy(), sent.numpy())
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)


def test_an_interaction_sends_what_the_paper_sends() -> None:
    """The layer's own weights, in the loop over triplets."""
    torch.manual_seed(2)
    config = DimeNetConfig(cutoff=CUTOFF, width=5, radial_size=3, angular_size=4, triplet_width=4)
    layer = DimeNetInteraction(config).double()
    inputs = prepare(graph_from_atoms(line(), CUTOFF), torch.float64)
    envelope = polynomial_envelope(inputs.distance, CUTOFF)
    radial = torch.randn(len(envelope), 3, dtype=torch.float64) * envelope[:, None]
    spherical = exact_basis(4, 3)(inputs.distance, envelope)
    messages = torch.randn(len(envelope), 5, dtype=torch.float64)
    silu = torch.nn.functional.silu
    with torch.no_grad():
        sent = silu(layer.down(silu(layer.sent(messages)) * layer.from_radial(radial)))
        weights = np.stack([linear.weight.numpy().T for linear in layer.from_spherical])
        received = torch.from_numpy(over_triplets(inputs, weights, sent.numpy()))
        changed = layer.before(silu(layer.own(messages)) + silu(layer.up(received)))
        expected = layer.after(silu(layer.joined(changed)) + messages)
        found = layer(messages, radial, spherical, harmonics_by_degree(inputs.direction, 3), inputs.edges)
    assert received.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_the_cost_is_linear_in_edges() -> None:
    """Nothing kept for the derivatives has a row for each triplet: more neighbours make no tensor larger per edge."""
    torch.manual_seed(0)
    network = DimeNet(DimeNetConfig(cutoff=CUTOFF, width=8, depth=1, triplet_width=8))
    largest, neighbours = [], []
    for scale in (1.0, 0.8):
        atoms = crystal().repeat(2)
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
        inputs = prepare(graph_from_atoms(atoms, CUTOFF), torch.float32)
        n_edges, sizes = len(inputs.distance), []
        geometry = EdgeGeometry(inputs.distance.requires_grad_(), inputs.direction.requires_grad_())
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()), lambda _: None):
            network(AtomInputs(inputs.numbers, inputs.graph_index, inputs.atom_starts, None), geometry, inputs.edges)
        largest.append(max(sizes) / n_edges)
        neighbours.append(n_edges / len(atoms))
    assert neighbours[1] > 1.5 * neighbours[0] > 30
    assert largest[0] == largest[1] <= 64
