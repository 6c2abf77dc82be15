"""What an atom makes of its neighbours: means, selections and degrees that nothing entering or leaving makes jump.

Here a neighbour has a weight, its envelope, between 1 (near) and 0 (at the cutoff). Where a graph network counts
neighbours, weights are added; where it divides by their number, a vacancy of weight 1 is counted with them, which holds
zeros: the mean over no neighbours is zero, and the mean over one that leaves goes to zero with it.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from potentials.backbones.base import BackboneConfig, PositiveInt
from potentials.edges import Edges

VACANCY = 1.0
"""Weight of the place that nobody takes. Zero: the original means, which have no limit as a last neighbour leaves."""

SCORE_BOUND = 4.0
"""Scores lie between -bound and bound. A neighbour with the highest weighs as much as the vacancy where its envelope is
exp(-4) = 1/55: it still comes in slowly. No exponential overflows, so that no largest score need be subtracted, which
would switch from one neighbour to another."""

SUM_SCALE = 0.1
"""Learnt scales of sums over neighbours start here: sums of envelopes are about 10 in a metal."""


class AttentionConfig(BackboneConfig):
    """Settings of a backbone with several attentions side by side.

    Attributes:
        attention_heads: how many; each has width / attention_heads features.
    """

    attention_heads: PositiveInt = 4

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.attention_heads:
            raise ValueError(
                f"width is {self.width}; it must be a multiple of attention_heads, which is {self.attention_heads}"
            )
        return self


class EdgeWeights(nn.Module):
    """The weight of an edge in layers whose paper knows no distances: [E, B] radial functions to [E, F].

    Where the paper has 1, there is a learnt scale times the envelope, plus what a distance adds: a linear function of
    the radial basis, which carries the envelope. Without it forces would only know how many neighbours there are.

    Args:
        radial_size: number of radial functions.
        width: weights per edge, one for each feature.
        scale: to start from: 1 for means, less for sums, which are of many neighbours here and of a few in the paper.
    """

    def __init__(self, radial_size: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale_F = nn.Parameter(torch.full((width,), scale))
        self.linear = nn.Linear(radial_size, width, bias=False)

    def forward(self, radial_EB: Tensor, envelope_E: Tensor) -> Tensor:
        """[E, B] and [E] to [E, F]."""
        weights_EF: Tensor = envelope_E[:, None] * self.scale_F + self.linear(radial_EB)
        return weights_EF


def smooth_degree(envelope_E: Tensor, edges: Edges) -> Tensor:
    """[E] to [N]: how many neighbours, each counted by its envelope."""
    return edges.sum_to_centre(envelope_E)


def mean(weighted_EF: Tensor, degree_N: Tensor, edges: Edges, vacancy: float = VACANCY) -> Tensor:
    """[E, ...] values times weights and [N] sums of weights, to [N, ...] means over the neighbours and the vacancy."""
    summed_NF = edges.sum_to_centre(weighted_EF)
    return summed_NF / (vacancy + degree_N).view(-1, *[1] * (summed_NF.dim() - 1))


def bounded(scores: Tensor, bound: float = SCORE_BOUND) -> Tensor:
    """Any shape to the same: the scores where they are small, never beyond the bound, smooth."""
    return bound * torch.tanh(scores / bound)
