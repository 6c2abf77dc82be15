"""TensorNet: 3 × 3 matrices as features."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.cartesian import Rank2, dyad, from_matrix, product, square_norms, to_matrix
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope


class TensorNetConfig(BackboneConfig):
    """Settings of `TensorNet`; `depth` interactions follow an embedding that sums over neighbours once itself."""

    name: Literal["tensornet"] = "tensornet"


class TensorNet(Backbone):
    """TensorNet (Simeon, De Fabritiis, NeurIPS 2023), the variant that keeps reflections.

    Repaired against the contract: everything that comes from an edge carries an envelope with two zero derivatives at
    the cutoff (the paper's cosine has one), and an atom's own element enters its scalar part, so that atoms without
    neighbours are told apart. Bessel functions for the paper's exponentials; the radial network of a layer has two
    linear maps for the paper's three, for it runs on every edge. Norms enter squared, as in the paper: smooth at zero.
    """

    def __init__(self, config: TensorNetConfig) -> None:
        super().__init__()
        self.width, self.cutoff = config.width, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, config.width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.start = TensorEmbedding(config.width, config.radial_size)
        self.layers = nn.ModuleList(TensorInteraction(config.width, config.radial_size) for _ in range(config.depth))
        self.norm = nn.LayerNorm(3 * config.width)
        self.output = nn.Sequential(nn.Linear(3 * config.width, config.width), nn.SiLU())

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        state = self.start(embed(self.embedding, atoms), radial_EB, geometry.direction, edges)
        for number in range(len(self.layers)):
            state = self.apart(self._layer, number, state, radial_EB, envelope_E, edges)
        features_NF: Tensor = self.output(self.norm(torch.cat(square_norms(state), dim=1)))
        return features_NF

    def _layer(self, number: int, *given: Any) -> Any:
        return self.layers[number](*given)


class TensorEmbedding(nn.Module):
    """Elements and directions of the neighbours as matrices (eqs. 7 to 10 of the paper)."""

    def __init__(self, width: int, radial_size: int) -> None:
        super().__init__()
        self.width = width
        self.own = nn.Linear(width, width, bias=False)
        self.from_centre = nn.Linear(width, width)
        self.from_neighbour = nn.Linear(width, width, bias=False)
        self.filters = nn.Linear(radial_size, 3 * width, bias=False)
        self.mixing = Mixing(width)
        self.norm = nn.LayerNorm(width)
        self.gates = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 3 * width), nn.SiLU())

    def forward(self, features_NF: Tensor, radial_EB: Tensor, direction_E3: Tensor, edges: Edges) -> Rank2:
        """[N, F] of the elements to N matrices."""
        pairs_EF = edges.gather_centre(self.from_centre(features_NF)) + edges.gather_neighbour(
            self.from_neighbour(features_NF)
        )
        scalar_EF, vector_EF, tensor_EF = (
            pairs_EF * part_EF for part_EF in self.filters(radial_EB).split(self.width, dim=1)
        )
        state = Rank2(
            self.own(features_NF) + edges.sum_to_centre(scalar_EF),
            edges.sum_to_centre(vector_EF[:, None] * direction_E3[:, :, None]),
            edges.sum_to_centre(tensor_EF[:, None] * dyad(direction_E3)[:, :, None]),
        )
        gates = self.gates(self.norm(_square_norm(state)))
        mixed: Rank2 = self.mixing(state)
        return mixed.times(gates.split(self.width, dim=1))


class TensorInteraction(nn.Module):
    """Messages from the neighbours' matrices, and matrix products with them (eqs. 11 to 14 of the paper)."""

    def __init__(self, width: int, radial_size: int) -> None:
        super().__init__()
        self.width = width
        self.filters = nn.Sequential(nn.Linear(radial_size, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.before, self.after = Mixing(width), Mixing(width)

    def forward(self, state: Rank2, radial_EB: Tensor, envelope_E: Tensor, edges: Edges) -> Rank2:
        """N matrices to N matrices."""
        state = _bounded(state)
        sent = self.before(state)
        filter_E3F = self.filters(radial_EB) * envelope_E[:, None]
        messages = Rank2(*map(edges.gather_neighbour, sent)).times(filter_E3F.split(self.width, dim=1))
        received_N33F = to_matrix(Rank2(*map(edges.sum_to_centre, messages)))
        sent_N33F = to_matrix(sent)
        # YM + MY, for a reflection that takes Y and M to their transposes takes YM to (MY)ᵀ
        both = from_matrix(product(sent_N33F, received_N33F) + product(received_N33F, sent_N33F))
        change = self.after(_bounded(both))
        change_N33F = to_matrix(change)
        return state.plus(change).plus(from_matrix(product(change_N33F, change_N33F)))


class Mixing(nn.Module):
    """Linear maps of the features, one for each irreducible part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, parts: Rank2) -> Rank2:
        """n matrices to n matrices."""
        return Rank2(*(linear(part) for linear, part in zip(self.parts, parts, strict=True)))


def _square_norm(parts: Rank2) -> Tensor:
    scalar_NF, vector_NF, tensor_NF = square_norms(parts)
    return scalar_NF + vector_NF + tensor_NF


def _bounded(parts: Rank2) -> Rank2:
    """Matrices over 1 plus their squared norm."""
    factor_NF = 1 / (1 + _square_norm(parts))
    return parts.times((factor_NF, factor_NF, factor_NF))
