"""Radial networks of the distance alone: their end at the cutoff, and the tables that stand for them."""

from typing import Any

import pytest
import torch
from ase.build import bulk

from potentials.backbones import BACKBONES
from potentials.graph import AtomicGraph
from potentials.potential import Potential, PotentialConfig
from potentials.radial import BesselBasis
from potentials.radial_networks import SILU_GAIN, RadialNetwork
from potentials.structures import graph_from_atoms


def crystal() -> AtomicGraph:
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:2] = 13
    atoms.rattle(0.1, seed=3)
    return graph_from_atoms(atoms, 4.0)


@pytest.mark.parametrize("order", [5, 6])
def test_factors_end_smoothly_at_the_cutoff(order: int) -> None:
    torch.manual_seed(0)
    network = RadialNetwork(BesselBasis(4.0, 6), (8, 8), (2, 3), order).double()
    with torch.no_grad():
        assert network(torch.tensor([2.0], dtype=torch.float64)).shape == (1, 2, 3)
        assert not network(torch.tensor([4.0, 4.1], dtype=torch.float64)).any()
        near, nearer = (
            float(network(4.0 - torch.tensor([step], dtype=torch.float64)).abs().max()) for step in (1e-2, 1e-3)
        )
    # the envelope goes with the third power of the distance from the cutoff, the Bessel functions with the first
    assert nearer / near == pytest.approx(1e-4, rel=0.2)


def test_values_keep_their_size_through_the_layers() -> None:
    torch.manual_seed(0)
    network = RadialNetwork(BesselBasis(4.0, 64), (200, 200), (1, 200), 6).network
    assert float(network(torch.randn(500, 64)).detach().std()) == pytest.approx(1.0, rel=0.1)
    normal = torch.randn(100_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert SILU_GAIN * float(torch.nn.functional.silu(normal).square().mean()) ** 0.5 == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("name", "settings"), [("mace", {}), ("nequip", {"depth": 2}), ("nequip", {"depth": 4, "parities": "both"})]
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script.* is deprecated:DeprecationWarning")  # torch's own import
def test_a_potential_with_tables_says_the_same(name: str, settings: dict[str, Any]) -> None:
    backbone = BACKBONES[name][0](**{"cutoff": 4.0, "width": 8, "radial_size": 6, "l_max": 2} | settings)
    potential = Potential(PotentialConfig(backbone=backbone, heads=("emt",), head_width=8), seed=1).double()
    tables = potential.tabulated()
    assert tables is not None
    exact = potential(crystal())
    with torch.no_grad():
        found = tables(crystal())
    assert float(exact["forces"].detach().abs().max()) > 1e-3
    for quantity, value in exact.items():
        wanted = value.detach()
        # tables are within 1e-11 of the largest factor, their slopes some hundred times as far
        bound = 1e-8 * max(float(wanted.abs().max()), float(exact["forces"].detach().abs().max()))
        assert float((found[quantity] - wanted).abs().max()) < bound, quantity
