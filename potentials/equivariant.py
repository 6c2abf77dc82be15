"""Layers on components of spherical tensors: features [N, components, channels], degrees in the order of `Coupling`."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from potentials.native.tables import Coupling
from potentials.spherical import degrees


def natural_paths(left: int, right: int, out: int) -> list[tuple[int, int, int]]:
    """(l1, l2, l3) that couple with the parity (-1)^l of all three, l1, l2, l3 up to those given, ascending by l3."""
    triples = itertools.product(range(out + 1), range(left + 1), range(right + 1))
    return [(a, b, o) for o, a, b in triples if abs(a - b) <= o <= a + b and (a + b + o) % 2 == 0]


def natural_coupling(left: int, right: int, out: int) -> Coupling:
    """All natural paths between one slot a degree; those of one degree add up."""
    slots = [tuple(range(degree + 1)) for degree in (left, right, out)]
    return Coupling(slots[0], slots[1], slots[2], tuple(natural_paths(left, right, out)))


class DegreeLinear(nn.Module):
    """A linear map of channels for each degree, without bias: [N, (l_max + 1)², C] to [N, (l_max + 1)², D].

    Args:
        l_max: largest degree.
        channels, out_channels: C and D.
        gain: size of results where components are of size 1.
    """

    degree_ML: Tensor

    def __init__(self, l_max: int, channels: int, out_channels: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight_LCD = nn.Parameter(torch.randn(l_max + 1, channels, out_channels) * gain / channels**0.5)
        self.register_buffer("degree_ML", torch.eye(l_max + 1)[degrees(l_max)], persistent=False)

    def forward(self, features_NMC: Tensor) -> Tensor:
        """See the class."""
        # one product for all components; their maps are laid out by a product too, whose derivative is a sum
        weight_MCD = (self.degree_ML @ self.weight_LCD.flatten(1)).view(-1, *self.weight_LCD.shape[1:])
        return torch.bmm(features_NMC.transpose(0, 1), weight_MCD).transpose(0, 1)
