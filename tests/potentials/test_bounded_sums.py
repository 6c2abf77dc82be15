"""Sums over neighbours that are bounded before they are multiplied."""

import pytest
import torch
from ase import Atoms
from ase.build import bulk

from potentials.backbones import BACKBONES
from potentials.backbones.many_body import bounded
from potentials.potential import Potential, PotentialConfig
from potentials.structures import graph_from_atoms


def test_small_sums_stay_and_large_ones_have_mean_square_one() -> None:
    sums_NMC = torch.randn(5, 16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(bounded(1e-5 * sums_NMC), 1e-5 * sums_NMC, rtol=1e-7, atol=0)
    large = bounded(1e5 * sums_NMC)
    torch.testing.assert_close(large.square().sum(1).mean(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(large / sums_NMC, (large / sums_NMC)[:, :1, :1].expand(5, 16, 8))


def energy(potential: Potential, atoms: Atoms) -> float:
    return float(potential(graph_from_atoms(atoms, potential.cutoff))["energy"][0].detach()) / len(atoms)


@pytest.mark.parametrize("name", ["ember", "mace"])
def test_the_energy_of_compressed_matter_stays_bounded(name: str) -> None:
    """Twelve times the neighbours: products of three unbounded sums grow by far more than the bounded ones."""

    def growth(*, bounded: bool) -> float:
        backbone = BACKBONES[name][0](cutoff=4.0, width=8, depth=2, radial_size=6, bounded=bounded)
        potential = Potential(PotentialConfig(backbone=backbone, heads=("one",), head_width=8), seed=1)
        for layer in potential.backbone.layers:  # as after a training on molecules: of the size of one at 15 neighbours
            for weight in layer.mix.parameters():
                weight.data *= 30
        near = [energy(potential, bulk("Cu", "fcc", a, cubic=True)) for a in (3.6, 2.0)]
        return abs(near[1] - near[0])

    assert growth(bounded=True) < growth(bounded=False) / 20
