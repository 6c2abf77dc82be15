"""CGCNN: gated convolutions over the bonds of a crystal."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.aggregation import SUM_SCALE
from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import GaussianBasis, polynomial_envelope


class CGCNNConfig(BackboneConfig):
    """Settings of `CGCNN`."""

    name: Literal["cgcnn"] = "cgcnn"


class CGCNN(Backbone):
    """Crystal graph convolutional network (Xie, Grossman, Phys. Rev. Lett. 120, 145301, 2018), eq. 5.

    Repaired against the contract: messages carry a smooth envelope (the original takes the 12 nearest neighbours, of
    which an atom's move can change one), and so do the Gaussians of the distance; of the batch normalisations, through
    which structures of a batch would see each other, the learnt scale of each feature's sum remains; the features of
    atoms are learnt embeddings instead of tabulated properties.
    """

    def __init__(self, config: CGCNNConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff = width, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = GaussianBasis(config.cutoff, config.radial_size)
        # gate and core side by side, in three parts that act on [centre, neighbour, radial]
        self.from_centre = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.from_neighbour = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for _ in range(depth))
        self.from_radial = nn.ModuleList(nn.Linear(config.radial_size, 2 * width, bias=False) for _ in range(depth))
        self.scales = nn.ParameterList(nn.Parameter(torch.full((width,), SUM_SCALE)) for _ in range(depth))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.scales)):
            features_NF = self.apart(self._layer, layer, features_NF, radial_EB, envelope_E, edges)
        return features_NF

    def _layer(self, layer: int, features_NF: Tensor, radial_EB: Tensor, envelope_E: Tensor, edges: Edges) -> Tensor:
        mixed_EX = (
            edges.gather_centre(self.from_centre[layer](features_NF))
            + edges.gather_neighbour(self.from_neighbour[layer](features_NF))
            + self.from_radial[layer](radial_EB)
        )
        gathered_NF = edges.sum_to_centre(gated(mixed_EX) * envelope_E[:, None])
        changed_NF: Tensor = features_NF + self.scales[layer] * gathered_NF
        return changed_NF


def gated(mixed_EX: Tensor) -> Tensor:
    """σ(z_f) · softplus(z_s): [E, 2F], first the gates and then the cores, to [E, F]."""
    gate_EF, core_EF = mixed_EX.chunk(2, dim=1)
    return torch.sigmoid(gate_EF) * nnf.softplus(core_EF)
