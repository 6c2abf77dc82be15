"""NequIP against an implementation with loops over edges, paths and channels; and which kinds of features it has."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ase.build import bulk
from numpy.typing import NDArray
from torch import Tensor, nn

from potentials.backbones.base import AtomInputs
from potentials.backbones.nequip import NequIP, NequIPConfig, NequIPLayer, kinds_of_layers
from potentials.derivatives import TensorInputs, prepare
from potentials.slots import SCALAR, Kind
from potentials.spherical import clebsch_gordan, real_harmonics
from potentials.structures import graph_from_atoms
from tests.potentials.peers import PeerExample

WIDTH = 2
Floats = NDArray[np.float64]


@pytest.fixture
def inputs() -> TensorInputs:
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:2] = 13
    atoms.rattle(0.2, seed=3)
    return prepare(graph_from_atoms(atoms, 4.0), torch.float64)


def array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().numpy())


def places(kinds: list[Kind]) -> Iterator[tuple[Kind, slice]]:
    start = 0
    for kind in kinds:
        yield kind, slice(start, start + 2 * kind.degree + 1)
        start += 2 * kind.degree + 1


def silu(x: Floats) -> Floats:
    return x / (1 + np.exp(-x))


def of_one_layer(layer: NequIPLayer, features: Tensor, inputs: TensorInputs) -> Floats:
    """What a layer makes, from its weights and the paper's formulas."""
    before = dict(places(layer.before))
    sent = {
        kind: array(features[:, at]) @ array(weight)
        for (kind, at), weight in zip(before.items(), layer.first.weights, strict=True)
    }
    harmonics, filters = array(real_harmonics(inputs.direction, 2)), array(layer.radial(inputs.distance).flatten(1))
    made: dict[Kind, list[Floats]] = {}
    for path, (a, degree, _) in enumerate(layer.coupling.paths):
        one = layer.before[a]
        size = layer.coupling.out[path]
        out = Kind(size, pseudo=one.pseudo != bool((one.degree + degree + size) % 2))
        cg = clebsch_gordan(one.degree, degree, size) * np.sqrt(2 * size + 1)
        total = np.zeros((len(features), 2 * size + 1, WIDTH))
        for edge, (centre, neighbour) in enumerate(zip(inputs.centre.tolist(), inputs.neighbour.tolist(), strict=True)):
            y = harmonics[edge, degree**2 : (degree + 1) ** 2]
            factor = filters[edge, path * WIDTH : (path + 1) * WIDTH]
            total[centre] += factor * np.einsum("abo,ac,b->oc", cg, sent[one][neighbour], y)
        made.setdefault(out, []).append(total)
    own = array(layer.factors(inputs.numbers))[:, None]
    parts = {}
    for kind, weight in zip(layer.second.kinds, layer.second.weights, strict=True):
        parts[kind] = np.concatenate(made[kind], axis=2) @ array(weight)
    for kind, weight in zip(layer.skip.kinds, layer.skip.weights, strict=True):
        parts[kind] = parts[kind] + (array(features[:, before[kind]]) * own) @ array(weight)
    gates = np.split(parts[SCALAR], parts[SCALAR].shape[2] // WIDTH, axis=2)
    results = [1.6765 * silu(gates.pop(0))]
    for kind in layer.after[1:]:
        gated = parts[kind] * 1.6765 * silu(gates.pop(0)) if kind.degree else 1.5925 * np.tanh(parts[kind])
        results.append(gated)
    assert not gates
    return np.concatenate(results, axis=1)


ALL = [Kind(degree, pseudo) for degree in range(3) for pseudo in (False, True)]


@pytest.mark.parametrize(
    ("before", "after"),
    [([SCALAR], [Kind(0), Kind(1), Kind(2)]), (ALL, ALL), (ALL, [SCALAR, Kind(2)])],
    ids=["first", "all", "fewer"],
)
def test_a_layer_is_the_paper_s(before: list[Kind], after: list[Kind], inputs: TensorInputs) -> None:
    torch.manual_seed(3)
    config = NequIPConfig(cutoff=4.0, width=WIDTH, radial_size=3, radial_widths=(4,), average_neighbours=12.0)
    layer = NequIPLayer(config, before, after).double()
    features = torch.randn(4, sum(2 * kind.degree + 1 for kind in before), WIDTH, dtype=torch.float64)
    harmonics = real_harmonics(inputs.direction, 2)
    found = layer(features, inputs.numbers, inputs.distance, harmonics, inputs.edges)
    assert float(found.detach().std()) > 0.1
    np.testing.assert_allclose(array(found), of_one_layer(layer, features, inputs), rtol=0, atol=1e-12)


def test_the_same_weights_give_the_features_of_nequip() -> None:
    example = PeerExample.stored("nequip.npz")
    settings = {"cutoff": 4.0, "width": 2, "depth": 3, "radial_size": 3, "l_max": 2, "radial_widths": (4, 4)}
    backbone = NequIP(NequIPConfig(average_neighbours=7.5, **settings)).double()
    example.load_into(backbone)
    found: list[Tensor] = []
    for layer in backbone.layers:
        layer.register_forward_hook(lambda _layer, _inputs, features_NMC: found.append(features_NMC[:, 0]))
    inputs = example.inputs(4.0)
    backbone(AtomInputs(inputs.numbers, inputs.graph_index, inputs.atom_starts, None), inputs, inputs.edges)
    assert float(example.scalars.std(dim=1).min()) > 1e-3
    torch.testing.assert_close(torch.stack(found), example.scalars, rtol=1e-11, atol=1e-11)


def test_only_kinds_that_arise_and_are_seen() -> None:
    def names(kinds: list[Kind]) -> str:
        return " ".join(f"{kind.degree}{'p' if kind.pseudo else ''}" for kind in kinds)

    assert [names(kinds) for kinds in kinds_of_layers(3, 2, both=True)] == ["0", "0 1 2", "0 1 2", "0"]
    assert [names(kinds) for kinds in kinds_of_layers(4, 2, both=True)] == ["0", "0 1 2", "0 1 1p 2 2p", "0 1 2", "0"]
    assert [names(kinds) for kinds in kinds_of_layers(1, 2, both=False)] == ["0", "0"]
    assert [names(kinds) for kinds in kinds_of_layers(4, 1, both=False)] == ["0", "0 1", "0 1", "0 1", "0"]


def test_both_parities_where_they_would_be_the_same() -> None:
    with pytest.raises(ValueError, match=r"parities = 'both' with depth 3: .* take depth ≥ 4 or parities = 'natural'"):
        NequIPConfig(depth=3, parities="both")


def test_activations_are_of_unit_size() -> None:
    """The constants in front of them: one over the root mean square for a normal number."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    for function, gain in ((silu, 1.6765), (np.tanh, 1.5925)):
        size = np.sqrt(weights @ function(points) ** 2 / weights.sum())
        assert abs(gain * size - 1) < 1e-3


def test_parameters_of_the_published_settings() -> None:
    """Layers between share one shape: paths of 3 kinds times 3 harmonics to 3 kinds, without 0 ⊗ 1 → 0 and the like."""
    network = NequIP(NequIPConfig(width=4, depth=4, l_max=2))
    layers = [layer for layer in network.layers if isinstance(layer, NequIPLayer)]
    assert [len(layer.coupling.paths) for layer in layers] == [3, 11, 11, 3]
    assert isinstance(network.embedding, nn.Embedding)
