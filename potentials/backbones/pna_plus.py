"""PNA+: principal neighbourhood aggregation with distances in the messages."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, embed
from potentials.backbones.pna import PrincipalConfig, PrincipalUpdate
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope


class PNAPlusConfig(PrincipalConfig):
    """Settings of `PNAPlus`."""

    name: Literal["pna_plus"] = "pna_plus"


class PNAPlus(Backbone):
    """PNA with an embedded radial basis beside the two atoms in the message, and a filter of it on the message.

    The message is that of HydraGNN's PNAPlus (Lupo Pasini et al., ORNL): (W [x_i, x_j, silu(W' rbf + b)]) ⊙ (W'' rbf);
    the aggregation is that of Corso et al., NeurIPS 2020, repaired as in `PNA`. The radial basis carries a polynomial
    envelope and knows periodic images.
    """

    def __init__(self, config: PNAPlusConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff = width, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.from_centre = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.from_neighbour = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.radial_embeddings = nn.ModuleList(nn.Linear(config.radial_size, width) for _ in range(depth))
        self.from_radial = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.filters = nn.ModuleList(nn.Linear(config.radial_size, width, bias=False) for _ in range(depth))
        self.updates = nn.ModuleList(PrincipalUpdate(width, config.typical_degree) for _ in range(depth))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.updates)):
            features_NF = self.apart(self._layer, layer, features_NF, radial_EB, envelope_E, edges)
        return features_NF

    def _layer(self, layer: int, features_NF: Tensor, radial_EB: Tensor, envelope_E: Tensor, edges: Edges) -> Tensor:
        embedded_EF = nnf.silu(self.radial_embeddings[layer](radial_EB))
        mixed_EF = (
            edges.gather_centre(self.from_centre[layer](features_NF))
            + edges.gather_neighbour(self.from_neighbour[layer](features_NF))
            + self.from_radial[layer](embedded_EF)
        )
        messages_EF = mixed_EF * self.filters[layer](radial_EB)
        changed_NF: Tensor = self.updates[layer](features_NF, messages_EF, envelope_E, edges)
        return changed_NF
