"""PNA with vectors: scalar messages through many aggregators, vector messages as sums."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, embed
from potentials.backbones.painn import NORM_FLOOR
from potentials.backbones.pna import PrincipalConfig, PrincipalUpdate
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope


class PNAEqConfig(PrincipalConfig):
    """Settings of `PNAEq`."""

    name: Literal["pna_eq"] = "pna_eq"


class PNAEq(Backbone):
    """PaiNN whose scalar messages meet PNA's aggregators and scalers, as in HydraGNN's PNAEq.

    Schütt, Unke, Gastegger, ICML 2021; Corso, Cavalleri, Beaini, Liò, Veličković, NeurIPS 2020.

    Repaired against the contract: aggregators and degrees are the smooth ones of `PNA`; vector messages are sums under
    an envelope; norms of vectors are smooth at zero. A message is one linear map of a pair, as in `PNA`, and no tower:
    HydraGNN has two more layers there, two more scalers, and linear maps with tanh between the rounds.
    """

    def __init__(self, config: PNAEqConfig) -> None:
        super().__init__()
        self.cutoff, self.width = config.cutoff, config.width
        self.embedding = nn.Embedding(N_ELEMENTS, config.width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.layers = nn.ModuleList(
            PNAEqLayer(config, first=layer == 0, last=layer == config.depth - 1) for layer in range(config.depth)
        )

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        scalar_NF, vector_N3F = embed(self.embedding, atoms), None
        around = radial_EB, envelope_E, geometry.direction
        for number in range(len(self.layers)):
            scalar_NF, vector_N3F = self.apart(self._layer, number, scalar_NF, vector_N3F, around, edges)
        return scalar_NF

    def _layer(self, number: int, *given: Any) -> Any:
        return self.layers[number](*given)


class PNAEqLayer(nn.Module):
    """One round of messages; the first meets no vectors yet, and the last needs none after it."""

    def __init__(self, config: PNAEqConfig, *, first: bool, last: bool) -> None:
        super().__init__()
        width, parts = config.width, 2 if first else 3
        self.width, self.last = width, last
        self.from_centre = nn.Linear(width, width)
        self.from_neighbour = nn.Linear(width, width, bias=False)
        self.from_radial = nn.Linear(config.radial_size, width, bias=False)
        self.senders = nn.Linear(width, parts * width)
        self.filters = nn.Linear(config.radial_size, parts * width, bias=False)
        self.principal = PrincipalUpdate(width, config.typical_degree)
        self.mixers = nn.Linear(width, 2 * width, bias=False)
        self.gates = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width * (2 if last else 3)))

    def forward(
        self, scalar_NF: Tensor, vector_N3F: Tensor | None, around: tuple[Tensor, Tensor, Tensor], edges: Edges
    ) -> tuple[Tensor, Tensor]:
        """Scalars [N, F] and vectors [N, 3, F] anew; `around` is radial basis, envelope and direction of the edges."""
        radial_EB, envelope_E, direction_E3 = around
        messages_EX = self.messages(scalar_NF, radial_EB, edges)
        vector_N3F = self.move(vector_N3F, messages_EX, direction_E3, edges)
        scalar_NF = self.principal(scalar_NF, messages_EX[:, : self.width], envelope_E, edges)
        return self.mix(scalar_NF, vector_N3F)

    def messages(self, scalar_NF: Tensor, radial_EB: Tensor, edges: Edges) -> Tensor:
        """[N, F] to [E, 2 F or 3 F]: a scalar, and how much of the direction and of the neighbour's vector to take."""
        pairs_EF = nnf.silu(
            edges.gather_centre(self.from_centre(scalar_NF))
            + edges.gather_neighbour(self.from_neighbour(scalar_NF))
            + self.from_radial(radial_EB)
        )
        # filters have no bias: what they multiply ends at the cutoff. Aggregators of scalars weigh by the envelope
        messages_EX: Tensor = self.senders(pairs_EF) * self.filters(radial_EB)
        return messages_EX

    def move(self, vector_N3F: Tensor | None, messages_EX: Tensor, direction_E3: Tensor, edges: Edges) -> Tensor:
        """The atoms' vectors [N, 3, F] after the messages."""
        _, *gates = torch.split(messages_EX, self.width, dim=1)
        vector_E3F = gates[0][:, None] * direction_E3[:, :, None]
        if vector_N3F is None:
            return edges.sum_to_centre(vector_E3F)
        return vector_N3F + edges.sum_to_centre(vector_E3F + gates[1][:, None] * edges.gather_neighbour(vector_N3F))

    def mix(self, scalar_NF: Tensor, vector_N3F: Tensor) -> tuple[Tensor, Tensor]:
        """PaiNN's update: scalars learn of the vectors' lengths and products, vectors are scaled by scalars."""
        left_N3F, right_N3F = self.mixers(vector_N3F).split(self.width, dim=2)
        norm_NF = (right_N3F.square().sum(1) + NORM_FLOOR).sqrt()
        gates = self.gates(torch.cat([scalar_NF, norm_NF], dim=1)).split(self.width, dim=1)
        scalar_NF = scalar_NF + gates[0] + gates[1] * (left_N3F * right_N3F).sum(1)
        return scalar_NF, vector_N3F if self.last else vector_N3F + gates[2][:, None] * left_N3F
