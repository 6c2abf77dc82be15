"""PaiNN: scalar and vector features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope

NORM_FLOOR = 1e-4
"""Under the root of a vector's squared length: the norm is smooth where the vector is zero."""


class PaiNNConfig(BackboneConfig):
    """Settings of `PaiNN`."""

    name: Literal["painn"] = "painn"


class PaiNN(Backbone):
    """PaiNN (Schütt, Unke, Gastegger, ICML 2021).

    Repaired against the contract: filters have no bias and carry a polynomial envelope, so that forces are continuous
    at the cutoff, and the norm of a vector feature is smooth at zero, so that highly symmetric sites have derivatives.
    """

    def __init__(self, config: PaiNNConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.depth, self.cutoff = width, depth, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        # the first layer meets no vectors yet and the last needs none after it: their filters and gates are narrower
        self.filters = nn.ModuleList(
            nn.Linear(config.radial_size, width * (3 if layer else 2), bias=False) for layer in range(depth)
        )
        self.senders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width * (3 if layer else 2)))
            for layer in range(depth)
        )
        self.mixers = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for _ in range(depth))
        self.gates = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * width, width),
                nn.SiLU(),
                nn.Linear(width, width * (3 if layer < depth - 1 else 2)),
            )
            for layer in range(depth)
        )

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        radial_EB = self.radial(geometry.distance, polynomial_envelope(geometry.distance, self.cutoff))
        scalar_NF, vector_N3F = embed(self.embedding, atoms), None
        for layer in range(self.depth):
            scalar_NF, vector_N3F = self.apart(
                self._layer, layer, scalar_NF, vector_N3F, (radial_EB, geometry.direction), edges
            )
        return scalar_NF

    def _layer(
        self, layer: int, scalar_NF: Tensor, vector_N3F: Tensor | None, around: tuple[Tensor, Tensor], edges: Edges
    ) -> tuple[Tensor, Tensor]:
        """Scalars [N, F] and vectors [N, 3, F] anew; `around` is radial basis and direction of the edges."""
        radial_EB, direction_E3 = around
        sent_EF = edges.gather_neighbour(self.senders[layer](scalar_NF)) * self.filters[layer](radial_EB)
        scalar_EF, vector_E3F = self._messages(sent_EF, vector_N3F, direction_E3, edges)
        scalar_NF = scalar_NF + edges.sum_to_centre(scalar_EF)
        gained_N3F = edges.sum_to_centre(vector_E3F)
        vector_N3F = gained_N3F if vector_N3F is None else vector_N3F + gained_N3F
        return self._update(layer, scalar_NF, vector_N3F)

    def _messages(
        self, sent_EF: Tensor, vector_N3F: Tensor | None, direction_E3: Tensor, edges: Edges
    ) -> tuple[Tensor, Tensor]:
        """What each edge carries: a scalar part [E, F] and a vector part [E, 3, F]."""
        parts = torch.split(sent_EF, self.width, dim=1)
        vector_E3F = parts[1][:, None, :] * direction_E3[:, :, None]
        if vector_N3F is not None:
            vector_E3F = vector_E3F + parts[2][:, None, :] * edges.gather_neighbour(vector_N3F)
        return parts[0], vector_E3F

    def _update(self, layer: int, scalar_NF: Tensor, vector_N3F: Tensor) -> tuple[Tensor, Tensor]:
        left_N3F, right_N3F = self.mixers[layer](vector_N3F).split(self.width, dim=2)
        norm_NF = (right_N3F.square().sum(1) + NORM_FLOOR).sqrt()
        gates = self.gates[layer](torch.cat([scalar_NF, norm_NF], dim=1)).split(self.width, dim=1)
        scalar_NF = scalar_NF + gates[0] + gates[1] * (left_N3F * right_N3F).sum(1)
        if layer < self.depth - 1:
            vector_N3F = vector_N3F + gates[2][:, None, :] * left_N3F
        return scalar_NF, vector_N3F
