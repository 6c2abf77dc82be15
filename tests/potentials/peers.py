"""Stored examples of other packages: weights as ours have them, a structure, and what the other package said."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.backbones.base import Backbone
from potentials.derivatives import TensorInputs, prepare
from potentials.structures import graph_from_atoms

GOLD = Path(__file__).parents[1] / "gold"


@dataclass(frozen=True)
class PeerExample:
    """Weights by name, tables with rows of `elements` alone; invariant features after each layer, [layers, N, C]."""

    atoms: Atoms
    elements: Tensor
    scalars: Tensor
    weights: dict[str, Tensor]

    @staticmethod
    def stored(name: str) -> "PeerExample":
        with np.load(GOLD / name) as stored:
            arrays = dict(stored)
        atoms = Atoms(arrays.pop("numbers"), arrays.pop("positions"), cell=arrays.pop("cell"), pbc=True)
        tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
        return PeerExample(atoms, tensors.pop("elements"), tensors.pop("scalars"), tensors)

    def inputs(self, cutoff: float) -> TensorInputs:
        return prepare(graph_from_atoms(self.atoms, cutoff), torch.float64)

    def load_into(self, backbone: Backbone, *, but: str = "") -> None:
        """Set all weights, except those whose names begin with `but`."""
        weights = dict(backbone.named_parameters())
        assert {name for name in weights if not (but and name.startswith(but))} == self.weights.keys()
        with torch.no_grad():
            for name, value in self.weights.items():
                rows = self.elements if weights[name].shape[0] == 119 else slice(None)
                assert weights[name][rows].shape == value.shape, name
                weights[name][rows] = value
