"""The ranks that hold a store in memory together; one alone is one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.store.manifest import StoreError

Array = NDArray[Any]


@dataclass(frozen=True)
class Runs:
    """Neighbouring rows that are read in one piece.

    Attributes:
        part: [P] where they are.
        row: [P] first of them in that part.
        count: [P] rows.
        place: [P] first row where they go.
    """

    part: Array
    row: Array
    count: Array
    place: Array

    def of(self, which: Array) -> Runs:
        """Some of them."""
        return Runs(self.part[which], self.row[which], self.count[which], self.place[which])


class Ranks:
    """One rank, which holds everything.

    Attributes:
        part: number of this rank's part of the data.
        parts: how many there are, one for each rank of a group.
        here: the parts whose memory this rank reads by plain loads.
    """

    part, parts, here = 0, 1, range(1)

    def agree(self, why: str | None) -> None:
        """Raise on every rank what went wrong on any.

        Raises:
            StoreError: something did.
        """
        if why is not None:
            raise StoreError(why)

    def turns(self, count: int) -> range:
        """Those of so many pieces of work that are this rank's, where all ranks share them."""
        return range(count)

    def share(self, number: int) -> Array:
        """[parts] what the ranks of the group say."""
        return np.array([number])

    def memory(self, size: int) -> tuple[Array, Array]:
        """Memory for this rank's part, and that of all parts that are `here`, one after the other.

        Raises:
            StoreError: a host has not enough of it.
        """
        own = np.zeros(size, dtype=np.uint8)
        return own, own

    def complete(self, index: Array, cuts: Array) -> None:
        """Fill in what other hosts know of an index in the memory of this one; part p is cuts[p] to cuts[p + 1]."""

    def settle(self) -> None:
        """Until all have written their parts of the memory, and see those of the others."""

    def expose(self, own: Array, row_bytes: int) -> None:
        """Let others fetch rows from this rank's part."""

    def ask(self, runs: Runs, into: Array) -> None:
        """Begin to read rows from parts that are not `here`; they have come once `wait_for` has returned.

        Args:
            runs: which.
            into: [R, row_bytes] to be written.
        """
        assert not len(runs.part), (runs, into)  # one rank has everything

    def wait_for(self, runs: Runs) -> None:
        """Until what was asked for has come."""

    def close(self) -> None:
        """Give the memory back, all ranks together."""

    def abandon(self) -> None:
        """This rank is leaving by an error, and the others do not know: end them too, once it has said why."""
