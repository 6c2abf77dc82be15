"""How `mace_torch.npz` was made: random weights of a mace-torch model, as `MACE` has them, and what the model said.

    python tests/gold/make_mace_torch.py     # in an environment with mace-torch 0.3.16, e3nn 0.4.4 and this package

It also asserts what the translation rests on: each power of each degree spans the same space in both. For third powers
of degrees up to 3, mace-torch has 23 paths to scalars and 51 to vectors; 8 and 12 are independent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from mace import modules
from mace.modules.models import o3  # e3nn's, which loads its constants after mace has let it
from torch import Tensor

from potentials.backbones.mace import MACE, MACEConfig
from potentials.backbones.many_body import ManyBodyLayer
from potentials.derivatives import prepare
from potentials.product_basis import SymmetricProduct
from potentials.spherical import real_harmonics
from potentials.structures import graph_from_atoms

GOLD = Path(__file__).parent / "mace_torch.npz"
ELEMENTS, WIDTH = [1, 8, 29], 2
CONFIG = MACEConfig(
    cutoff=4.0,
    width=WIDTH,
    depth=3,
    radial_size=3,
    l_max=3,
    l_hidden=1,
    correlation=3,
    average_neighbours=7.5,
    radial_widths=(4, 3),
)


def peer() -> torch.nn.Module:
    """mace-torch's model of the same settings."""
    hidden = "+".join(f"{WIDTH}x{degree}{'oe'[degree % 2 == 0]}" for degree in range(CONFIG.l_hidden + 1))
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.MACE(
        r_max=CONFIG.cutoff,
        num_bessel=CONFIG.radial_size,
        num_polynomial_cutoff=5,
        max_ell=CONFIG.l_max,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=CONFIG.depth,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("2x0e"),
        atomic_energies=np.zeros(len(ELEMENTS)),
        avg_num_neighbors=CONFIG.average_neighbours,
        atomic_numbers=ELEMENTS,
        correlation=CONFIG.correlation,
        gate=torch.nn.functional.silu,
        radial_MLP=list(CONFIG.radial_widths),
    )


def turn(degree: int) -> Tensor:
    """[2l + 1, 2l + 1] takes e3nn's components of one degree to ours."""
    points = torch.nn.functional.normalize(torch.randn(40, 3), dim=1)
    theirs = o3.spherical_harmonics(degree, points, normalize=True, normalization="component")
    ours = real_harmonics(points, degree)[:, degree**2 :]
    solved = torch.linalg.lstsq(theirs, ours).solution.T
    assert float((theirs @ solved.T - ours).abs().max()) < 1e-12
    return solved


def sign(path: tuple[int, int, int]) -> float:
    """Of e3nn's coupling of harmonics of one direction: ours is positive."""
    point = torch.nn.functional.normalize(torch.randn(1, 3), dim=1)
    a, b, c = (o3.spherical_harmonics(degree, point, normalize=True)[0] for degree in path)
    return float(torch.sign(torch.einsum("abc,a,b,c->", o3.wigner_3j(*path), a, b, c)))


def linear_weights(linear: Any) -> dict[tuple[int, int], Tensor]:
    """(number of the irreps in, out) to [channels, channels], of an e3nn linear map."""
    views = zip(linear.instructions, linear.weight_views(), strict=True)
    return {(path.i_in, path.i_out): weight * path.path_weight for path, weight in views}


def by_degree(linear: Any) -> Tensor:
    """[l, channels, channels] of a map with one set of irreps a degree."""
    weights = linear_weights(linear)
    return torch.stack([weights[degree, degree] for degree in range(len(weights))])


def layer_weights(ours: ManyBodyLayer, interaction: Any, product: Any) -> dict[str, Tensor]:
    """Names and weights of one of our layers, tables with rows for `ELEMENTS` alone."""
    state = {"before.weight_LCD": by_degree(interaction.linear_up), "after.weight_LCD": by_degree(product.linear)}
    ends = [(ours.coupling.left[a], ours.coupling.right[b], ours.coupling.out[o]) for a, b, o in ours.coupling.paths]
    conv = interaction.conv_tp
    theirs = [
        (conv.irreps_in1[ins.i_in1].ir.l, conv.irreps_in2[ins.i_in2].ir.l, conv.irreps_out[ins.i_out].ir.l)
        for ins in conv.instructions
    ]
    order = [theirs.index(path) for path in ends]
    layers = list(interaction.conv_tp_weights)
    for number, layer in enumerate(layers):
        weight = layer.weight / layer.h_in**0.5
        if number:
            weight = weight * layers[number - 1].act.cst  # SiLU of unit variance there, as it is here
        if number == len(layers) - 1:
            signs = torch.tensor([sign(path) for path in ends])[:, None]
            weight = (weight.reshape(-1, len(theirs), WIDTH)[:, order] * signs).flatten(1)
        state[f"radial.network.{2 * number}.weight"] = weight.T
    mixed = linear_weights(interaction.linear)
    slots = [conv.instructions[place].i_out for place in order]
    for degree in range(CONFIG.l_max + 1):
        rows = [mixed[slot, degree] for slot, path in zip(slots, ends, strict=True) if path[2] == degree]
        state[f"mix.weights.{degree}"] = torch.cat(rows) / CONFIG.average_neighbours
    for power, table in enumerate(product_weights(ours.products, product.symmetric_contractions)):
        state[f"products.tables.{power}.weight"] = table
    return state


def product_weights(ours: SymmetricProduct, theirs: Any) -> list[Tensor]:
    """[elements, paths · channels] of each power, from the values that each path has alone."""
    samples = torch.randn(80, (CONFIG.l_max + 1) ** 2)
    turned = torch.cat([samples[:, d * d : (d + 1) ** 2] @ turn(d).T for d in range(CONFIG.l_max + 1)], dim=1)
    tables = []
    for power in range(1, CONFIG.correlation + 1):
        columns = []
        for degree, contraction in enumerate(theirs.contractions):
            alone = our_paths(ours, power, degree, turned)
            weight = (contraction.weights_max, *contraction.weights)[CONFIG.correlation - power]
            expected = their_paths(contraction, power, samples) @ turn(degree).T
            solved = torch.linalg.lstsq(alone.flatten(1).T, expected.flatten(1).T).solution  # [ours, theirs]
            back = torch.linalg.lstsq(expected.flatten(1).T, alone.flatten(1).T, driver="gelsd").solution
            for one, two, by in ((alone, expected, solved), (expected, alone, back)):
                assert float((one.flatten(1).T @ by - two.flatten(1).T).abs().max()) < 1e-10, (power, degree)
            columns.append(torch.einsum("pk,ekc->epc", solved, weight))
        tables.append(torch.cat(columns, dim=1).flatten(1))
    return tables


def our_paths(layer: SymmetricProduct, power: int, degree: int, samples: Tensor) -> Tensor:
    """[paths, samples, 2l + 1] values of those of one power and degree, each with weight 1."""
    probe = SymmetricProduct(CONFIG.l_max, max(layer.powers.first.out), CONFIG.correlation, 1, 1)
    numbers = torch.zeros(len(samples), dtype=torch.int64)
    found = []
    for table in probe.tables:
        table.get_parameter("weight").data.zero_()
    weight = probe.tables[power - 1].get_parameter("weight").data
    for path in range(weight.shape[1]):
        weight.zero_()
        weight[0, path] = 1.0
        value = probe(samples[:, :, None], numbers)[:, degree**2 : (degree + 1) ** 2, 0].detach()
        if float(value.abs().max()) > 1e-12:
            found.append(value)
    return torch.stack(found)


def their_paths(contraction: Any, power: int, samples: Tensor) -> Tensor:
    """[paths, samples, 2l + 1]: mace-torch's tensors of one power, contracted with the feature."""
    values = contraction.U_tensors(power)
    if values.dim() == power + 1:  # scalars have no dimension of their own
        values = values[None]
    places = "abc"[:power]
    return torch.einsum(f"m{places}k,{','.join('n' + place for place in places)}->knm", values, *[samples] * power)


def weights_of(model: Any, ours: MACE) -> dict[str, Tensor]:
    """All weights but those of the readouts."""
    scale = model.node_embedding.linear.weight.reshape(len(ELEMENTS), WIDTH) / len(ELEMENTS) ** 0.5
    state = {"embedding.weight": scale}
    for number, (layer, interaction, product) in enumerate(
        zip(ours.layers, model.interactions, model.products, strict=True)
    ):
        for name, value in layer_weights(layer, interaction, product).items():
            state[f"layers.{number}.{name}"] = value
        skips = [
            weight * ins.path_weight / (2 * degree + 1) ** 0.5
            for degree, (ins, weight) in enumerate(
                zip(interaction.skip_tp.instructions, interaction.skip_tp.weight_views(), strict=True)
            )
        ]
        if number == 0:
            state["first_skip.weight"] = torch.einsum("eu,uew->ew", scale, skips[0])
        else:
            for degree, weight in enumerate(skips):
                state[f"skips.{number - 1}.tables.{degree}.weight"] = weight.transpose(0, 1).flatten(1)
    return state


def main() -> None:
    """Write the file."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    model, ours = peer(), MACE(CONFIG)
    # n π / cutoff is rounded to float32 here
    model.radial_embedding.bessel_fn.bessel_weights.data = ours.layers[0].radial.basis.frequency_B.double()
    random = np.random.default_rng(1)
    atoms = Atoms(numbers=[1, 8, 29, 8, 1, 29], positions=random.uniform(0, 5, (6, 3)), cell=np.eye(3) * 5.2, pbc=True)
    graph = graph_from_atoms(atoms, CONFIG.cutoff)
    inputs = prepare(graph, torch.float64)
    data = {
        "positions": graph.positions,
        "node_attrs": torch.eye(3)[[ELEMENTS.index(number) for number in atoms.numbers]],
        "edge_index": torch.stack([inputs.neighbour, inputs.centre]),
        # mace-torch's edges point from the neighbour to the centre
        "shifts": -graph.edge_shift @ graph.cell[0],
        "unit_shifts": -graph.edge_shift,
        "cell": graph.cell[0],
        "batch": graph.graph_index,
        "ptr": torch.tensor([0, len(atoms)]),
        "head": torch.zeros(1, dtype=torch.int64),
    }
    said = model(data, compute_force=False)["node_feats"].detach()
    sizes = [WIDTH * (CONFIG.l_hidden + 1) ** 2] * (CONFIG.depth - 1) + [WIDTH]
    scalars = torch.stack([part[:, :WIDTH] for part in said.split(sizes, dim=1)])
    state = {name: value.detach() for name, value in weights_of(model, ours).items()}
    arrays = {name: value.numpy() for name, value in {**state, "scalars": scalars}.items()}
    positions, cell = atoms.positions, atoms.cell.array
    np.savez_compressed(GOLD, numbers=atoms.numbers, positions=positions, cell=cell, elements=ELEMENTS, **arrays)


if __name__ == "__main__":
    main()
