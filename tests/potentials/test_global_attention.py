"""What GPS's attention does to physics beyond the contract: what it says of itself holds."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from potentials.backbones.gat import GATConfig
from potentials.backbones.gps import GPSConfig
from potentials.potential import Potential, PotentialConfig
from potentials.structures import graph_from_atoms

CUTOFF = 4.0


@pytest.fixture
def gps() -> Potential:
    backbone = GPSConfig(cutoff=CUTOFF, width=8, depth=2, radial_size=6)
    return Potential(PotentialConfig(backbone=backbone, heads=("a",), head_width=8), seed=1).double()


def energy(potential: Potential, atoms: Atoms) -> float:
    with torch.no_grad():
        return float(potential(graph_from_atoms(atoms, CUTOFF))["energy"])


def shifted(atoms: Atoms, distance: float) -> Atoms:
    moved = atoms.copy()
    moved.translate([distance, 0.0, 0.0])
    return moved


def test_far_fragments_see_each_other_wherever_they_are(gps: Potential) -> None:
    water, methanol = molecule("H2O"), molecule("CH3OH")
    turned = methanol.copy()
    turned.rotate(50, (1, 2, 3))
    together = [
        energy(gps, water + shifted(other, far)) for other, far in ((methanol, 20), (methanol, 500), (turned, 20))
    ]
    assert np.ptp(together) < 1e-12
    # not additive, as its docstring says
    assert abs(together[0] - energy(gps, water) - energy(gps, methanol)) > 1e-4
    # but two of a kind are twice one
    assert energy(gps, water + shifted(water, 20)) == pytest.approx(2 * energy(gps, water), abs=1e-12)


def test_an_atom_alone_neither_sees_nor_is_seen(gps: Potential) -> None:
    water, atom = molecule("H2O"), Atoms("O")
    assert energy(gps, water + shifted(atom, 20)) == pytest.approx(energy(gps, water) + energy(gps, atom), abs=1e-12)


def test_a_fragment_that_falls_apart_leaves_the_attention_smoothly(gps: Potential) -> None:
    """Water beside a pair whose bond reaches the cutoff, from one part in 30 to one in 3,000 before it."""
    water = molecule("H2O")
    broken = energy(gps, water) + 2 * energy(gps, Atoms("H"))
    left = []
    for gap in (1e-1, 1e-2, 1e-3):
        pair = Atoms("H2", positions=[[20, 0, 0], [20 + CUTOFF * (1 - gap), 0, 0]])
        left.append(abs(energy(gps, water + pair) - broken))
    assert left[0] > 1e-6
    # an envelope falls with the third power of the gap; more than the second is asked
    assert left[1] < left[0] / 100
    assert left[2] < max(left[1] / 100, 1e-13)


@pytest.mark.parametrize("config", [GPSConfig, GATConfig])
def test_heads_share_the_width(config: type[GPSConfig] | type[GATConfig]) -> None:
    with pytest.raises(ValueError, match="width is 10; it must be a multiple of attention_heads, which is 4"):
        config(width=10)
