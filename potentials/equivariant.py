"""Layers on components of spherical tensors: features [N, components, channels], degrees in the order of `Coupling`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potentials.native.tables import Coupling
from potentials.spherical import degrees


def natural_paths(left: int, right: int, out: int) -> list[tuple[int, int, int]]:
    """(l1, l2, l3) that couple with the parity (-1)^l of all three, l1, l2, l3 up to those given, ascending by l3."""
    triples = itertools.product(range(out + 1), range(left + 1), range(right + 1))
    return [(a, b, o) for o, a, b in triples if abs(a - b) <= o <= a + b and (a + b + o) % 2 == 0]


def natural_coupling(left: int, right: int, out: int, *, symmetric: bool = False) -> Coupling:
    """All natural paths between one slot a degree, those of one degree add up; `symmetric`: l1 ≤ l2 alone."""
    slots = [tuple(range(degree + 1)) for degree in (left, right, out)]
    paths = [path for path in natural_paths(left, right, out) if not symmetric or path[0] <= path[1]]
    return Coupling(slots[0], slots[1], slots[2], tuple(paths))


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


class PathWeights(nn.Module):
    """A weight for each path and channel: what all elements share, and what each has of its own.

    Args:
        degrees: of the result of each path.
        channels: C.
        n_elements: rows of the table of elements.
    """

    def __init__(self, degrees: Sequence[int], channels: int, n_elements: int) -> None:
        super().__init__()
        spread = torch.tensor([list(degrees).count(degree) ** -0.5 for degree in degrees])[:, None]
        self.weight_PC = nn.Parameter(torch.randn(len(degrees), channels) * spread)
        self.of_element = nn.Embedding(n_elements, len(degrees) * channels)
        with torch.no_grad():
            self.of_element.weight.mul_(0.2 * spread.expand(-1, channels).reshape(1, -1))

    def forward(self, numbers_N: Tensor) -> Tensor:
        """[N] atomic numbers to [N, P, C]."""
        weight_NPC: Tensor = self.of_element(numbers_N).view(-1, *self.weight_PC.shape) + self.weight_PC
        return weight_NPC
