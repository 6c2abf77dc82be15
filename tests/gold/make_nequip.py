"""How `nequip.npz` was made: random weights of layers of nequip, as `NequIP` has them, and what those layers said.

    python tests/gold/make_nequip.py     # in an environment with nequip 0.19.1 and this package

Its skip connections have a matrix for each element: here they are those that `NequIP` can have, one matrix with a
factor for each element and channel before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from e3nn import o3
from e3nn.math import normalize2mom
from nequip.nn import ConvNetLayer
from nequip.nn.embedding.cutoffs import PolynomialCutoff
from torch import Tensor

from potentials.backbones.nequip import ENVELOPE_ORDER, NequIP, NequIPConfig, NequIPLayer
from potentials.derivatives import TensorInputs, prepare
from potentials.radial_networks import SILU_GAIN
from potentials.structures import graph_from_atoms

GOLD = Path(__file__).parent / "nequip.npz"
ELEMENTS, WIDTH = [1, 8, 29], 2
CONFIG = NequIPConfig(
    cutoff=4.0, width=WIDTH, depth=3, radial_size=3, l_max=2, average_neighbours=7.5, radial_widths=(4, 4)
)
HARMONICS = o3.Irreps.spherical_harmonics(CONFIG.l_max)


def peer(ours: NequIPLayer, before: o3.Irreps) -> ConvNetLayer:
    """nequip's layer of the same kinds of features."""
    after = o3.Irreps([(WIDTH, (kind.degree, (-1) ** kind.degree)) for kind in ours.after])
    inputs = {
        "node_features": before,
        "node_attrs": o3.Irreps(f"{len(ELEMENTS)}x0e"),
        "edge_attrs": HARMONICS,
        "edge_embedding": o3.Irreps(f"{CONFIG.radial_size}x0e"),
    }
    radial = {"radial_mlp_depth": len(CONFIG.radial_widths), "radial_mlp_width": CONFIG.radial_widths[0]}
    names = [str(number) for number in ELEMENTS]
    convolution = {**radial, "is_first_layer": True, "type_names": names, "avg_num_neighbors": CONFIG.neighbours}
    return ConvNetLayer(inputs, after, convolution_kwargs=convolution)


def sign(path: tuple[int, int, int]) -> float:
    """Of e3nn's coupling of harmonics of one direction: ours is positive."""
    point = torch.nn.functional.normalize(torch.randn(1, 3), dim=1)
    a, b, c = (o3.spherical_harmonics(degree, point, normalize=True)[0] for degree in path)
    return float(torch.sign(torch.einsum("abc,a,b,c->", o3.wigner_3j(*path), a, b, c)))


def linear_weights(linear: Any) -> list[Tensor]:
    """[channels, channels] of each degree, of an e3nn linear map of one block a degree."""
    views = zip(linear.instructions, linear.weight_views(), strict=True)
    return [weight * path.path_weight for path, weight in views]


def layer_weights(ours: NequIPLayer, theirs: ConvNetLayer, ratio: float) -> dict[str, Tensor]:
    """Names and weights of one of our layers; `ratio` is that of nequip's features before it to ours."""
    conv, state = theirs.conv, {}
    for number, weight in enumerate(linear_weights(conv.linear_1)):
        state[f"first.weights.{number}"] = weight * ratio
    product = conv.tp_scatter.tp
    paths = [
        (product.irreps_in1[one.i_in1].ir.l, product.irreps_in2[one.i_in2].ir.l, product.irreps_out[one.i_out].ir.l)
        for one in product.instructions
    ]
    ends = [(ours.coupling.left[a], ours.coupling.right[b], ours.coupling.out[o]) for a, b, o in ours.coupling.paths]
    layers = [layer for layer in conv.edge_mlp.mlp if hasattr(layer, "alpha")]
    for number, layer in enumerate(layers):
        weight = layer.weight * layer.alpha
        if number == 0:  # sin(n π r / c) / (π r / c) there, sqrt(2 / c) sin(n π r / c) / r here
            weight = weight / (2 / CONFIG.cutoff) ** 0.5 / (np.pi / CONFIG.cutoff)
        if number == len(layers) - 1:
            signs = torch.tensor([sign(path) for path in ends])[:, None]
            order = [paths.index(path) for path in ends]
            weight = (weight.reshape(-1, len(paths), WIDTH)[:, order] * signs).flatten(1)
        state[f"radial.network.{2 * number}.weight"] = weight.T
    for number, weight in enumerate(linear_weights(conv.linear_2)):
        state[f"second.weights.{number}"] = weight / CONFIG.neighbours**0.5
    factors = torch.randn(len(ELEMENTS), WIDTH)
    state["factors.weight"] = factors
    for number, (path, weight) in enumerate(zip(conv.sc.instructions, conv.sc.weight_views(), strict=True)):
        matrix = torch.randn(WIDTH, weight.shape[2])
        assert path.i_in1 == number
        size = (2 * ours.kept[number].degree + 1) ** 0.5  # e3nn's coupling to a scalar is one over it
        weight.copy_(torch.einsum("eu,uw->uew", factors, matrix) * size / path.path_weight)
        state[f"skip.weights.{number}"] = matrix * ratio
    return state


def basis(distance_E: Tensor, frequencies: Tensor) -> Tensor:
    """[E, B] radial functions as `BesselEdgeLengthEncoding` makes them, with frequencies rounded as ours are."""
    x = (distance_E / CONFIG.cutoff)[:, None]
    numbers = frequencies * CONFIG.cutoff / np.pi
    return torch.sinc(x * numbers) * numbers * PolynomialCutoff(ENVELOPE_ORDER)(x)


def data_of(inputs: TensorInputs, atoms: Atoms, ours: NequIP) -> dict[str, Tensor]:
    """What nequip's layers read, but for features."""
    types = torch.eye(len(ELEMENTS))[[ELEMENTS.index(number) for number in atoms.numbers]]
    return {
        "pos": torch.zeros(len(atoms), 3),
        "node_attrs": types,
        "edge_index": torch.stack([inputs.centre, inputs.neighbour]),
        "edge_attrs": o3.spherical_harmonics(HARMONICS, inputs.direction, normalize=True, normalization="component"),
        "edge_embedding": basis(inputs.distance, ours.layers[0].radial.basis.frequency_B.double()),
    }


def main() -> None:
    """Write the file."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    ours = NequIP(CONFIG)
    random = np.random.default_rng(1)
    atoms = Atoms(numbers=[1, 8, 29, 8, 1, 29], positions=random.uniform(0, 5, (6, 3)), cell=np.eye(3) * 5.2, pbc=True)
    data = data_of(prepare(graph_from_atoms(atoms, CONFIG.cutoff), torch.float64), atoms, ours)
    embedding = torch.randn(len(ELEMENTS), WIDTH)
    state, data["node_features"] = {"embedding.weight": embedding}, data["node_attrs"] @ embedding
    irreps, ratio, scalars = o3.Irreps(f"{WIDTH}x0e"), 1.0, []
    for number, layer in enumerate(ours.layers):
        theirs = peer(layer, irreps)
        with torch.no_grad():
            for name, value in layer_weights(layer, theirs, ratio).items():
                state[f"layers.{number}.{name}"] = value
            data = theirs(data)
        irreps = theirs.irreps_out["node_features"]
        # both make activations of size 1, with constants of four digits here
        ratio = normalize2mom(torch.nn.functional.silu).cst / SILU_GAIN
        scalars.append(data["node_features"][:, :WIDTH] / ratio)
    arrays = {name: value.detach().numpy() for name, value in {**state, "scalars": torch.stack(scalars)}.items()}
    positions, cell = atoms.positions, atoms.cell.array
    np.savez_compressed(GOLD, numbers=atoms.numbers, positions=positions, cell=cell, elements=ELEMENTS, **arrays)


if __name__ == "__main__":
    main()
