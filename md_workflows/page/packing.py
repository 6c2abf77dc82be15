"""Rows, structures and curves as compact blocks of bytes, which the page's script unpacks."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

import numpy as np
from ase import Atoms

from md_workflows.page.document import json_bytes
from md_workflows.properties.base import Column, Value

ROWS_IN_BLOCK = 2000
BYTES_IN_BLOCK = 1 << 18
NAMES_LISTED = 20
LARGEST_EXACT_INT = 2**53
"""Numbers of a browser are float64: whole ones beyond this are written as text, with all their digits."""


def json_value(value: Any, place: str) -> Any:
    """`value` as JSON has it: NaN and infinities as a list of their name, so that nothing is mistaken for another.

    Raises:
        ValueError: for what is no number, text, truth value or None; `place` says where it stood.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_EXACT_INT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else [str(value)]
    raise ValueError(
        f"{place} is of type {type(value).__name__}: the page shows numbers, text, True, False and None; convert it."
    )


class RowPacker:
    """Packs rows column by column, and knows which identifier is which row.

    Raises:
        ValueError: for columns that are named twice, that lack `identifier` or are not there; for a row with a value
            that no column is for, without an identifier, or with one that another row has.
    """

    def __init__(self, columns: Sequence[Column], identifier: str) -> None:
        self.names = [column.name for column in columns]
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"Two columns are named {twice[0]!r}: give each a name of its own.")
        if identifier not in self.names:
            raise ValueError(
                f"No column is named {identifier!r}, which tells rows apart: {nearest(identifier, self.names)}"
            )
        self.identifier = identifier
        self.known = frozenset(self.names)
        self.numbers: dict[str, int] = {}

    def blocks(self, rows: Iterable[Mapping[str, Value]]) -> Iterator[tuple[list[str], bytes]]:
        """The identifiers of some thousand rows and their values, [columns][rows] in JSON, until the rows end."""
        stream = iter(rows)
        while taken := list(islice(stream, ROWS_IN_BLOCK)):
            identifiers = [self._enter(row) for row in taken]
            values = [
                [
                    json_value(row.get(name), f"{name!r} of {given!r}")
                    for given, row in zip(identifiers, taken, strict=True)
                ]
                for name in self.names
            ]
            yield identifiers, json_bytes(values)

    def _enter(self, row: Mapping[str, Value]) -> str:
        given = row.get(self.identifier)
        number = len(self.numbers)
        if given is None:
            raise ValueError(f"Row {number + 1} has no {self.identifier!r}, which tells rows apart: give it one.")
        name = str(given)
        if not self.known.issuperset(row):
            unknown = next(key for key in row if key not in self.known)
            raise ValueError(
                f"The row {name!r} has a value {unknown!r}, and no column is for it: {nearest(unknown, self.names)}"
            )
        first = self.numbers.setdefault(name, number)
        if first != number:
            raise ValueError(f"Rows {first + 1} and {number + 1} are both called {name!r}: identifiers must differ.")
        return name


class AttachmentPacker:
    """Packs what belongs to single rows, structures and curves, up to a size.

    A block is the length of its header (uint32), the header in JSON, and the arrays of its structures: cell [3,3] in Å
    as float64, positions [N,3] in Å as float32, atomic numbers [N] as uint8; all little-endian.
    """

    def __init__(self, limit_bytes: float) -> None:
        self.limit_bytes = limit_bytes
        self.written = 0
        self.structures = 0
        self.index: list[list[int]] = []
        """Of each block, the rows that it holds something of."""
        self._entries: list[dict[str, Any]] = []
        self._arrays: list[bytes] = []
        self._buffered = 0

    @property
    def full(self) -> bool:
        """Whether nothing more is kept."""
        return self.written + self._buffered >= self.limit_bytes

    @property
    def ready(self) -> bool:
        """Whether a block is worth writing."""
        return self._buffered >= BYTES_IN_BLOCK

    def add_structures(self, row: int, structures: Atoms | Mapping[str, Atoms] | None) -> None:
        """Keep the structure of a row, or several by their names."""
        if structures is None:
            return
        named = {"": structures} if isinstance(structures, Atoms) else structures
        for name, atoms in named.items():
            numbers = atoms.numbers
            data = b"".join(
                (
                    np.asarray(atoms.cell.array, dtype="<f8").tobytes(),
                    np.asarray(atoms.positions, dtype="<f4").tobytes(),
                    np.asarray(numbers, dtype="u1").tobytes(),
                )
            )
            entry = {"row": row, "name": name, "atoms": len(numbers), "pbc": [bool(periodic) for periodic in atoms.pbc]}
            self._add(entry, data)
            self.structures += 1

    def add_curves(
        self, row: int, identifier: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    ) -> None:
        """Keep the curves of a row.

        Raises:
            ValueError: for a curve with more values of one kind than of the other.
        """
        for name, (x, y) in curves.items():
            place = f"the curve {name!r} of {identifier!r}"
            if len(x) != len(y):
                raise ValueError(f"{place[0].upper()}{place[1:]} has {len(x)} x and {len(y)} y: both must be as many.")
            entry = {"row": row, "curve": name}
            entry |= {"x": [json_value(v, place) for v in x], "y": [json_value(v, place) for v in y]}
            self._add(entry, b"", size=32 * len(x))

    def _add(self, entry: dict[str, Any], data: bytes, size: int = 0) -> None:
        self._entries.append(entry)
        self._arrays.append(data)
        self._buffered += len(data) + size

    def take(self) -> bytes:
        """The block of what was added since the last one; empty where nothing was."""
        if not self._entries:
            return b""
        header = json_bytes(self._entries)
        block = len(header).to_bytes(4, "little") + header + b"".join(self._arrays)
        self.index.append(sorted({entry["row"] for entry in self._entries}))
        self._entries, self._arrays, self._buffered = [], [], 0
        return block


def nearest(name: str, known: Iterable[str]) -> str:
    """What to do about a name that is not there."""
    names = list(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    more = len(names) - NAMES_LISTED
    listed = ", ".join(names[:NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")
    return f"did you mean {near[0]!r}?" if near else f"there are {listed or 'none'}."
