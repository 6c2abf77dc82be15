"""A layer of PNAEq against loops over the neighbours of each atom."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from potentials.backbones.painn import NORM_FLOOR
from potentials.backbones.pna import SOFT
from potentials.backbones.pna_eq import PNAEq, PNAEqConfig, PNAEqLayer
from potentials.derivatives import TensorInputs, prepare
from potentials.radial import polynomial_envelope
from potentials.structures import graph_from_atoms

CUTOFF, WIDTH, DEGREE = 3.6, 5, 7.0


@pytest.fixture
def inputs() -> TensorInputs:
    atoms = bulk("Cu", a=3.2, cubic=True)
    atoms.rattle(0.15, seed=4)
    return prepare(graph_from_atoms(atoms, CUTOFF), torch.float64)


def layer(*, first: bool, last: bool) -> PNAEqLayer:
    torch.manual_seed(3)
    config = PNAEqConfig(cutoff=CUTOFF, width=WIDTH, radial_size=4, typical_degree=DEGREE)
    return PNAEqLayer(config, first=first, last=last).double()


def aggregated(messages: np.ndarray, envelopes: np.ndarray) -> np.ndarray:
    """Four aggregators of one atom's messages [k, F], three times scaled: each with one more neighbour that is zero."""
    messages = np.vstack([messages, np.zeros((1, WIDTH))])
    weights = np.append(envelopes, SOFT.vacancy)[:, None]
    scores = SOFT.score_bound * np.tanh(SOFT.sharpness * messages / SOFT.score_bound)
    mean = (weights * messages).sum(0) / weights.sum()
    largest = (weights * np.exp(scores) * messages).sum(0) / (weights * np.exp(scores)).sum(0)
    smallest = (weights * np.exp(-scores) * messages).sum(0) / (weights * np.exp(-scores)).sum(0)
    variance = (weights * (messages - mean) ** 2).sum(0) / weights.sum()
    deviation = np.sqrt(variance + SOFT.variance_floor) - np.sqrt(SOFT.variance_floor)
    four = np.concatenate([mean, largest, smallest, deviation])
    degree = envelopes.sum()
    amplified = np.log(1 + degree) / np.log(1 + DEGREE)
    attenuated = np.log(1 + DEGREE) / np.log(1 + np.sqrt(degree**2 + SOFT.vacancy**2))
    return np.concatenate([four, four * amplified, four * attenuated])


@pytest.mark.parametrize("first", [True, False])
def test_a_layer_is_its_loops(first: bool, inputs: TensorInputs) -> None:
    net = layer(first=first, last=False)
    n_atoms = len(inputs.numbers)
    scalar = torch.randn(n_atoms, WIDTH, dtype=torch.float64)
    vector = None if first else torch.randn(n_atoms, 3, WIDTH, dtype=torch.float64)
    envelope = polynomial_envelope(inputs.distance, CUTOFF)
    radial = torch.randn(len(envelope), 4, dtype=torch.float64)
    with torch.no_grad():
        found = net(scalar, vector, (radial, envelope, inputs.direction), inputs.edges)
        collected = torch.zeros(n_atoms, 12 * WIDTH, dtype=torch.float64)
        moved = torch.zeros(n_atoms, 3, WIDTH, dtype=torch.float64) if vector is None else vector.clone()
        for atom in range(n_atoms):
            around = range(int(inputs.starts[atom]), int(inputs.starts[atom + 1]))
            assert len(around) > 10
            messages = []
            for edge in around:
                other = int(inputs.neighbour[edge])
                pair = net.from_centre(scalar[atom]) + net.from_neighbour(scalar[other]) + net.from_radial(radial[edge])
                sent = net.senders(torch.nn.functional.silu(pair)) * net.filters(radial[edge])
                messages.append(sent[:WIDTH].numpy())
                moved[atom] += torch.outer(inputs.direction[edge], sent[WIDTH : 2 * WIDTH])
                if vector is not None:
                    moved[atom] += sent[2 * WIDTH :] * vector[other]
            weights = envelope[around.start : around.stop].numpy()
            collected[atom] = torch.from_numpy(aggregated(np.array(messages), weights))
        updated = scalar + net.principal.network(torch.cat([scalar, collected], dim=1))
        left, right = net.mixers(moved).split(WIDTH, dim=2)
        norm = (right.square().sum(1) + NORM_FLOOR).sqrt()
        gates = net.gates(torch.cat([updated, norm], dim=1)).split(WIDTH, dim=1)
        expected = updated + gates[0] + gates[1] * (left * right).sum(1), moved + gates[2][:, None] * left
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_only_the_layers_between_have_all_parts() -> None:
    """The first meets no vectors, and after the last nothing needs them: no weight is idle."""
    network = PNAEq(PNAEqConfig(width=WIDTH, depth=3))
    assert [layer.senders.out_features // WIDTH for layer in network.layers] == [2, 3, 3]
    assert [layer.gates[2].out_features // WIDTH for layer in network.layers] == [3, 3, 2]
