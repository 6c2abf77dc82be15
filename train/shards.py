"""Which numbers of which parameters a process steps: as many on each, whatever the sizes of the tensors.

ZeRO, stage 1 (Rajbhandari, Rasley, Ruwase, He, SC 2020, arXiv:1910.02054): what the optimizer remembers of a weight is
on one process alone, and the weights are gathered after each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from train.group import Group

ALIGNED = 64
"""Tensors are cut at multiples of so many numbers. Where vector instructions end and single numbers follow, the last
bit may differ; so they end where they would in the whole tensor."""


@dataclass(frozen=True)
class Piece:
    """Numbers `start` to `stop` of the flattened parameter at a place."""

    place: int
    start: int
    stop: int

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """The piece of tensors that are shaped like the parameters: a view; the tensor itself where it is all of it."""
        tensor = tensors[self.place]
        if self.stop - self.start == tensor.numel():
            return tensor
        return tensor.detach().reshape(-1)[self.start : self.stop]


class Partition:
    """Parameters laid end to end and cut into parts, one for each process.

    Attributes:
        pieces: of this process.
        shared: whether there is any other.

    Args:
        tensors: the parameters; contiguous, of one type, on one device.
        groups: of each parameter the processes that share it.
    """

    def __init__(self, tensors: Sequence[Tensor], groups: Sequence[Group]) -> None:
        assert all(tensor.is_contiguous() for tensor in tensors), "no views of these"
        assert len({(tensor.dtype, tensor.device) for tensor in tensors}) == 1, "parameters of two kinds"
        self._shapes, self._like = [tensor.shape for tensor in tensors], tensors[0].detach()[:0]
        self._parts: dict[Group, list[list[Piece]]] = {}
        for group in dict.fromkeys(groups):
            places = [place for place, other in enumerate(groups) if other is group]
            self._parts[group] = cut(places, [tensors[place].numel() for place in places], group.size)
        self.pieces = [piece for group, parts in self._parts.items() for piece in parts[group.rank]]
        self.shared = any(group.size > 1 for group in groups)

    def own(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The pieces of this process of tensors that are shaped like the parameters."""
        return [piece.of(tensors) for piece in self.pieces]

    def whole(self, own: Sequence[Tensor]) -> list[Tensor]:
        """Tensors like the parameters from the pieces of all processes, all of which must ask for it."""
        if not self.shared:
            return list(own)
        found = [self._like.new_empty(shape) for shape in self._shapes]
        self.gather(own, found)
        return found

    def gather(self, own: Sequence[Tensor], into: Sequence[Tensor]) -> None:
        """Fill tensors like the parameters with the pieces of all processes, all of which must ask for it."""
        rest = iter(own)
        for group, parts in self._parts.items():
            length = max(sum(piece.stop - piece.start for piece in part) for part in parts)
            sent = self._like.new_zeros(length)
            for target in _laid(sent, parts[group.rank]):
                target.copy_(next(rest).detach().flatten())
            for found, part in zip(torch.split(group.concatenate(sent), length), parts, strict=True):
                for piece, source in zip(part, _laid(found, part), strict=True):
                    piece.of(into).detach().view(-1).copy_(source)


def cut(places: Sequence[int], sizes: Sequence[int], count: int) -> list[list[Piece]]:
    """Parts of parameters laid end to end, each within `ALIGNED` numbers of as large as the others.

    Args:
        places: of the parameters.
        sizes: how many numbers each has.
        count: of parts.
    """
    ends = list(accumulate(sizes))
    starts = [0, *ends[:-1]]
    bounds = [0]
    for part in range(1, count):
        bound = part * ends[-1] // count
        start = max(one for one in starts if one <= bound)
        bounds.append(bound - (bound - start) % ALIGNED)
    return [
        [
            Piece(place, max(first, start) - start, min(last, end) - start)
            for place, start, end in zip(places, starts, ends, strict=True)
            if max(first, start) < min(last, end)
        ]
        for first, last in pairwise([*bounds, ends[-1]])
    ]


def _laid(flat: Tensor, pieces: Sequence[Piece]) -> Sequence[Tensor]:
    """Views of where pieces lie, end to end from the beginning of a flat tensor."""
    sizes = [piece.stop - piece.start for piece in pieces]
    return torch.split(flat[: sum(sizes)], sizes)
