"""Gathers and sums against plain indexing, and their derivatives of first and second order."""

from collections.abc import Callable

import pytest
import torch
from ase import Atoms
from torch import Tensor

from potentials.edges import Edges
from potentials.graph import AtomicGraph, batch
from potentials.structures import graph_from_atoms
from potentials.testing.samples import cluster, crystal


def lone(number: int) -> AtomicGraph:
    return graph_from_atoms(Atoms(numbers=[number], positions=[[0.0, 0.0, 0.0]]), 3.0)


def graphs() -> dict[str, AtomicGraph]:
    """With atoms without edges at the start, in the middle and at the end, and graphs with none at all."""
    crowd, periodic = graph_from_atoms(cluster(3.0, 9), 2.0), graph_from_atoms(crystal(3.0, 3), 2.2)
    return {
        "periodic": periodic,
        "batch": batch([lone(1), crowd, lone(6), lone(8), periodic, lone(1)]),
        "no edges": batch([lone(1), lone(6)]),
    }


Move = Callable[[Edges, Tensor], Tensor]
MOVES: dict[str, tuple[Move, Move]] = {
    "gather_centre": (Edges.gather_centre, lambda edges, values: values[edges.centre]),
    "gather_neighbour": (Edges.gather_neighbour, lambda edges, values: values[edges.neighbour]),
    "sum_to_centre": (
        Edges.sum_to_centre,
        lambda edges, values: (
            torch.zeros(atoms(edges), *values.shape[1:]).to(values).index_add(0, edges.centre, values)
        ),
    ),
    "sum_to_neighbour": (
        Edges.sum_to_neighbour,
        lambda edges, values: (
            torch.zeros(atoms(edges), *values.shape[1:]).to(values).index_add(0, edges.neighbour, values)
        ),
    ),
    "of_pairs": (Edges.of_pairs, lambda edges, values: values[edges.first]),
}


def atoms(edges: Edges) -> int:
    return len(edges.starts) - 1


def rows_of(name: str, edges: Edges) -> int:
    return atoms(edges) if name.startswith("gather") else len(edges.rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4)])
@pytest.mark.parametrize("graph", graphs())
@pytest.mark.parametrize("name", MOVES)
def test_values_and_two_derivatives(name: str, graph: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Oracle: indexing and index_add, differentiated by torch itself. The first derivatives are exact: sums of few."""
    edges = Edges.of(graphs()[graph])
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows_of(name, edges), *shape, dtype=dtype, generator=generator).requires_grad_()
    results = []
    for move in MOVES[name]:
        moved = move(edges, values)
        (gradient,) = torch.autograd.grad((moved**3).sum(), values, create_graph=True)
        (second,) = torch.autograd.grad((gradient**2).sum(), values)
        results.append((moved, gradient, second))
    assert results[0][0].shape == results[1][0].shape
    for got, wanted in zip(*results, strict=True):
        largest = float(wanted.detach().abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(got, wanted, rtol=0, atol=100 * torch.finfo(dtype).eps * max(largest, 1.0))


@pytest.mark.parametrize("graph", ["periodic", "batch"])
@pytest.mark.parametrize("name", MOVES)
def test_gradients_by_finite_differences(name: str, graph: str) -> None:
    edges = Edges.of(graphs()[graph])
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(rows_of(name, edges), 2, dtype=torch.float64, generator=generator).requires_grad_()
    move = MOVES[name][0]
    assert torch.autograd.gradcheck(lambda x: torch.sin(move(edges, x)), values)
    assert torch.autograd.gradgradcheck(lambda x: torch.sin(move(edges, x)), values)


@pytest.mark.parametrize("name", MOVES)
def test_float32_is_float64_rounded(name: str) -> None:
    """The two dtypes take different ways through torch on the CPU; a sum of d terms may be off by d roundings."""
    edges = Edges.of(graphs()["batch"])
    values = torch.randn(rows_of(name, edges), 7, generator=torch.Generator().manual_seed(2))
    single, double = MOVES[name][0](edges, values), MOVES[name][0](edges, values.double())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    degree = int(edges.starts.diff().max())
    bound = degree * torch.finfo(torch.float32).eps * float(values.abs().max()) * degree
    torch.testing.assert_close(single.double(), double, rtol=0, atol=bound)


def test_sums_are_the_same_to_the_bit_every_time() -> None:
    edges = Edges.of(graphs()["batch"])
    values = torch.randn(len(edges.rows), 16, generator=torch.Generator().manual_seed(3))
    first = edges.sum_to_neighbour(values)
    assert all(torch.equal(edges.sum_to_neighbour(values), first) for _ in range(5))


def test_edges_of_a_graph() -> None:
    graph = graphs()["batch"]
    edges = Edges.of(graph)
    assert torch.equal(torch.stack([edges.neighbour, edges.centre]), graph.edge_index)
    assert torch.equal(edges.rows, torch.arange(graph.n_edges))
    for atom in range(graph.n_atoms):
        of_atom = torch.nonzero(graph.edge_index[1] == atom)[:, 0]
        assert torch.equal(edges.rows[edges.starts[atom] : edges.starts[atom + 1]], of_atom)
    assert 2 * len(edges.first) == graph.n_edges
    assert torch.equal(edges.pair[edges.first], torch.arange(len(edges.first)))
    assert torch.equal(edges.pair[edges.reverse], edges.pair)
    assert bool((edges.first < edges.reverse[edges.first]).all())
