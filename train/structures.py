"""Labelled structures by number: in memory, chosen from others, one after another; `train.streamed` has more."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from train.columns import HASH_BYTES, Columns, digest_of
from train.labelled import Labelled, batch_labelled

Array = NDArray[Any]

AT_ONCE = 2048
"""Structures that are asked for together where all are gone through."""


class Structures(Sequence[Labelled], ABC):
    """Structures with their graphs and labels; what is known of them without reading them is quick."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, numbers: Array) -> list[Labelled]:
        """Those of the given numbers, in their order."""

    def batch(self, numbers: Array) -> Labelled:
        """Those of the given numbers as one, in their order."""
        return batch_labelled(self.take(numbers))

    @abstractmethod
    def sizes(self, numbers: Array) -> Array:
        """[M, 2] atoms and edges of the structures of the given numbers."""

    @abstractmethod
    def source(self, number: int) -> str:
        """Where a structure is from."""

    @abstractmethod
    def columns(self, numbers: Array) -> Columns:
        """Elements and labels of the structures of the given numbers, without their graphs."""

    @abstractmethod
    def digests(self, numbers: Array) -> Array:
        """[M, 16] bytes of the geometries of the structures of the given numbers."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of all that is in them, wherever their files lie."""

    def close(self) -> None:
        """Give back what is held of a store; all processes together, after the last structure was asked for."""

    def part(self, numbers: Array) -> Structures:
        """The structures of the given numbers."""
        return Chosen(self, numbers)

    @overload
    def __getitem__(self, number: int) -> Labelled: ...

    @overload
    def __getitem__(self, number: slice) -> Structures: ...

    def __getitem__(self, number: int | slice) -> Labelled | Structures:
        if isinstance(number, slice):
            return self.part(np.arange(len(self))[number])
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} structures; number {number} was asked for")
        return self.take(np.array([number % len(self)]))[0]

    def __iter__(self) -> Iterator[Labelled]:
        for numbers in self.blocks():
            yield from self.take(numbers)

    def blocks(self, rank: int = 0, size: int = 1) -> Iterator[Array]:
        """All numbers, some at once; those of one of several processes that share them."""
        for first in range(rank * AT_ONCE, len(self), size * AT_ONCE):
            yield np.arange(first, min(first + AT_ONCE, len(self)))


class Held(Structures):
    """Structures in memory.

    Args:
        structures: with their graphs.
    """

    def __init__(self, structures: Sequence[Labelled]) -> None:
        self._structures = list(structures)
        sizes = [(one.graph.n_atoms, one.graph.n_edges) for one in self._structures]
        self._sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._structures)

    def take(self, numbers: Array) -> list[Labelled]:
        """See `Structures`."""
        return [self._structures[number] for number in numbers.tolist()]

    def sizes(self, numbers: Array) -> Array:
        """See `Structures`."""
        found: Array = self._sizes[numbers]
        return found

    def source(self, number: int) -> str:
        """See `Structures`."""
        return self._structures[number].source[0]

    def columns(self, numbers: Array) -> Columns:
        """See `Structures`."""
        return Columns.of(self.take(numbers))

    def digests(self, numbers: Array) -> Array:
        """See `Structures`."""
        joined = b"".join(map(digest_of, self.take(numbers)))
        return np.frombuffer(joined, dtype=np.uint8).reshape(-1, HASH_BYTES)

    def fingerprint(self) -> str:
        """See `Structures`."""
        digest = hashlib.sha256()
        for one in self._structures:
            graph = one.graph
            values = [graph.numbers, graph.positions, graph.cell, graph.pbc, graph.charge, graph.spin]
            values += [values_of[name] for name in one.known for values_of in (one.known, one.labels)]
            for value in values:
                digest.update(value.numpy().tobytes())
        return digest.hexdigest()

    def part(self, numbers: Array) -> Held:
        """See `Structures`."""
        return Held(self.take(numbers))


class Joined(Structures):
    """Several, one after the other.

    Args:
        parts: in their order.
    """

    def __init__(self, parts: Sequence[Structures]) -> None:
        self.parts = [part for part in parts if len(part)]
        self.first = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.first[-1])

    def take(self, numbers: Array) -> list[Labelled]:
        """See `Structures`."""
        found: dict[int, Labelled] = {}
        for part, places, own in self._shares(numbers):
            found |= dict(zip(places.tolist(), part.take(own), strict=True))
        return [found[place] for place in range(len(numbers))]

    def batch(self, numbers: Array) -> Labelled:
        """See `Structures`."""
        shares = list(self._shares(numbers))
        in_order = np.array_equal(np.concatenate([places for _, places, _ in shares]), np.arange(len(numbers)))
        return batch_labelled([part.batch(own) for part, _, own in shares]) if in_order else super().batch(numbers)

    def sizes(self, numbers: Array) -> Array:
        """See `Structures`."""
        found = np.zeros((len(numbers), 2), dtype=np.int64)
        for part, places, own in self._shares(numbers):
            found[places] = part.sizes(own)
        return found

    def source(self, number: int) -> str:
        """See `Structures`."""
        which = int(np.searchsorted(self.first, number, side="right")) - 1
        return self.parts[which].source(number - int(self.first[which]))

    def columns(self, numbers: Array) -> Columns:
        """See `Structures`; those of one part follow those of another."""
        return Columns.joined([part.columns(own) for part, _, own in self._shares(numbers)])

    def digests(self, numbers: Array) -> Array:
        """See `Structures`."""
        found = np.zeros((len(numbers), HASH_BYTES), dtype=np.uint8)
        for part, places, own in self._shares(numbers):
            found[places] = part.digests(own)
        return found

    def close(self) -> None:
        """See `Structures`."""
        for part in self.parts:
            part.close()

    def fingerprint(self) -> str:
        """See `Structures`."""
        return hashlib.sha256("".join(part.fingerprint() for part in self.parts).encode()).hexdigest()

    def _shares(self, numbers: Array) -> Iterator[tuple[Structures, Array, Array]]:
        """Each part that is asked for something, at which places, and for which of its numbers."""
        which = np.searchsorted(self.first, numbers, side="right") - 1
        for index in np.unique(which).tolist():
            places = np.flatnonzero(which == index)
            yield self.parts[index], places, numbers[places] - self.first[index]


class Chosen(Structures):
    """Some of other structures.

    Args:
        whole: the others.
        numbers: of those chosen, in their order.
    """

    def __init__(self, whole: Structures, numbers: Array) -> None:
        self.whole, self.numbers = whole, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, numbers: Array) -> list[Labelled]:
        """See `Structures`."""
        return self.whole.take(self.numbers[numbers])

    def batch(self, numbers: Array) -> Labelled:
        """See `Structures`."""
        return self.whole.batch(self.numbers[numbers])

    def sizes(self, numbers: Array) -> Array:
        """See `Structures`."""
        return self.whole.sizes(self.numbers[numbers])

    def source(self, number: int) -> str:
        """See `Structures`."""
        return self.whole.source(int(self.numbers[number]))

    def columns(self, numbers: Array) -> Columns:
        """See `Structures`."""
        return self.whole.columns(self.numbers[numbers])

    def digests(self, numbers: Array) -> Array:
        """See `Structures`."""
        return self.whole.digests(self.numbers[numbers])

    def close(self) -> None:
        """See `Structures`."""
        self.whole.close()

    def fingerprint(self) -> str:
        """See `Structures`."""
        return hashlib.sha256(self.whole.fingerprint().encode() + self.numbers.tobytes()).hexdigest()

    def part(self, numbers: Array) -> Structures:
        """See `Structures`."""
        return Chosen(self.whole, self.numbers[numbers])
