"""GraphSAGE: an atom beside the mean of its neighbours."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.aggregation import EdgeWeights, mean, smooth_degree
from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope


class SAGEConfig(BackboneConfig):
    """Settings of `SAGE`."""

    name: Literal["sage"] = "sage"


class SAGE(Backbone):
    """GraphSAGE with the mean aggregator (Hamilton, Ying, Leskovec, NeurIPS 2017).

    Repaired against the contract: all neighbours, where the original draws some at random; the original knows no
    distances, so a neighbour counts by its envelope and by a learnt function of its distance (`EdgeWeights`); the mean
    is the sum over 1 plus the sum of envelopes, so that it does not jump; SiLU for ReLU, and no division by the norm of
    the features, which has no derivative at zero. Layers are residual.
    """

    def __init__(self, config: SAGEConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff = width, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.weights = nn.ModuleList(EdgeWeights(config.radial_size, width) for _ in range(depth))
        self.from_self = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.from_neighbours = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.outputs = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        degree_N = smooth_degree(envelope_E, edges)
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.outputs)):
            features_NF = self.apart(self._layer, layer, features_NF, degree_N, (radial_EB, envelope_E), edges)
        return features_NF

    def _layer(
        self, layer: int, features_NF: Tensor, degree_N: Tensor, around: tuple[Tensor, Tensor], edges: Edges
    ) -> Tensor:
        weighted_EF = edges.gather_neighbour(features_NF) * self.weights[layer](*around)
        mean_NF = mean(weighted_EF, degree_N, edges)
        seen_NF = self.from_self[layer](features_NF) + self.from_neighbours[layer](mean_NF)
        changed_NF: Tensor = features_NF + self.outputs[layer](nnf.silu(seen_NF))
        return changed_NF
