"""AtomicGraph: batches that come apart again, PyG and back, messages."""

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from potentials.graph import FIELDS, AtomicGraph, batch
from potentials.structures import graph_from_atoms

with warnings.catch_warnings():
    # PyG scripts some of its own classes as it is imported, which torch 2.13 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.data import Data

CUTOFF = 2.5


def random_graph(n_atoms: int, seed: int, dataset: int = 0) -> AtomicGraph:
    random = np.random.default_rng(seed)
    atoms = Atoms(
        numbers=random.integers(1, 90, n_atoms),
        positions=random.uniform(-4, 4, (n_atoms, 3)),
        cell=np.diag(random.uniform(2.6, 5.0, 3)) + random.uniform(-0.3, 0.3, (3, 3)),
        pbc=random.random(3) < 0.5,
        info={"charge": float(random.integers(-2, 3)), "spin": float(random.integers(3))},
    )
    return graph_from_atoms(atoms, CUTOFF, dataset=dataset)


def assert_same(got: AtomicGraph, wanted: AtomicGraph) -> None:
    for name in FIELDS:
        one, other = getattr(got, name), getattr(wanted, name)
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name


graph_lists = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 99), st.integers(0, 3)), min_size=1, max_size=5).map(
    lambda drawn: [random_graph(*one) for one in drawn]
)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(graph_lists)
def test_a_batch_comes_apart_into_what_it_was_made_of(graphs: list[AtomicGraph]) -> None:
    whole = batch(graphs)
    parts = whole.split()
    assert len(parts) == len(graphs)
    for part, graph in zip(parts, graphs, strict=True):
        assert_same(part, graph)
    assert_same(batch(parts), whole)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(graph_lists)
def test_a_batch_keeps_what_edges_mean(graphs: list[AtomicGraph]) -> None:
    """Oracle: fields taken graph by graph, by the definitions in the docstring."""
    whole = batch(graphs)
    assert (whole.n_atoms, whole.n_edges, whole.n_graphs) == (
        sum(len(graph.numbers) for graph in graphs),
        sum(graph.edge_index.shape[1] for graph in graphs),
        len(graphs),
    )
    assert [whole.size(level) for level in ("atom", "edge", "graph")] == [whole.n_atoms, whole.n_edges, whole.n_graphs]
    assert bool((whole.graph_index.diff() >= 0).all())
    neighbour, centre = whole.edge_index
    assert bool((centre.diff() >= 0).all())
    assert torch.equal(whole.graph_index[neighbour], whole.graph_index[centre])
    distances = []
    for graph in (*graphs, whole):
        cell = graph.cell[graph.graph_index[graph.edge_index[1]]]
        between = graph.positions[graph.edge_index[0]] - graph.positions[graph.edge_index[1]]
        distances.append((between + torch.einsum("ec,ecd->ed", graph.edge_shift, cell)).norm(dim=1))
    torch.testing.assert_close(torch.cat(distances[:-1]), distances[-1], rtol=0, atol=1e-12)
    assert bool((distances[-1] < CUTOFF).all())
    reverse = whole.edge_reverse
    assert torch.equal(whole.edge_index[:, reverse], whole.edge_index.flip(0))
    assert torch.equal(whole.edge_shift[reverse], -whole.edge_shift)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(graph_lists)
def test_pyg_and_back(graphs: list[AtomicGraph]) -> None:
    whole = batch(graphs)
    data = whole.to_pyg()
    assert (data.num_nodes, data.num_edges) == (whole.n_atoms, whole.n_edges)
    assert torch.equal(data.pos, whole.positions)
    assert torch.equal(data.z, whole.numbers)
    assert torch.equal(data.batch, whole.graph_index)
    assert_same(AtomicGraph.from_pyg(data), whole)


def test_pyg_data_that_lacks_fields_is_refused_by_name() -> None:
    data = random_graph(3, 0).to_pyg()
    del data.edge_reverse, data.z
    with pytest.raises(ValueError, match=r"lacks z, edge_reverse; AtomicGraph\.to_pyg\(\) shows what is needed"):
        AtomicGraph.from_pyg(data)
    with pytest.raises(ValueError, match="lacks pos"):
        AtomicGraph.from_pyg(Data())


def test_pyg_edges_in_another_order_are_refused() -> None:
    data = random_graph(6, 1).to_pyg()
    data.edge_index = data.edge_index.flip(1)
    with pytest.raises(ValueError, match="not sorted by its second row"):
        AtomicGraph.from_pyg(data)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="no graphs; it needs at least one"):
        batch([])


def test_to_moves_every_tensor_and_keeps_the_graph() -> None:
    graph = random_graph(4, 2)
    moved = graph.to("meta")
    assert {getattr(moved, name).device.type for name in FIELDS} == {"meta"}
    assert {getattr(graph, name).device.type for name in FIELDS} == {"cpu"}
    assert_same(graph.to("cpu"), graph)


def test_pin_memory_reaches_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU there is no page-locked memory: that each tensor is asked is what can be seen anywhere."""
    asked: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: asked.append(id(tensor)) or tensor)
    graph = random_graph(4, 3)
    assert_same(graph.pin_memory(), graph)
    assert asked == [id(getattr(graph, name)) for name in FIELDS]


def test_a_graph_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        random_graph(2, 4).positions = torch.zeros(2, 3)  # type: ignore[misc]  # that it is refused is the test
