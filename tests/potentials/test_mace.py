"""MACE against mace-torch: equal features from equal weights, on a stored example (tests/gold/make_mace_torch.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from potentials.backbones.base import AtomInputs
from potentials.backbones.mace import MACE, MACEConfig
from potentials.derivatives import prepare
from potentials.structures import graph_from_atoms

GOLD = Path(__file__).parents[1] / "gold" / "mace_torch.npz"
SETTINGS = {"cutoff": 4.0, "width": 2, "depth": 3, "radial_size": 3, "radial_widths": (4, 3)}


def test_the_same_weights_give_the_features_of_mace_torch() -> None:
    with np.load(GOLD) as stored:
        arrays = dict(stored)
    atoms = Atoms(arrays.pop("numbers"), arrays.pop("positions"), cell=arrays.pop("cell"), pbc=True)
    elements, wanted = arrays.pop("elements"), torch.from_numpy(arrays.pop("scalars"))
    backbone = MACE(MACEConfig(average_neighbours=7.5, l_max=3, l_hidden=1, correlation=3, **SETTINGS)).double()
    weights = dict(backbone.named_parameters())
    assert {name for name in weights if not name.startswith("readouts.")} == arrays.keys()
    with torch.no_grad():
        for name, value in arrays.items():
            rows = elements if weights[name].shape[0] == 119 else slice(None)
            assert weights[name][rows].shape == value.shape
            weights[name][rows] = torch.from_numpy(value)
    inputs = prepare(graph_from_atoms(atoms, 4.0), torch.float64)
    told = AtomInputs(inputs.numbers, inputs.graph_index, inputs.atom_starts, None)
    found = torch.stack(backbone.scalars(told, inputs, inputs.edges))
    assert float(wanted.std(dim=1).min()) > 1e-3
    # a chain of some hundred operations in float64
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


def test_degrees_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"l_hidden is 2 and l_max 1; .* take l_hidden ≤ l_max"):
        MACEConfig(l_max=1, l_hidden=2)
