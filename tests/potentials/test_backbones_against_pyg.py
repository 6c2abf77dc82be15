"""The mathematics of layers against PyTorch Geometric's own, with their weights, where every envelope is 1.

Float64, on a graph with atoms of several degrees. What smoothness adds (vacancies, bounds, floors) is set to its limit
where the limit is exact. Largest and smallest have none at finite sharpness: they are compared with PyG on messages so
far apart that the softmax leaves nothing of the others, and, as they are, with an explicit loop.
"""

import math
import warnings

import pytest
import torch
import torch.nn.functional as nnf
from ase import Atoms
from torch import Tensor

from potentials.backbones.aggregation import mean, smooth_degree
from potentials.backbones.base import AtomInputs
from potentials.backbones.cgcnn import gated
from potentials.backbones.gat import attend, attention_weights
from potentials.backbones.gin import isomorphism_sum
from potentials.backbones.gps import connectedness, global_attention, positive
from potentials.backbones.mfc import by_degree, degree_shares
from potentials.backbones.pna import SOFT, Softness, aggregate, scale
from potentials.edges import Edges
from potentials.graph import AtomicGraph
from potentials.structures import graph_from_atoms

with warnings.catch_warnings():
    # PyG scripts some of its own classes as it is imported, which torch 2.13 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.nn import CGConv, GATv2Conv, GINConv, MFConv, SAGEConv
    from torch_geometric.nn.aggr import DegreeScalerAggregation

WIDTH = 6
EXACT = {"rtol": 0.0, "atol": 1e-10}


def chain() -> AtomicGraph:
    """A bent ribbon of 7 atoms in which the ends have fewer neighbours than the middle."""
    positions = [[number * 1.0, 0.4 * (number % 2), 0.1 * number**2] for number in range(7)]
    return graph_from_atoms(Atoms(numbers=[1, 6, 8, 6, 1, 8, 6], positions=positions), 2.6)


@pytest.fixture
def graph() -> AtomicGraph:
    made = chain()
    degree = torch.bincount(made.edge_index[1])
    assert degree.min() >= 1
    assert len(degree.unique()) >= 3
    return made


@pytest.fixture
def edges(graph: AtomicGraph) -> Edges:
    return Edges.of(graph)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ones(graph: AtomicGraph) -> Tensor:
    return torch.ones(graph.n_edges, dtype=torch.float64)


def close(got: Tensor, wanted: Tensor) -> None:
    assert got.dtype == wanted.dtype == torch.float64
    assert float(wanted.detach().abs().max()) > 0.1
    torch.testing.assert_close(got, wanted, **EXACT)


def test_gin(graph: AtomicGraph, edges: Edges) -> None:
    network = torch.nn.Linear(WIDTH, WIDTH).double()
    features = random(graph.n_atoms, WIDTH)
    wanted = GINConv(network, eps=0.25)(features, graph.edge_index)
    epsilon = torch.tensor([0.25], dtype=torch.float64)  # a number that PyG's float32 holds exactly
    close(network(isomorphism_sum(features, ones(graph)[:, None], epsilon, edges)), wanted)


def test_sage(graph: AtomicGraph, edges: Edges) -> None:
    layer, features = SAGEConv(WIDTH, WIDTH).double(), random(graph.n_atoms, WIDTH)
    averaged = mean(edges.gather_neighbour(features), smooth_degree(ones(graph), edges), edges, vacancy=0.0)
    close(layer.lin_r(features) + layer.lin_l(averaged), layer(features, graph.edge_index))


def test_gat(graph: AtomicGraph, edges: Edges) -> None:
    heads, per_head, radial_size = 3, 2, 4
    layer = GATv2Conv(WIDTH, per_head, heads=heads, edge_dim=radial_size, add_self_loops=False).double()
    features, radial = random(graph.n_atoms, WIDTH), random(graph.n_edges, radial_size, seed=1)
    neighbour = layer.lin_l(features).view(-1, heads, per_head)
    centre = layer.lin_r(features).view(-1, heads, per_head)
    edge = layer.lin_edge(radial).view(-1, heads, per_head)

    def score(mixed: Tensor) -> Tensor:
        return (nnf.leaky_relu(mixed, 0.2) * layer.att[0]).sum(-1)

    weights = attention_weights(centre, neighbour, edge, score, edges)
    got = attend(neighbour, weights, edges, vacancy=0.0).flatten(1) + layer.bias
    close(got, layer(features, graph.edge_index, radial))


def test_mfc(graph: AtomicGraph, edges: Edges) -> None:
    """More neighbours than there are matrices, too."""
    most = int(torch.bincount(graph.edge_index[1]).max())
    for max_degree in (most - 1, most + 2):
        layer, features = MFConv(WIDTH, WIDTH, max_degree=max_degree).double(), random(graph.n_atoms, WIDTH)
        matrices = torch.stack(
            [torch.cat([left.weight.T, right.weight.T]) for left, right in zip(layer.lins_l, layer.lins_r, strict=True)]
        )
        biases = torch.stack([left.bias for left in layer.lins_l])
        summed = edges.sum_to_centre(edges.gather_neighbour(features))
        shares = degree_shares(smooth_degree(ones(graph), edges), max_degree)
        close(
            by_degree(torch.cat([summed, features], dim=1), shares, matrices, biases), layer(features, graph.edge_index)
        )


def test_cgcnn(graph: AtomicGraph, edges: Edges) -> None:
    layer, features = CGConv(WIDTH, dim=4).double(), random(graph.n_atoms, WIDTH)
    radial = random(graph.n_edges, 4, seed=1)
    seen = torch.cat([edges.gather_centre(features), edges.gather_neighbour(features), radial], dim=1)
    messages = gated(torch.cat([layer.lin_f(seen), layer.lin_s(seen)], dim=1))
    close(features + edges.sum_to_centre(messages), layer(features, graph.edge_index, radial))


def test_pna_in_the_limit(graph: AtomicGraph, edges: Edges) -> None:
    """Messages are at least 0.6 / E apart: softmax of sharpness 2,000 leaves exp(-30) of what is not the largest."""
    histogram = torch.bincount(torch.bincount(graph.edge_index[1]))
    aggregator = DegreeScalerAggregation(
        ["mean", "max", "min", "std"], ["identity", "amplification", "attenuation"], histogram
    )
    generator = torch.Generator().manual_seed(0)
    ranks = torch.stack([torch.randperm(graph.n_edges, generator=generator) for _ in range(WIDTH)], dim=1)
    messages = 0.6 * ranks.double() / graph.n_edges - 0.3
    assert graph.n_edges <= 40
    limit = Softness(vacancy=0.0, sharpness=2000.0, score_bound=1e9, variance_floor=0.0)
    aggregator.avg_deg_log = aggregator.avg_deg_log.double()
    aggregator.avg_deg_log.fill_(aggregator.init_avg_deg_log)
    got = scale(
        aggregate(messages, ones(graph), edges, limit),
        smooth_degree(ones(graph), edges),
        aggregator.init_avg_deg_log,
        limit,
    )
    close(got, aggregator(messages, edges.centre, dim_size=graph.n_atoms, dim=0))


def envelopes(graph: AtomicGraph) -> Tensor:
    return random(graph.n_edges, seed=5).sigmoid()


def test_pna_as_it_is(graph: AtomicGraph, edges: Edges) -> None:
    """With its softness: an explicit loop over atoms, features and neighbours."""
    messages, envelope = 2 * random(graph.n_edges, WIDTH), envelopes(graph)
    wanted = torch.empty(graph.n_atoms, 12 * WIDTH, dtype=torch.float64)
    for atom in range(graph.n_atoms):
        mine = (graph.edge_index[1] == atom).nonzero()[:, 0].tolist()
        degree = sum(float(envelope[edge]) for edge in mine)
        for feature in range(WIDTH):
            # (value, weight) of what is there, the vacancy first
            there = [(0.0, 1.0), *((float(messages[edge, feature]), float(envelope[edge])) for edge in mine)]
            average = sum(value * weight for value, weight in there) / (1 + degree)
            variance = sum(weight * (value - average) ** 2 for value, weight in there) / (1 + degree)
            found = [average, *(selected(there, sign) for sign in (1, -1)), math.sqrt(variance + 0.1) - math.sqrt(0.1)]
            for number, value in enumerate(found):
                wanted[atom, number * WIDTH + feature] = value
        wanted[atom, 4 * WIDTH : 8 * WIDTH] = wanted[atom, : 4 * WIDTH] * math.log(1 + degree) / 2.5
        attenuation = 2.5 / math.log(1 + math.sqrt(1 + degree**2))
        wanted[atom, 8 * WIDTH :] = wanted[atom, : 4 * WIDTH] * attenuation
    close(scale(aggregate(messages, envelope, edges), smooth_degree(envelope, edges), 2.5), wanted)


def selected(there: list[tuple[float, float]], sign: int) -> float:
    """Mean by softmax of sign · 2 · value, bounded by 4."""
    weights = [weight * math.exp(4 * math.tanh(sign * 2 * value / 4)) for value, weight in there]
    return sum(weight * value for weight, (value, _) in zip(weights, there, strict=True)) / sum(weights)


def test_pna_selects_more_sharply_towards_the_limit(graph: AtomicGraph, edges: Edges) -> None:
    messages = random(graph.n_edges, WIDTH)
    largest = torch.stack([messages[graph.edge_index[1] == atom].amax(0) for atom in range(graph.n_atoms)])
    errors = []
    for sharpness in (10.0, 100.0):
        softness = Softness(vacancy=0.0, sharpness=sharpness, score_bound=1e9)
        got = aggregate(messages, ones(graph), edges, softness)[:, WIDTH : 2 * WIDTH]
        errors.append(float((got - largest).abs().max()))
    # n neighbours a gap apart miss the largest by n · gap · exp(-sharpness · gap), at most n / (e · sharpness)
    assert errors[0] < 6 / (math.e * 10)
    assert errors[1] < 6 / (math.e * 100)
    assert SOFT.vacancy == 1


def test_attention_of_all_atoms_of_a_structure() -> None:
    """GPS: the sums per structure against all pairs of atoms, over structures of 1, 4 and 3 atoms."""
    sizes, heads, per_head = (1, 4, 3), 2, 3
    graph_index = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    starts = torch.tensor([0, 1, 5, 8])
    query, key, value = (random(8, heads, per_head, seed=seed) for seed in range(3))
    bound = connectedness(random(8, seed=4).exp())
    bound[0] = 0.0  # an atom alone
    atoms = AtomInputs(torch.ones(8, dtype=torch.int64), graph_index, starts, None)
    got = global_attention((query, key, value), bound, atoms)
    wanted = torch.zeros_like(got)
    for i in range(1, 8):
        for head in range(heads):
            weights = {
                j: bound[j] * (positive(query[i, head]) * positive(key[j, head])).sum()
                for j in range(8)
                if graph_index[i] == graph_index[j]
            }
            for j, weight in weights.items():
                wanted[i, head] += bound[i] * weight / sum(weights.values()) * value[j, head]
    close(got, wanted)
