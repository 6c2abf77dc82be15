"""How structures lie in memory: each is one run of equal rows, a few for itself and one for each of its atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.store.interface import Column, ranges

Array = NDArray[Any]

AT_ONCE = 16_384
"""Structures that are packed together: what packing needs beside the rows is some 30 MB."""


@dataclass(frozen=True)
class Layout:
    """Rows of `row_bytes`: a structure is fetched in one piece, and neighbours are one piece together.

    Attributes:
        columns: arrays that are kept.
        head: numbers of a structure itself, padded to whole rows.
        atom: numbers of an atom, one row; of no bytes where nothing of atoms is kept.
        row_bytes: of a row.
        head_rows: rows of `head`.
        atom_rows: 1, or 0 where nothing of atoms is kept.
    """

    columns: tuple[Column, ...]
    head: np.dtype[np.void]
    atom: np.dtype[np.void]
    row_bytes: int
    head_rows: int
    atom_rows: int

    @staticmethod
    def of(columns: Sequence[Column]) -> Layout:
        """The layout of these arrays."""
        head = _together([column for column in columns if not column.per_atom])
        atom = _together([column for column in columns if column.per_atom])
        row = atom.itemsize or max(head.itemsize, 1)
        rows = -(-head.itemsize // row)
        if head.names:
            fields = [head.fields[name] for name in head.names] if head.fields else []
            formats, offsets = [field[0] for field in fields], [field[1] for field in fields]
            as_rows = {"names": head.names, "formats": formats, "offsets": offsets, "itemsize": rows * row}
            head = np.dtype(as_rows)  # type: ignore[call-overload]
        return Layout(tuple(columns), head, atom, row, rows, int(atom.itemsize > 0))

    def begin(self, numbers: Array | int, first_atom: Array | int) -> Any:
        """First rows of structures, by their numbers and those of their first atoms."""
        return self.head_rows * numbers + self.atom_rows * first_atom

    def counts(self, atoms: Array) -> Array:
        """[S] rows of structures of so many atoms."""
        found: Array = self.head_rows + self.atom_rows * atoms
        return found

    def pack(self, shard: Mapping[str, Array], numbers: range, rows: Array) -> None:
        """Write structures of a shard into rows.

        Args:
            shard: its arrays; a label that it has of no structure becomes zero, and unknown.
            numbers: of the structures in the shard.
            rows: [R, row_bytes] to be written.
        """
        if not rows.size:
            return
        done = 0
        for begin in range(numbers.start, numbers.stop, AT_ONCE):
            end = min(begin + AT_ONCE, numbers.stop)
            first = np.asarray(shard["first_atom"][begin : end + 1])
            counts = self.counts(np.diff(first))
            starts = done + np.cumsum(counts) - counts
            slices = {True: slice(first[0], first[-1]), False: slice(begin, end)}
            heads, atoms = np.zeros(end - begin, self.head), np.zeros(int(first[-1] - first[0]), self.atom)
            for column in self.columns:
                if column.name in shard:
                    kept = shard[column.name][slices[column.per_atom]]
                    np.copyto((atoms if column.per_atom else heads)[column.name], kept, casting="safe")
            if self.head_rows:
                rows[self._heads(starts)] = heads.view(np.uint8).reshape(-1, self.row_bytes)
            if self.atom_rows:
                rows[self._atoms(starts, counts)] = atoms.view(np.uint8).reshape(-1, self.row_bytes)
            done += int(counts.sum())

    def unpack(self, rows: Array, starts: Array, counts: Array, columns: Sequence[Column]) -> dict[str, Array]:
        """The arrays of structures, in the order of their first rows.

        Args:
            rows: [R, row_bytes].
            starts: [S] first rows of structures.
            counts: [S] their rows.
            columns: arrays wanted.
        """
        parts = {}
        if any(not column.per_atom for column in columns):
            parts[False] = np.take(rows, self._heads(starts), axis=0).reshape(-1).view(self.head)
        if any(column.per_atom for column in columns):
            parts[True] = np.take(rows, self._atoms(starts, counts), axis=0).reshape(-1).view(self.atom)
        return {column.name: np.ascontiguousarray(parts[column.per_atom][column.name]) for column in columns}

    def _heads(self, starts: Array) -> Array:
        found: Array = (starts[:, None] + np.arange(self.head_rows)).ravel()
        return found

    def _atoms(self, starts: Array, counts: Array) -> Array:
        return ranges(starts + self.head_rows, counts - self.head_rows)


def _together(columns: Sequence[Column]) -> np.dtype[np.void]:
    return np.dtype([(column.name, column.dtype, column.shape) for column in columns])
