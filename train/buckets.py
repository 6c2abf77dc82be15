"""Gradients of a step in flat pieces, each summed over all processes while the pass back goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from train.group import Group

BUCKET_BYTES = 25 * 2**20
"""Of a piece: large enough that its sum is bounded by bandwidth, small enough that the first leaves early."""


@dataclass
class _Bucket:
    group: Group
    flat: Tensor
    waiting: int
    wait: Callable[[], None] | None = field(default=None)


class Buckets:
    """The gradients of one step.

    Parameters are in the reverse of their order, which is about that in which a pass back comes to them. Processes that
    share a piece send it in the same order; one is sent when it is whole and all before it have been sent.

    Args:
        parameters: of the potential.
        sharers: see `Division.sharers`.
        rows: of each parameter those rows that can have a gradient, or none for all: no others are sent.
        limit: bytes of a piece, without it `BUCKET_BYTES`; a parameter that is larger is a piece of its own.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        sharers: Sequence[tuple[Group, Sequence[int]]],
        rows: Sequence[Tensor | None] | None = None,
        limit: int | None = None,
    ) -> None:
        self._parameters = list(parameters)
        self._rows = list(rows) if rows is not None else [None] * len(parameters)
        self._piece_of: dict[int, int] = {}
        self._views: dict[int, Tensor] = {}
        self._buckets: list[_Bucket] = []
        for group, numbers in sharers:
            for members in self._divide(numbers, limit or BUCKET_BYTES):
                self._buckets.append(self._make(group, members))
        self._sent = 0

    def add(self, gradients: Sequence[Tensor]) -> None:
        """What a batch that is not the last adds."""
        for number, gradient in enumerate(gradients):
            self._views[number] += self._chosen(number, gradient)

    def complete(self, number: int, gradient: Tensor) -> None:
        """What the last batch adds to a parameter's gradient; a piece that this makes whole is sent."""
        self._views[number] += self._chosen(number, gradient)
        self._buckets[self._piece_of[number]].waiting -= 1
        self._send()

    def complete_all(self) -> None:
        """No more comes: this process has no batch in the step."""
        for bucket in self._buckets:
            bucket.waiting = 0
        self._send()

    def sums(self) -> list[Tensor]:
        """The gradients over all processes, in the order of the parameters; waits until they are there."""
        assert self._sent == len(self._buckets), "a gradient is missing"
        for bucket in self._buckets:
            assert bucket.wait is not None
            bucket.wait()
        return [self._whole(number) for number in range(len(self._parameters))]

    def _divide(self, numbers: Sequence[int], limit: int) -> list[list[int]]:
        members: list[list[int]] = []
        size = limit
        for number in reversed(numbers):
            bytes_of = self._shape(number).numel() * self._parameters[number].element_size()
            if size + bytes_of > limit:
                members.append([])
                size = 0
            members[-1].append(number)
            size += bytes_of
        return members

    def _make(self, group: Group, members: Sequence[int]) -> _Bucket:
        sizes = [self._shape(number).numel() for number in members]
        flat = self._parameters[members[0]].detach().new_zeros(sum(sizes))
        for number, piece in zip(members, torch.split(flat, sizes), strict=True):
            self._piece_of[number], self._views[number] = len(self._buckets), piece.view(self._shape(number))
        return _Bucket(group, flat, len(members))

    def _shape(self, number: int) -> torch.Size:
        shape, rows = self._parameters[number].shape, self._rows[number]
        return shape if rows is None else torch.Size([len(rows), *shape[1:]])

    def _chosen(self, number: int, gradient: Tensor) -> Tensor:
        rows = self._rows[number]
        return gradient if rows is None else gradient.index_select(0, rows)

    def _whole(self, number: int) -> Tensor:
        rows, view = self._rows[number], self._views[number]
        return view if rows is None else torch.zeros_like(self._parameters[number]).index_copy_(0, rows, view)

    def _send(self) -> None:
        for bucket in itertools.islice(self._buckets, self._sent, None):
            if bucket.waiting:
                return
            bucket.wait = bucket.group.sum_later(bucket.flat)
            self._sent += 1
