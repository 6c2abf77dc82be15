"""Reads a store: many structures at once from memory-mapped shards, by number, in any order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from potentials.structures import Geometry
from train.store.interface import SOURCE, Column, StoreLike, ranges
from train.store.manifest import ShardRecord, StoreError, read_manifest, sha256_of

Array = NDArray[Any]

DTYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32, "F64": np.float64}
"""Of safetensors, as far as shards have them."""


@dataclass(frozen=True)
class Records:
    """Structures out of a store, in the order asked for; S structures, N atoms.

    Attributes:
        first_atom: [S + 1].
        arrays: those of `train.store.writer.packed`, rows of these structures alone.
        sources: where each is from.
    """

    first_atom: Array
    arrays: dict[str, Array]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.first_atom) - 1

    def rows(self, number: int) -> slice:
        """Of the atoms of one of the structures."""
        return slice(*self.first_atom[number : number + 2])

    def geometry(self, number: int) -> Geometry:
        """Of one of the structures."""
        arrays, rows = self.arrays, self.rows(number)
        pbc = arrays["pbc"][number].astype(bool)
        return Geometry(arrays["numbers"][rows], arrays["positions"][rows], arrays["cell"][number], pbc)


class Store(StoreLike):
    """A store of files: arrays are mapped into memory, and pages come and go as the system likes.

    Nothing is held in memory but the manifest.

    Args:
        folder: of the store.

    Raises:
        StoreError: it is none, or a shard is missing or has another size than it should.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, read_manifest(folder))
        self.shards = [mapped(folder, shard) for shard in self.manifest.shards]

    def sizes(self, indices: Sequence[int] | Array | None = None) -> Array:
        """See `StoreLike`."""
        if indices is None:
            return np.concatenate([np.zeros(0, np.int64), *(np.diff(shard["first_atom"]) for shard in self.shards)])
        wanted = self._checked(indices)
        found = np.empty(len(wanted), dtype=np.int64)
        shard_of = np.searchsorted(self.first, wanted, side="right") - 1
        for shard in np.unique(shard_of).tolist():
            here = shard_of == shard
            first, numbers = self.shards[shard]["first_atom"], wanted[here] - self.first[shard]
            found[here] = first[numbers + 1] - first[numbers]
        return found

    def read(self, indices: Sequence[int] | Array, names: Sequence[str] | None = None) -> Records:
        """See `StoreLike`; each shard is read once, from its front to its end."""
        wanted, columns = self._checked(indices), self.columns(names)
        order = np.argsort(wanted, kind="stable")
        shard_of = np.searchsorted(self.first, wanted[order], side="right") - 1
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(shard_of)) + 1, [len(wanted)]])
        parts: list[_Part] = []
        for begin, end in itertools.pairwise(cuts):
            if begin < end:
                shard = int(shard_of[begin])
                parts.append(_Part.of(self, shard, wanted[order[begin:end]]))
        return _joined(parts, order, columns, told=names is None or SOURCE in names)

    def source(self, index: int) -> str:
        """Where a structure is from."""
        shard = int(np.searchsorted(self.first, index, side="right")) - 1
        return source_in(self.shards[shard], index - int(self.first[shard]), self.manifest.shards[shard].sources)

    def check(self) -> Iterator[tuple[str, str | None]]:
        """Each shard, and what is wrong with it, if anything: its checksum, and whether its labels are numbers."""
        for number, record in enumerate(self.manifest.shards):
            yield record.file, self.wrong(number)

    def wrong(self, number: int) -> str | None:
        """What is wrong with a shard, if anything, see `check`."""
        record = self.manifest.shards[number]
        return wrong_in(self.folder / record.file, record, self.shards[number])


@dataclass(frozen=True)
class _Part:
    """Structures of one shard, ascending."""

    shard: Mapping[str, Array]
    files: tuple[str, ...]
    numbers: Array
    counts: Array
    rows: Array

    @staticmethod
    def of(store: Store, number: int, wanted: Array) -> _Part:
        shard, numbers = store.shards[number], wanted - store.first[number]
        first = shard["first_atom"]
        begin = first[numbers]
        counts = first[numbers + 1] - begin
        record = store.manifest.shards[number]
        if min(begin.min(), counts.min()) < 0 or (begin + counts).max() > record.atoms:
            raise StoreError(
                f"{store.folder / record.file} is damaged: its structures are not where it says; gfm-ase data validate"
                f" {store.folder} looks at all shards; copy the store again, or convert the data again"
            )
        return _Part(shard, store.manifest.shards[number].sources, numbers, counts, ranges(begin, counts))

    def array(self, column: Column) -> Array:
        """Rows of one array; zeros stand for a label that a shard has of no structure."""
        if column.name not in self.shard:
            rows = int(self.counts.sum()) if column.per_atom else len(self.numbers)
            return np.zeros((rows, *column.shape), dtype=column.dtype)
        found: Array = self.shard[column.name][self.rows if column.per_atom else self.numbers]
        return found


def _joined(parts: Sequence[_Part], order: Array, columns: Sequence[Column], *, told: bool) -> Records:
    """What was read in ascending order, in the order asked for."""
    counts = np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)])
    first = np.concatenate([[0], np.cumsum(counts)])
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    rows = ranges(first[:-1][back], counts[back])
    found = {}
    for column in columns if parts else ():
        arrays = [part.array(column) for part in parts]
        found[column.name] = np.concatenate(arrays)[rows if column.per_atom else back]
    sources = [source_in(part.shard, int(n), part.files) for part in parts if told for n in part.numbers]
    first = np.concatenate([[0], np.cumsum(counts[back])])
    return Records(first, found, tuple(sources[n] for n in back.tolist() if sources))


def mapped(folder: Path, record: ShardRecord) -> dict[str, Array]:
    """The arrays of a shard, mapped into memory.

    Raises:
        StoreError: it is missing, has another size than it should, or is no shard.
    """
    path = folder / record.file
    if not path.exists() or path.stat().st_size != record.bytes:
        there = f"has {path.stat().st_size:,} bytes and should have {record.bytes:,}" if path.exists() else "is missing"
        raise StoreError(f"{path} {there}: copy the store again, or convert the data again")
    whole = np.memmap(path, dtype=np.uint8, mode="r")
    try:
        length = int(whole[:8].view("<u8")[0])
        header = json.loads(whole[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        data = whole[8 + length :]
        return {
            name: data[slice(*entry["data_offsets"])].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{path} is no shard of a store, or damaged; convert the data again") from None


def wrong_in(path: Path, record: ShardRecord, shard: Mapping[str, Array]) -> str | None:
    """What is wrong with a shard, if anything."""
    if sha256_of(path) != record.sha256:
        return "its content is not what was written (checksum); copy the store again, or convert the data again"
    for name, array in shard.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} holds a number that is not finite"
    return None


def source_in(shard: Mapping[str, Array], number: int, files: Sequence[str]) -> str:
    """Where a structure of a shard is from, by its number in the shard."""
    name = shard["names"][slice(*shard["first_letter"][number : number + 2])].tobytes().decode()
    return f"{files[int(shard['file'][number])]}{name}"


def as_ase(records: Records, number: int) -> Atoms:
    """One of the structures, without its labels; charge and spin are in ``info``."""
    atoms = Atoms(**records.geometry(number)._asdict())
    arrays = records.arrays
    atoms.info |= {name: float(arrays[name][number]) for name in ("charge", "spin") if arrays[name][number]}
    return atoms
