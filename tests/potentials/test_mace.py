"""MACE against mace-torch: equal features from equal weights, on a stored example (tests/gold/make_mace_torch.py)."""

import pytest
import torch

from potentials.backbones.base import AtomInputs
from potentials.backbones.mace import MACE, MACEConfig
from tests.potentials.peers import PeerExample

SETTINGS = {"cutoff": 4.0, "width": 2, "depth": 3, "radial_size": 3, "radial_widths": (4, 3)}


def test_the_same_weights_give_the_features_of_mace_torch() -> None:
    example = PeerExample.stored("mace_torch.npz")
    backbone = MACE(MACEConfig(average_neighbours=7.5, l_max=3, l_hidden=1, correlation=3, **SETTINGS)).double()
    example.load_into(backbone, but="readouts.")
    inputs, wanted = example.inputs(4.0), example.scalars
    told = AtomInputs(inputs.numbers, inputs.graph_index, inputs.atom_starts, None)
    found = torch.stack(backbone.scalars(told, inputs, inputs.edges))
    assert float(wanted.std(dim=1).min()) > 1e-3
    # a chain of some hundred operations in float64
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


def test_degrees_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"l_hidden is 2 and l_max 1; .* take l_hidden ≤ l_max"):
        MACEConfig(l_max=1, l_hidden=2)
