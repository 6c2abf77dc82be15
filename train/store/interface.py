"""What every store offers, wherever its arrays are: structures by number, many at once, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from train.columns import HASH_BYTES
from train.store.manifest import StoreManifest

if TYPE_CHECKING:
    from train.store.reader import Records

Array = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """One array of a store.

    Attributes:
        name: of it.
        per_atom: whether it has a row for each atom, or for each structure.
        dtype: of its numbers.
        shape: of a row.
    """

    name: str
    per_atom: bool
    dtype: type[np.generic]
    shape: tuple[int, ...] = ()


COLUMNS = {
    column.name: column
    for column in (
        Column("cell", False, np.float64, (3, 3)),
        Column("pbc", False, np.uint8, (3,)),
        Column("charge", False, np.float64),
        Column("spin", False, np.float64),
        Column("digest", False, np.uint8, (HASH_BYTES,)),
        Column("file", False, np.int32),
        Column("numbers", True, np.uint8),
        Column("positions", True, np.float64, (3,)),
    )
}
"""Arrays that every store has; labels come on top."""

SOURCE = "source"
"""Asked for beside arrays: where structures are from."""


class StoreLike(ABC):
    """A store as it was when it was opened; what is appended later is not seen.

    It is a context manager: what it holds is given back at the end of the block, or by `close`.

    Attributes:
        folder: of the store.
        manifest: what the store says of itself.
        first: [shards + 1] number of the first structure of each shard.
    """

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.first = np.concatenate([[0], np.cumsum([shard.structures for shard in manifest.shards])]).astype(int)

    def __len__(self) -> int:
        return int(self.first[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close()

    @abstractmethod
    def sizes(self, indices: Sequence[int] | Array | None = None) -> Array:
        """[S] atoms of each structure, or of those of these numbers, without reading any."""

    @abstractmethod
    def read(self, indices: Sequence[int] | Array, names: Sequence[str] | None = None) -> Records:
        """Structures by number, in the order given; a number may come twice. Ask for many at once.

        Args:
            indices: [S], each from 0 to below the length.
            names: arrays wanted, and "source" for sources; without, all. A label that a shard has of no structure is
                zero, and unknown.

        Raises:
            IndexError: there is no such number.
            ValueError: there is no such array.
        """

    @abstractmethod
    def source(self, index: int) -> str:
        """Where a structure is from."""

    def close(self) -> None:  # noqa: B027 - files have nothing to give back
        """Give back what is held; nothing can be read afterwards."""

    def all_names(self) -> list[str]:
        """Of all arrays."""
        labels = [f"{kind}.{name}" for name in self.manifest.quantities for kind in ("known", "label")]
        return [*COLUMNS, *labels]

    def columns(self, names: Sequence[str] | None = None) -> list[Column]:
        """What is known of these arrays, or of all.

        Raises:
            ValueError: there is no such array.
        """
        return [self._column(name) for name in (self.all_names() if names is None else names) if name != SOURCE]

    def _column(self, name: str) -> Column:
        if name in COLUMNS:
            return COLUMNS[name]
        kind, _, quantity = name.partition(".")
        record = self.manifest.quantities.get(quantity)
        if record is None or kind not in {"known", "label"}:
            raise ValueError(f"{self.folder} has no array {name!r}; it has {', '.join(self.all_names())}")
        if kind == "known":
            return Column(name, False, np.uint8)
        return Column(name, record.level == "atom", np.float64, record.shape)

    def _checked(self, indices: Sequence[int] | Array) -> Array:
        """[S] the numbers as they were given."""
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            wrong = wanted.max() if wanted.max() >= len(self) else wanted.min()
            raise IndexError(f"{self.folder} has structures 0 to {len(self) - 1}; {int(wrong)} was asked for")
        return wanted


def ranges(begin: Array, counts: Array) -> Array:
    """[N] begin[0], begin[0] + 1, ... counts[0] of them, then those of the next."""
    first = np.concatenate([[0], np.cumsum(counts)])
    found: Array = np.arange(first[-1]) + np.repeat(begin - first[:-1], counts)
    return found
