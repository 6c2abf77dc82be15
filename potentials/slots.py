"""Features as rows of slots, each of a degree and a parity; the paths between them, and the linear maps that mix them.

Features are [N, components, channels], one slot after the other, in the order of `potentials.spherical` in each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials.native.tables import Coupling


class Kind(NamedTuple):
    """How a slot transforms: its degree l, and whether inversion leaves out the sign (-1)^l that harmonics get."""

    degree: int
    pseudo: bool = False

    def reaches(self, degree: int, out: Kind) -> bool:
        """Whether this times harmonics of a degree has a part of another kind."""
        changes = bool((self.degree + degree + out.degree) % 2)
        fits = abs(self.degree - degree) <= out.degree <= self.degree + degree
        return fits and out.pseudo == (self.pseudo != changes)


SCALAR = Kind(0)


def natural_kinds(l_max: int) -> list[Kind]:
    """One slot a degree, that transforms as harmonics do."""
    return [Kind(degree) for degree in range(l_max + 1)]


def edge_coupling(left: Sequence[Kind], l_max: int, out: Iterable[Kind]) -> tuple[Coupling, list[Kind]]:
    """All paths from slots times harmonics up to `l_max` to slots of the kinds `out`, each to a slot of its own.

    Returns:
        The coupling, and the kind of each of its slots: in the order of `out`, which is ascending.
    """
    ends = [
        (slot, degree, kind)
        for kind in sorted(out)
        for slot, one in enumerate(left)
        for degree in range(l_max + 1)
        if one.reaches(degree, kind)
    ]
    paths = tuple((slot, degree, number) for number, (slot, degree, _) in enumerate(ends))
    kinds = [kind for _, _, kind in ends]
    degrees = tuple(kind.degree for kind in kinds)
    return Coupling(tuple(kind.degree for kind in left), tuple(range(l_max + 1)), degrees, paths), kinds


def select(features_NMC: Tensor, slots: Sequence[Kind], wanted: Sequence[Kind]) -> Tensor:
    """The components of some of the slots, each of a kind of its own."""
    if list(slots) == list(wanted):
        return features_NMC
    parts = dict(zip(slots, torch.split(features_NMC, [2 * kind.degree + 1 for kind in slots], dim=1), strict=True))
    return torch.cat([parts[kind] for kind in wanted], dim=1)


class SlotMixture(nn.Module):
    """Linear maps of channels without bias that mix all slots of a kind into one.

    Args:
        slots: kind of each slot, ascending.
        width: channels.
        widths_out: channels of the kinds whose results have another number of them.
        gain: size of results where components are of size 1.
    """

    def __init__(
        self, slots: Sequence[Kind], width: int, widths_out: Mapping[Kind, int] | None = None, gain: float = 1.0
    ) -> None:
        super().__init__()
        assert list(slots) == sorted(slots), "slots in the order of their kinds"
        self.kinds = sorted(set(slots))
        self.counts = [list(slots).count(kind) for kind in self.kinds]
        widths = dict.fromkeys(self.kinds, width) | dict(widths_out or {})
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(count * width, widths[kind]) * gain / math.sqrt(count * width))
            for kind, count in zip(self.kinds, self.counts, strict=True)
        )

    def parts(self, features_NMC: Tensor) -> dict[Kind, Tensor]:
        """[N, components, width] to [N, 2l + 1, channels] of each kind."""
        parts, start = {}, 0
        for kind, count, weight in zip(self.kinds, self.counts, self.weights, strict=True):
            size = 2 * kind.degree + 1
            part_NMC = features_NMC[:, start : start + count * size]
            if count > 1:  # paths beside channels: one product for all
                part_NMC = part_NMC.reshape(-1, count, size, part_NMC.shape[2]).transpose(1, 2).flatten(2)
            parts[kind] = part_NMC @ weight
            start += count * size
        return parts

    def forward(self, features_NMC: Tensor) -> Tensor:
        """[N, components, width] to [N, components, channels], with one slot for each kind."""
        parts = list(self.parts(features_NMC).values())
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
