"""Layers on components of spherical tensors: features [N, components, channels], degrees in the order of `Coupling`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potentials.native.tables import Coupling


def natural_paths(left: int, right: int, out: int) -> list[tuple[int, int, int]]:
    """(l1, l2, l3) that couple with the parity (-1)^l of all three, l1, l2, l3 up to those given, ascending by l3."""
    triples = itertools.product(range(out + 1), range(left + 1), range(right + 1))
    return [(a, b, o) for o, a, b in triples if abs(a - b) <= o <= a + b and (a + b + o) % 2 == 0]


def summed_coupling(left: int, right: int, out: int) -> Coupling:
    """All natural paths of one slot a degree; those of one degree add up."""
    slots = [tuple(range(degree + 1)) for degree in (left, right, out)]
    return Coupling(slots[0], slots[1], slots[2], tuple(natural_paths(left, right, out)))


def separate_coupling(left: int, right: int, out: int, *, symmetric: bool = False) -> Coupling:
    """All natural paths, each into a slot of its own, ascending by degree; `symmetric`: (l1, l2) for l1 ≤ l2 alone."""
    paths = [path for path in natural_paths(left, right, out) if not symmetric or path[0] <= path[1]]
    slots = tuple((a, b, number) for number, (a, b, _) in enumerate(paths))
    return Coupling(tuple(range(left + 1)), tuple(range(right + 1)), tuple(o for _, _, o in paths), slots)


def degree_slices(l_max: int) -> list[slice]:
    """Components of each degree."""
    return [slice(degree**2, (degree + 1) ** 2) for degree in range(l_max + 1)]


class DegreeLinear(nn.Module):
    """A linear map of channels for each degree, without bias: [N, (l_max + 1)², C] to [N, (l_max + 1)², D]."""

    def __init__(self, l_max: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.slices = degree_slices(l_max)
        self.weight_LCD = nn.Parameter(torch.randn(l_max + 1, channels, out_channels) / channels**0.5)

    def forward(self, features_NMC: Tensor) -> Tensor:
        """See the class."""
        parts = [features_NMC[:, where] @ self.weight_LCD[degree] for degree, where in enumerate(self.slices)]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class PathMixture(nn.Module):
    """Sums over the paths of each degree, weighted by path, channel and element of the atom.

    Args:
        degrees: of each path, ascending.
        channels: C.
        n_elements: rows of the table of elements.
    """

    def __init__(self, degrees: Sequence[int], channels: int, n_elements: int) -> None:
        super().__init__()
        self.counts = [list(degrees).count(degree) for degree in range(max(degrees) + 1)]
        self.channels = channels
        # what all elements share, and what each has of its own
        spread = torch.tensor([1 / self.counts[degree] ** 0.5 for degree in degrees])[:, None]
        self.weight_PC = nn.Parameter(torch.randn(len(degrees), channels) * spread)
        self.of_element = nn.Embedding(n_elements, len(degrees) * channels)
        with torch.no_grad():
            self.of_element.weight.mul_(0.2 * spread.expand(-1, channels).reshape(1, -1))

    def forward(self, separate_NOC: Tensor, numbers_N: Tensor) -> Tensor:
        """[N, components of all paths, C] and atomic numbers to [N, (l_max + 1)², C]."""
        weight_NPC = self.of_element(numbers_N).view(-1, *self.weight_PC.shape) + self.weight_PC
        parts, path, start = [], 0, 0
        for degree, count in enumerate(self.counts):
            size = 2 * degree + 1
            block = separate_NOC[:, start : start + count * size].view(-1, count, size, self.channels)
            parts.append((block * weight_NPC[:, path : path + count, None, :]).sum(1))
            path, start = path + count, start + count * size
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
