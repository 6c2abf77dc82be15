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
from train.store.manifest import ShardRecord, StoreError, read_manifest, sha256_of

Array = NDArray[Any]

DTYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32, "F64": np.float64}
"""Of safetensors, as far as shards have them."""

PER_STRUCTURE = ("cell", "pbc", "charge", "spin", "digest", "file")
PER_ATOM = ("numbers", "positions")


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


class Store:
    """A store as it was when it was opened; what is appended later is not seen.

    Nothing is held in memory but the manifest: arrays are mapped, and pages come and go as the system likes.

    Args:
        folder: of the store.

    Raises:
        StoreError: it is none, or a shard is missing or has another size than it should.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.shards = [mapped(folder, shard) for shard in self.manifest.shards]
        self.first = np.concatenate([[0], np.cumsum([shard.structures for shard in self.manifest.shards])]).astype(int)

    def __len__(self) -> int:
        return int(self.first[-1])

    def sizes(self) -> Array:
        """[S] atoms of each structure, without reading any."""
        return np.concatenate([np.zeros(0, np.int64), *(np.diff(shard["first_atom"]) for shard in self.shards)])

    def read(self, indices: Sequence[int] | Array, names: Sequence[str] | None = None) -> Records:
        """Structures by number, in the order given; a number may come twice.

        Each shard is read once, from its front to its end: ask for many at once.

        Args:
            indices: [S], each from 0 to below the length.
            names: arrays wanted, and "source" for sources; without, all. A label that a shard has of no structure is
                zero, and unknown.

        Raises:
            IndexError: there is no such number.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"{self.folder} has structures 0 to {len(self) - 1}; {int(wanted.max())} was asked for")
        order = np.argsort(wanted, kind="stable")
        shard_of = np.searchsorted(self.first, wanted[order], side="right") - 1
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(shard_of)) + 1, [len(wanted)]])
        parts: list[_Part] = []
        for begin, end in itertools.pairwise(cuts):
            if begin < end:
                shard = int(shard_of[begin])
                parts.append(_Part.of(self, shard, wanted[order[begin:end]]))
        return self._joined(parts, order, names)

    def source(self, index: int) -> str:
        """Where a structure is from."""
        shard = int(np.searchsorted(self.first, index, side="right")) - 1
        return _source(self.shards[shard], index - int(self.first[shard]), self.manifest.shards[shard].sources)

    def check(self) -> Iterator[tuple[str, str | None]]:
        """Each shard, and what is wrong with it, if anything: its checksum, and whether its labels are numbers."""
        for number, record in enumerate(self.manifest.shards):
            yield record.file, self.wrong(number)

    def wrong(self, number: int) -> str | None:
        """What is wrong with a shard, if anything, see `check`."""
        record = self.manifest.shards[number]
        return _wrong(self.folder / record.file, record, self.shards[number])

    def _joined(self, parts: Sequence[_Part], order: Array, names: Sequence[str] | None) -> Records:
        counts = np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)])
        first = np.concatenate([[0], np.cumsum(counts)])
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        rows = _ranges(first[:-1][back], counts[back])
        labels = [f"{kind}.{name}" for name in self.manifest.quantities for kind in ("known", "label")]
        found = {}
        wanted = (*PER_STRUCTURE, *PER_ATOM, *labels) if names is None else names
        for name in (name for name in wanted if name != "source"):
            per_atom = self._per_atom(name)
            arrays = [part.array(name, self._empty(name, part, per_atom=per_atom), per_atom=per_atom) for part in parts]
            if arrays:
                found[name] = np.concatenate(arrays)[rows if per_atom else back]
        told = parts if names is None or "source" in names else []
        sources = [_source(part.shard, int(n), part.files) for part in told for n in part.numbers]
        first = np.concatenate([[0], np.cumsum(counts[back])])
        return Records(first, found, tuple(sources[n] for n in back.tolist() if sources))

    def _per_atom(self, name: str) -> bool:
        kind, _, quantity = name.partition(".")
        return name in PER_ATOM or (kind == "label" and self.manifest.quantities[quantity].level == "atom")

    def _empty(self, name: str, part: _Part, *, per_atom: bool) -> Array | None:
        """What stands for a label that a shard has of no structure."""
        kind, _, quantity = name.partition(".")
        if name in part.shard:
            return None
        rows = int(part.counts.sum()) if per_atom else len(part.numbers)
        shape = self.manifest.quantities[quantity].shape if kind == "label" else ()
        return np.zeros((rows, *shape), dtype=np.float64 if kind == "label" else np.uint8)


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
        return _Part(shard, store.manifest.shards[number].sources, numbers, counts, _ranges(begin, counts))

    def array(self, name: str, empty: Array | None, *, per_atom: bool) -> Array:
        if empty is not None:
            return empty
        found: Array = self.shard[name][self.rows if per_atom else self.numbers]
        return found


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


def _wrong(path: Path, record: ShardRecord, shard: Mapping[str, Array]) -> str | None:
    if sha256_of(path) != record.sha256:
        return "its content is not what was written (checksum); copy the store again, or convert the data again"
    for name, array in shard.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} holds a number that is not finite"
    return None


def _ranges(begin: Array, counts: Array) -> Array:
    """[N] begin[0], begin[0] + 1, ... counts[0] of them, then those of the next."""
    first = np.concatenate([[0], np.cumsum(counts)])
    found: Array = np.arange(first[-1]) + np.repeat(begin - first[:-1], counts)
    return found


def _source(shard: Mapping[str, Array], number: int, files: Sequence[str]) -> str:
    name = shard["names"][slice(*shard["first_letter"][number : number + 2])].tobytes().decode()
    return f"{files[int(shard['file'][number])]}{name}"


def as_ase(records: Records, number: int) -> Atoms:
    """One of the structures, without its labels; charge and spin are in ``info``."""
    atoms = Atoms(**records.geometry(number)._asdict())
    arrays = records.arrays
    atoms.info |= {name: float(arrays[name][number]) for name in ("charge", "spin") if arrays[name][number]}
    return atoms
