"""EGNN: messages from features and distances, with or without moving the points."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope

DISTANCE_FLOOR = 1e-2
"""Å: distances between moved points enter as sqrt(r² + floor²), smooth where two points meet."""


class EGNNConfig(BackboneConfig):
    """Settings of `EGNN`.

    Attributes:
        update_positions: let every layer move its latent copy of the points (eq. 4 of the paper; off for the
            paper's own invariant tasks). Moves stay latent: forces are derivatives with respect to the true positions.
    """

    name: Literal["egnn"] = "egnn"
    update_positions: bool = False


class EGNN(Backbone):
    """E(n)-equivariant graph network (Satorras, Hoogeboom, Welling, ICML 2021).

    Repaired against the contract: messages carry a smooth envelope of the true distance (the original has no cutoff),
    distances enter through radial functions instead of a bare square, sums replace means over neighbours, the moved
    points live as vectors on edges, so that periodic images move rightly, and the move of a point is bounded.
    """

    def __init__(self, config: EGNNConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff, self.update_positions = width, config.cutoff, config.update_positions
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        # the message network's first layer acts on [centre, neighbour, radial]: on atoms it costs 1/40 of what it costs
        # on edges, so each part has its own matrix
        self.from_centre = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.from_neighbour = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.from_radial = nn.ModuleList(nn.Linear(config.radial_size, width, bias=False) for _ in range(depth))
        self.messages = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.updates = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        moves = depth - 1 if config.update_positions else 0  # what the last layer would move, nothing would see
        self.movers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width, bias=False), nn.SiLU(), nn.Linear(width, 1, bias=False))
            for _ in range(moves)
        )

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        vectors_E3 = geometry.distance[:, None] * geometry.direction
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        features_NF = embed(self.embedding, atoms)
        around = vectors_E3, radial_EB
        for layer in range(len(self.updates)):
            features_NF, *moved = self.apart(self._layer, layer, features_NF, around, envelope_E, edges)
            around = tuple(moved) or around
        return features_NF

    def _layer(
        self, layer: int, features_NF: Tensor, around: tuple[Tensor, Tensor], envelope_E: Tensor, edges: Edges
    ) -> tuple[Tensor, ...]:
        """Features [N, F] anew, then vectors and radial basis of the edges, which are `around`, where points move."""
        vectors_E3, radial_EB = around
        mixed_EF = nnf.silu(
            edges.gather_centre(self.from_centre[layer](features_NF))
            + edges.gather_neighbour(self.from_neighbour[layer](features_NF))
            + self.from_radial[layer](radial_EB)
        )
        messages_EF = nnf.silu(self.messages[layer](mixed_EF)) * envelope_E[:, None]
        gathered_NF = edges.sum_to_centre(messages_EF)
        features_NF = features_NF + self.updates[layer](torch.cat([features_NF, gathered_NF], dim=1))
        if layer >= len(self.movers):
            return (features_NF,)
        vectors_E3 = self._move(layer, messages_EF, vectors_E3, edges)
        distance_E = (vectors_E3.square().sum(1) + DISTANCE_FLOOR**2).sqrt()
        return features_NF, vectors_E3, self.radial(distance_E, envelope_E)

    def _move(self, layer: int, messages_EF: Tensor, vectors_E3: Tensor, edges: Edges) -> Tensor:
        """The edge vectors after each point has moved along its edges, by less than 1 Å in all."""
        # movers have no bias: where the envelope has closed a message, nothing pulls
        move_N3 = edges.sum_to_centre(self.movers[layer](messages_EF) * vectors_E3)
        move_N3 = move_N3 / (1 + move_N3.square().sum(1, keepdim=True)).sqrt()
        return vectors_E3 + edges.gather_neighbour(move_N3) - edges.gather_centre(move_N3)
