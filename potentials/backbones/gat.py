"""GATv2: attention among neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.aggregation import VACANCY, AttentionConfig, bounded
from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope

Score = Callable[[Tensor], Tensor]
"""[..., H, C] mixed features to [..., H] scores."""


class GATConfig(AttentionConfig):
    """Settings of `GAT`."""

    name: Literal["gat"] = "gat"


class GAT(Backbone):
    """Graph attention network, second version (Brody, Alon, Yahav, ICLR 2022); several heads, distances in scores.

    Repaired against the contract: each exponential of the softmax has the envelope as a factor, and a vacancy of score
    and value zero stands in it, so that a neighbour that leaves takes its weight with it, and a lone one's weight does
    not stay 1. The vacancy takes the place of the atom's own loop: among atoms of one element all values are equal,
    and without it the mean of them would be blind to where they are. Scores are bounded smoothly instead of reduced by
    their largest; SiLU for the leaky ReLU; no dropout. Layers are residual.
    """

    def __init__(self, config: GATConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff, self.n_heads = width, config.cutoff, config.attention_heads
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.from_centre = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.from_neighbour = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.from_radial = nn.ModuleList(nn.Linear(config.radial_size, width, bias=False) for _ in range(depth))
        per_head = width // config.attention_heads
        self.scorers = nn.ParameterList(
            nn.Parameter(torch.randn(config.attention_heads, per_head) / per_head**0.5) for _ in range(depth)
        )
        self.outputs = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.outputs)):
            features_NF = self.apart(self._layer, layer, features_NF, radial_EB, envelope_E, edges)
        return features_NF

    def _layer(self, layer: int, features_NF: Tensor, radial_EB: Tensor, envelope_E: Tensor, edges: Edges) -> Tensor:
        centre_NHC = self._split(self.from_centre[layer](features_NF))
        neighbour_NHC = self._split(self.from_neighbour[layer](features_NF))
        edge_EHC = self._split(self.from_radial[layer](radial_EB))
        weight_EH = attention_weights(centre_NHC, neighbour_NHC, edge_EHC, self._score(layer), edges)
        attended_NHC = attend(neighbour_NHC, weight_EH * envelope_E[:, None], edges)
        changed_NF: Tensor = features_NF + self.outputs[layer](nnf.silu(attended_NHC.flatten(1)))
        return changed_NF

    def _split(self, values: Tensor) -> Tensor:
        """[N, F] to [N, H, C], and edges alike: the features of each head."""
        return values.view(values.shape[0], self.n_heads, self.width // self.n_heads)

    def _score(self, layer: int) -> Score:
        return lambda mixed: bounded((nnf.silu(mixed) * self.scorers[layer]).sum(-1))


def attention_weights(
    centre_NHC: Tensor, neighbour_NHC: Tensor, edge_EHC: Tensor, score: Score, edges: Edges
) -> Tensor:
    """exp(e_ij) [E, H] of GATv2's scores e (eq. 7 of the paper), not yet normalised."""
    mixed_EHC = edges.gather_centre(centre_NHC) + edges.gather_neighbour(neighbour_NHC) + edge_EHC
    return score(mixed_EHC).exp()


def attend(values_NHC: Tensor, weight_EH: Tensor, edges: Edges, vacancy: float = VACANCY) -> Tensor:
    """[N, H, C] means of the neighbours' values by [E, H] weights, a vacancy of value zero among them."""
    weighted_EHC = weight_EH[..., None] * edges.gather_neighbour(values_NHC)
    return edges.sum_to_centre(weighted_EHC) / (vacancy + edges.sum_to_centre(weight_EH))[..., None]
