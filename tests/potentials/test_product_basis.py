"""The product basis against all products there are."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from potentials.product_basis import ElementLinear, SymmetricProduct
from potentials.spherical import clebsch_gordan
from potentials.symmetric_powers import independent_pairs, independent_triples

ELEMENTS = 4


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def feature(l_max: int, atoms: int) -> dict[int, np.ndarray]:
    rows = np.random.default_rng(5).normal(size=(atoms, (l_max + 1) ** 2))
    return {degree: rows[:, degree**2 : (degree + 1) ** 2] for degree in range(l_max + 1)}


def test_each_element_has_its_matrices() -> None:
    linear = ElementLinear(1, 3, ELEMENTS).double()
    features, numbers = random(5, 9, 3), torch.tensor([0, 1, 3, 3, 1])
    found = linear(features, numbers)
    assert found.shape == (5, 4, 3)
    for atom, number in enumerate(numbers):
        scalar, vector = (table.get_parameter("weight")[number].view(3, 3) for table in linear.tables)
        torch.testing.assert_close(found[atom, :1], features[atom, :1] @ scalar)
        torch.testing.assert_close(found[atom, 1:], features[atom, 1:4] @ vector)


def all_thirds(l_in: int, out: int, atoms: int) -> np.ndarray:
    """[terms, atoms · (2 out + 1)]: every coupling of three copies of a feature, in every order."""
    x, rows = feature(l_in, atoms), []
    for a, b, c in itertools.product(range(l_in + 1), repeat=3):
        for both in range(abs(a - b), a + b + 1):
            if abs(both - c) <= out <= both + c and (a + b + c + out) % 2 == 0:
                inner = np.einsum("abc,na,nb->nc", clebsch_gordan(a, b, both), x[a], x[b])
                rows.append(np.einsum("abc,na,nb->nc", clebsch_gordan(both, c, out), inner, x[c]).ravel())
    return np.array(rows)


@pytest.mark.parametrize(("l_in", "out"), [(1, 0), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)])
def test_the_product_basis_is_complete_and_has_nothing_twice(l_in: int, out: int) -> None:
    """As many paths as all couplings have independent ones, and independent themselves: the same space."""
    atoms, width, l_out = 60, 1, out
    layer = SymmetricProduct(l_in, l_out, 3, width, 2).double()
    x = feature(l_in, atoms)
    features = torch.from_numpy(np.concatenate([x[degree] for degree in range(l_in + 1)], axis=1))[:, :, None]
    numbers, here = torch.zeros(atoms, dtype=torch.int64), slice(out**2, (out + 1) ** 2)
    thirds = all_thirds(l_in, out, atoms)
    rank = np.linalg.matrix_rank(thirds, tol=1e-9 * np.linalg.norm(thirds))
    assert len(independent_triples(l_in, out)) == rank

    rows = []
    with torch.no_grad():
        for table in layer.tables:
            for other in layer.tables:
                other.get_parameter("weight").zero_()
            for weight in range(table.get_parameter("weight").shape[1]):
                table.get_parameter("weight").zero_()[:, weight] = 1.0
                rows.append(layer(features, numbers)[:, here, 0].numpy().ravel())
    kept = np.array([row for row in rows if np.abs(row).max() > 1e-12])
    assert len(kept) == 1 + len(independent_pairs(l_in, out)) + rank
    assert np.linalg.matrix_rank(kept, tol=1e-9 * np.linalg.norm(kept)) == len(kept)
    # every one of all third powers is a combination of them
    weights, *_ = np.linalg.lstsq(kept.T, thirds.T, rcond=None)
    assert np.abs(kept.T @ weights - thirds.T).max() < 1e-10


def test_weights_are_of_the_element_and_the_channel() -> None:
    layer = SymmetricProduct(2, 1, 3, 4, ELEMENTS).double()
    features = random(2, 9, 4)
    found = layer(features, torch.tensor([1, 2])).detach()
    swapped = layer(features.flip(0), torch.tensor([2, 1])).flip(0)
    torch.testing.assert_close(found, swapped)
    assert float((layer(features, torch.tensor([3, 2]))[0] - found[0]).detach().abs().min()) > 1e-6
    other = features.clone()
    other[:, :, 3] += 1.0
    change = (layer(other, torch.tensor([1, 2])) - found).detach().abs().amax((0, 1))
    assert float(change[3]) > 0.1
    assert float(change[:3].max()) == 0.0


def test_lower_correlations_are_lower_powers() -> None:
    features, numbers = random(3, 9, 2), torch.tensor([0, 1, 2])
    for correlation in (1, 2, 3):
        layer = SymmetricProduct(2, 1, correlation, 2, ELEMENTS).double()
        assert len(layer.tables) == correlation
        # a polynomial without constant: its value on t x is known from `correlation` others
        steps = torch.arange(1, correlation + 1, dtype=torch.float64)
        values = torch.stack([layer(step * features, numbers) for step in steps])
        powers = steps[:, None] ** steps
        parts = torch.einsum("pt,tnmc->pnmc", torch.linalg.inv(powers), values)
        assert float(parts[-1].detach().abs().max()) > 1e-3
        wanted = torch.einsum("p,pnmc->nmc", 1.7**steps, parts)
        torch.testing.assert_close(layer(1.7 * features, numbers), wanted)
