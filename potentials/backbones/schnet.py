"""SchNet: continuous-filter convolutions."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import GaussianBasis, polynomial_envelope

LOG2 = 0.6931471805599453


class SchNetConfig(BackboneConfig):
    """Settings of `SchNet`."""

    name: Literal["schnet"] = "schnet"


class ShiftedSoftplus(nn.Module):
    """softplus(x) - ln 2: smooth, and zero at zero."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return nnf.softplus(x) - LOG2


class SchNet(Backbone):
    """SchNet (Schütt et al., J. Chem. Phys. 148, 241722, 2018).

    Repaired against the contract: the filter is multiplied by a polynomial envelope (the original's filters, with their
    biases, jump at the cutoff), and edges know periodic images.
    """

    def __init__(self, config: SchNetConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff = width, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = GaussianBasis(config.cutoff, config.radial_size)
        self.filters = nn.ModuleList(
            nn.Sequential(nn.Linear(config.radial_size, width), ShiftedSoftplus(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.inputs = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.outputs = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), ShiftedSoftplus(), nn.Linear(width, width)) for _ in range(depth)
        )

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.filters)):
            features_NF = self.apart(self._layer, layer, features_NF, radial_EB, envelope_E, edges)
        return features_NF

    def _layer(self, layer: int, features_NF: Tensor, radial_EB: Tensor, envelope_E: Tensor, edges: Edges) -> Tensor:
        filter_EF = self.filters[layer](radial_EB) * envelope_E[:, None]
        messages_EF = edges.gather_neighbour(self.inputs[layer](features_NF)) * filter_EF
        changed_NF: Tensor = features_NF + self.outputs[layer](edges.sum_to_centre(messages_EF))
        return changed_NF
