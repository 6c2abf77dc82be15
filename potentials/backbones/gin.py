"""GIN: sums over neighbours that tell multisets apart."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from potentials.backbones.aggregation import SUM_SCALE, EdgeWeights
from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope


class GINConfig(BackboneConfig):
    """Settings of `GIN`."""

    name: Literal["gin"] = "gin"


class GIN(Backbone):
    """Graph isomorphism network (Xu, Hu, Leskovec, Jegelka, ICLR 2019), GIN-ε.

    Repaired against the contract: the original knows no distances, so a neighbour counts by its envelope and by a
    learnt function of its distance (`EdgeWeights`); SiLU for ReLU; no batch normalisation, through which structures of
    a batch would see each other. Layers are residual.
    """

    def __init__(self, config: GINConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff = width, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.weights = nn.ModuleList(EdgeWeights(config.radial_size, width, SUM_SCALE) for _ in range(depth))
        self.epsilons = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(depth))
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.networks)):
            features_NF = self.apart(self._layer, layer, features_NF, radial_EB, envelope_E, edges)
        return features_NF

    def _layer(self, layer: int, features_NF: Tensor, radial_EB: Tensor, envelope_E: Tensor, edges: Edges) -> Tensor:
        weights_EF = self.weights[layer](radial_EB, envelope_E)
        multiset_NF = isomorphism_sum(features_NF, weights_EF, self.epsilons[layer], edges)
        changed_NF: Tensor = features_NF + self.networks[layer](multiset_NF)
        return changed_NF


def isomorphism_sum(features_NF: Tensor, weights_EF: Tensor, epsilon: Tensor, edges: Edges) -> Tensor:
    """(1 + ε) x_i + Σ_j w_ij x_j (eq. 4.1 of the paper, where w is 1): [N, F], [E, F] or [E, 1], and [1], to [N, F]."""
    return (1 + epsilon) * features_NF + edges.sum_to_centre(edges.gather_neighbour(features_NF) * weights_EF)
