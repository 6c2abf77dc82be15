"""PNA: several aggregators of the neighbours, each scaled by their number in several ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from potentials.backbones.aggregation import SCORE_BOUND, VACANCY, bounded, mean, smooth_degree
from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope

N_AGGREGATES = 12
"""Four aggregators times three scalers."""


@dataclass(frozen=True)
class Softness:
    """What makes the aggregators smooth; their limits are the paper's.

    Attributes:
        vacancy: weight of a place that holds zero (limit 0).
        sharpness: of the softmax that selects the largest and the smallest (limit infinity).
        score_bound: see `bounded` (limit infinity).
        variance_floor: under the root of the variance; its root is taken off again (limit 0).
    """

    vacancy: float = VACANCY
    sharpness: float = 2.0
    score_bound: float = SCORE_BOUND
    variance_floor: float = 0.1


SOFT = Softness()


class PrincipalConfig(BackboneConfig):
    """Settings of the PNA family.

    Attributes:
        typical_degree: sum of envelopes around a typical atom, where amplification and attenuation are both 1. The
        paper
            takes the mean over the training set; here it is a setting, so that a potential is the same for any data.
    """

    typical_degree: Annotated[float, Field(gt=0)] = 10.0


class PNAConfig(PrincipalConfig):
    """Settings of `PNA`."""

    name: Literal["pna"] = "pna"


class PNA(Backbone):
    """Principal neighbourhood aggregation (Corso, Cavalleri, Beaini, Liò, Veličković, NeurIPS 2020).

    Mean, largest, smallest and standard deviation of the messages, times 1, log(degree + 1) and its inverse.

    Repaired against the contract: envelopes weigh the neighbours in all aggregators, and the degree is their sum;
    largest and smallest are means by softmax, as they would otherwise switch from one neighbour to another; all vanish
    without neighbours; the deviation has a floor under its root; attenuation stays finite at degree zero without a
    clamp. The original knows no distances: here a learnt function of the distance scales the message. No batch
    normalisation, one tower, residual layers.
    """

    def __init__(self, config: PNAConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff = width, config.cutoff
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.from_centre = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.from_neighbour = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
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
        mixed_EF = edges.gather_centre(self.from_centre[layer](features_NF)) + edges.gather_neighbour(
            self.from_neighbour[layer](features_NF)
        )
        messages_EF = mixed_EF * (1 + self.filters[layer](radial_EB))
        changed_NF: Tensor = self.updates[layer](features_NF, messages_EF, envelope_E, edges)
        return changed_NF


class PrincipalUpdate(nn.Module):
    """From messages to new features of atoms: aggregate, scale, mix, add."""

    def __init__(self, width: int, typical_degree: float) -> None:
        super().__init__()
        self.typical_log = math.log(typical_degree + 1)
        self.network = nn.Sequential(nn.Linear((N_AGGREGATES + 1) * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, features_NF: Tensor, messages_EF: Tensor, envelope_E: Tensor, edges: Edges) -> Tensor:
        """[N, F], [E, F] and [E] to [N, F]."""
        degree_N = smooth_degree(envelope_E, edges)
        aggregates = scale(aggregate(messages_EF, envelope_E, edges), degree_N, self.typical_log)
        updated_NF: Tensor = features_NF + self.network(torch.cat([features_NF, aggregates], dim=1))
        return updated_NF


def aggregate(messages_EF: Tensor, envelope_E: Tensor, edges: Edges, softness: Softness = SOFT) -> Tensor:
    """Mean, largest, smallest and standard deviation of the messages around each atom: [E, F] to [N, 4 F]."""
    envelope_E1 = envelope_E[:, None]
    degree_N = smooth_degree(envelope_E, edges)
    exponential_EF = bounded(softness.sharpness * messages_EF, softness.score_bound).exp()
    up_EF, down_EF = envelope_E1 * exponential_EF, envelope_E1 / exponential_EF
    sums = edges.sum_to_centre(torch.cat([up_EF, up_EF * messages_EF, down_EF, down_EF * messages_EF], dim=1))
    up_NF, large_NF, down_NF, small_NF = sums.chunk(4, dim=1)
    mean_NF = mean(envelope_E1 * messages_EF, degree_N, edges, softness.vacancy)
    # in two passes, for a difference of two means of squares may round to less than nothing; the vacancy holds a zero
    apart_EF = (messages_EF - edges.gather_centre(mean_NF)).square()
    vacant_N1 = softness.vacancy / (softness.vacancy + degree_N)[:, None]
    variance_NF = mean(envelope_E1 * apart_EF, degree_N, edges, softness.vacancy) + vacant_N1 * mean_NF.square()
    deviation_NF = (variance_NF + softness.variance_floor).sqrt() - softness.variance_floor**0.5
    largest_NF, smallest_NF = large_NF / (softness.vacancy + up_NF), small_NF / (softness.vacancy + down_NF)
    return torch.cat([mean_NF, largest_NF, smallest_NF, deviation_NF], dim=1)


def scale(aggregates_NX: Tensor, degree_N: Tensor, typical_log: float, softness: Softness = SOFT) -> Tensor:
    """The aggregates as they are, amplified and attenuated by degree (eq. 5 of the paper): [N, X] to [N, 3 X].

    Args:
        aggregates_NX: [N, X].
        degree_N: [N] sums of envelopes.
        typical_log: log(degree + 1) where amplification and attenuation are 1.
        softness: its vacancy keeps the degree that attenuates from zero.
    """
    amplification_N = (1 + degree_N).log() / typical_log
    attenuation_N = typical_log / (1 + (degree_N.square() + softness.vacancy**2).sqrt()).log()
    return torch.cat(
        [aggregates_NX, aggregates_NX * amplification_N[:, None], aggregates_NX * attenuation_N[:, None]], dim=1
    )
