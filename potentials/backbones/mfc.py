"""MFC: a matrix for each number of neighbours."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.aggregation import SUM_SCALE, EdgeWeights, smooth_degree
from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, PositiveInt, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope


class MFCConfig(BackboneConfig):
    """Settings of `MFC`.

    Attributes:
        max_degree: atoms with more neighbours than this share the matrices of this number.
    """

    name: Literal["mfc"] = "mfc"
    max_degree: PositiveInt = 10


class MFC(Backbone):
    """Convolutions of molecular fingerprints (Duvenaud et al., NeurIPS 2015): matrices chosen by an atom's degree.

    Repaired against the contract: the degree is a sum of envelopes and passes smoothly from the matrices of one number
    to those of the next (`degree_shares`); the original knows no distances, so a neighbour counts by its envelope and
    by a learnt function of its distance (`EdgeWeights`); SiLU for the sigmoid; layers are residual, and the atom's
    last features take the place of a fingerprint of the whole, which is no sum over atoms once it is normalised.
    """

    def __init__(self, config: MFCConfig) -> None:
        super().__init__()
        width, depth, choices = config.width, config.depth, config.max_degree + 1
        self.width, self.cutoff, self.max_degree = width, config.cutoff, config.max_degree
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.weights = nn.ModuleList(EdgeWeights(config.radial_size, width, SUM_SCALE) for _ in range(depth))
        bound = (2 * width) ** -0.5  # of torch's linear layers, for a sum and the atom itself
        self.matrices = nn.ParameterList(
            nn.Parameter(torch.empty(choices, 2 * width, width).uniform_(-bound, bound)) for _ in range(depth)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.empty(choices, width).uniform_(-bound, bound)) for _ in range(depth)
        )
        self.outputs = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        shares_ND = degree_shares(smooth_degree(envelope_E, edges), self.max_degree)
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.outputs)):
            features_NF = self.apart(self._layer, layer, features_NF, shares_ND, (radial_EB, envelope_E), edges)
        return features_NF

    def _layer(
        self, layer: int, features_NF: Tensor, shares_ND: Tensor, around: tuple[Tensor, Tensor], edges: Edges
    ) -> Tensor:
        weights_EF = self.weights[layer](*around)
        summed_NF = edges.sum_to_centre(edges.gather_neighbour(features_NF) * weights_EF)
        both_NX = torch.cat([summed_NF, features_NF], dim=1)
        mixed_NF = by_degree(both_NX, shares_ND, self.matrices[layer], self.biases[layer])
        changed_NF: Tensor = features_NF + self.outputs[layer](nnf.silu(mixed_NF))
        return changed_NF


def degree_shares(degree_N: Tensor, max_degree: int) -> Tensor:
    """[N] degrees to [N, max_degree + 1] shares of the numbers 0, 1, ..., max_degree and more.

    They add up to 1, have two continuous derivatives, and at a whole number its share is 1.
    """
    number_D = torch.arange(max_degree, dtype=degree_N.dtype, device=degree_N.device)
    part_ND = (degree_N[:, None] - number_D).clamp(0, 1)
    reached_ND = part_ND**3 * (10 - part_ND * (15 - 6 * part_ND))
    one_N1 = torch.ones_like(reached_ND[:, :1])
    return torch.cat([one_N1, reached_ND], dim=1) - torch.cat([reached_ND, torch.zeros_like(one_N1)], dim=1)


def by_degree(values_NP: Tensor, shares_ND: Tensor, matrices_DPF: Tensor, biases_DF: Tensor) -> Tensor:
    """Σ_d share_d (W_d x + b_d): [N, P], [N, D], [D, P, F] and [D, F] to [N, F]."""
    shared_NX = (shares_ND[:, :, None] * values_NP[:, None, :]).flatten(1)
    return shared_NX @ matrices_DPF.flatten(0, 1) + shares_ND @ biases_DF
