"""TensorNet against an implementation with explicit 3 × 3 matrices and loops over edges."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ase.build import bulk
from numpy.typing import NDArray
from torch import Tensor, nn

from potentials.backbones.base import AtomInputs
from potentials.backbones.tensornet import TensorNet, TensorNetConfig
from potentials.cartesian import Rank2, dyad, from_matrix, product, square_norms, to_matrix
from potentials.derivatives import TensorInputs, prepare
from potentials.edges import EdgeGeometry
from potentials.structures import graph_from_atoms

WIDTH = 6
Floats = NDArray[np.float64]


@pytest.fixture
def network() -> TensorNet:
    torch.manual_seed(5)
    return TensorNet(TensorNetConfig(cutoff=4.0, width=WIDTH, depth=2, radial_size=5)).double()


@pytest.fixture
def inputs() -> TensorInputs:
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:2] = 13
    atoms.rattle(0.2, seed=3)
    return prepare(graph_from_atoms(atoms, 4.0), torch.float64)


def random_matrices(n: int, seed: int) -> Tensor:
    return torch.randn(n, 3, 3, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_parts_make_the_matrix_again() -> None:
    matrices = random_matrices(7, 0)
    parts = from_matrix(matrices)
    torch.testing.assert_close(to_matrix(parts), matrices)
    total = sum(square_norms(parts), torch.zeros(()))
    torch.testing.assert_close(total, matrices.square().sum((1, 2)))
    zero = torch.zeros_like(parts.scalar)
    alone = [
        Rank2(parts.scalar, 0 * parts.vector, 0 * parts.tensor),
        Rank2(zero, parts.vector, 0 * parts.tensor),
        Rank2(zero, 0 * parts.vector, parts.tensor),
    ]
    for part, norm in zip(alone, square_norms(parts), strict=True):
        torch.testing.assert_close(to_matrix(part).square().sum((1, 2)), norm)
    skew, symmetric = to_matrix(alone[1]), to_matrix(alone[2])
    torch.testing.assert_close(skew.transpose(1, 2), -skew)
    torch.testing.assert_close(symmetric.transpose(1, 2), symmetric)
    torch.testing.assert_close(symmetric.diagonal(dim1=1, dim2=2).sum(-1), zero, atol=1e-14, rtol=0)
    vector = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turned = torch.einsum("nijf,nj->nif", skew, vector)
    torch.testing.assert_close(turned[:, :, 2], torch.linalg.cross(parts.vector[:, :, 2], vector))


def test_products_and_dyads() -> None:
    left, right = random_matrices(4, 2), random_matrices(4, 3)
    torch.testing.assert_close(product(left, right), torch.einsum("nijf,njkf->nikf", left, right))
    unit = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1)
    outer = unit[:, :, None, None] * unit[:, None, :, None]
    torch.testing.assert_close(dyad(unit), from_matrix(outer).tensor[:, :, 0])


def weight(linear: nn.Module) -> Floats:
    value = linear.get_parameter("weight").detach().numpy()
    return np.asarray(value)


def parts_of(matrix: Floats) -> tuple[Floats, Floats, Floats]:
    """Of [F, 3, 3]: as the paper writes them."""
    identity = np.eye(3) * np.trace(matrix, axis1=1, axis2=2)[:, None, None] / 3
    skew = (matrix - matrix.transpose(0, 2, 1)) / 2
    return identity, skew, (matrix + matrix.transpose(0, 2, 1)) / 2 - identity


def mixed(parts: tuple[Floats, ...], mixing: nn.Module) -> Floats:
    """Sum of the parts, each through its own linear map of the features."""
    maps = [weight(linear) for linear in mixing.get_submodule("parts").children()]
    return np.sum([np.einsum("gf,fij->gij", w, part) for w, part in zip(maps, parts, strict=True)], axis=0)


def bounded(matrix: Floats) -> Floats:
    return matrix / (1 + (matrix**2).sum((1, 2)))[:, None, None]


def filters_of(layer: nn.Module, radial: Tensor, envelope: Tensor) -> Floats:
    values = (layer.get_submodule("filters")(radial) * envelope[:, None]).detach().numpy()
    return np.asarray(values).reshape(len(radial), 3, WIDTH)


def pairs(inputs: TensorInputs) -> Iterator[tuple[int, int, int]]:
    """Edge, centre, neighbour."""
    yield from zip(inputs.rows.tolist(), inputs.centre.tolist(), inputs.neighbour.tolist(), strict=True)


def as_arrays(parts: Rank2) -> Floats:
    """[N, F, 3, 3]."""
    return np.asarray(to_matrix(parts).detach().numpy()).transpose(0, 3, 1, 2)


def test_the_embedding_is_the_paper_s(network: TensorNet, inputs: TensorInputs) -> None:
    start = network.start
    radial = network.radial(inputs.distance, inputs.distance * 0 + 1)
    elements = network.embedding(inputs.numbers)
    filters = filters_of(start, radial, torch.ones_like(inputs.distance))
    own, to_centre, to_neighbour = (weight(m) for m in (start.own, start.from_centre, start.from_neighbour))
    bias = start.from_centre.bias.detach().numpy()
    z = elements.detach().numpy()
    summed = np.einsum("nf,ij->nfij", z @ own.T, np.eye(3))
    for edge, i, j in pairs(inputs):
        u = inputs.direction[edge].numpy()
        skew = np.array([[0, -u[2], u[1]], [u[2], 0, -u[0]], [-u[1], u[0], 0]])
        bases = [np.eye(3), skew, np.outer(u, u) - np.eye(3) / 3]
        pair = to_centre @ z[i] + bias + to_neighbour @ z[j]
        for basis, factor in zip(bases, filters[edge], strict=True):
            summed[i] += (pair * factor)[:, None, None] * basis
    norms = torch.from_numpy((summed**2).sum((2, 3)))
    gates = start.gates(start.norm(norms)).detach().numpy().reshape(-1, 3, WIDTH)
    maps = [weight(linear) for linear in start.mixing.parts]
    expected = [
        sum(
            g[:, None, None] * np.einsum("gf,fij->gij", w, part)
            for g, w, part in zip(gate, maps, parts_of(matrix), strict=True)
        )
        for gate, matrix in zip(gates, summed, strict=True)
    ]
    found = as_arrays(start(elements, radial, inputs.direction, inputs.edges))
    assert np.abs(np.array(expected)).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_an_interaction_is_the_paper_s(network: TensorNet, inputs: TensorInputs) -> None:
    layer = network.layers[0]
    n_atoms = len(inputs.numbers)
    envelope = torch.cos(inputs.distance)  # any function of the edge
    radial = network.radial(inputs.distance, envelope)
    state = from_matrix(random_matrices(n_atoms, 8))
    filters = filters_of(layer, radial, envelope)

    before = [bounded(matrix) for matrix in as_arrays(state)]
    sent = [mixed(parts_of(matrix), layer.before) for matrix in before]
    received = np.zeros((n_atoms, WIDTH, 3, 3))
    for edge, i, j in pairs(inputs):
        for factor, part in zip(filters[edge], parts_of(sent[j]), strict=True):
            received[i] += factor[:, None, None] * part
    expected = []
    for matrix, y, m in zip(before, sent, received, strict=True):
        change = mixed(parts_of(bounded(y @ m + m @ y)), layer.after)
        expected.append(matrix + change + change @ change)
    found = as_arrays(layer(state, radial, envelope, inputs.edges))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    moved = np.array(expected) - np.array(before)
    assert np.abs(moved).max() > 0.01


def test_atoms_without_neighbours_are_told_apart(network: TensorNet) -> None:
    """Their matrices are multiples of the identity, and the paper's alone would be zero."""
    from ase import Atoms

    lonely = prepare(graph_from_atoms(Atoms("HO", positions=[[0, 0, 0], [0, 0, 50]]), 4.0), torch.float64)
    atoms = AtomInputs(lonely.numbers, lonely.graph_index, lonely.atom_starts, None)
    features = network(atoms, EdgeGeometry(lonely.distance, lonely.direction), lonely.edges)
    assert (features[0] - features[1]).abs().max() > 1e-3
