"""Writes a store, shard by shard: what is in the manifest is whole, whenever the writer is stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from potentials.quantities import QUANTITIES, TRAINABLE, Quantity
from potentials.structures import structure_state
from train.columns import HASH_BYTES
from train.frame import Frame
from train.geometry import geometry_digest
from train.store.manifest import (
    MANIFEST,
    Description,
    QuantityRecord,
    ShardRecord,
    StoreManifest,
    is_store,
    read_manifest,
    sha256_of,
    write_manifest,
)

Array = NDArray[Any]

SHARD_ATOMS = 4_000_000
"""Atoms at which a shard is closed: some 250 MB with forces."""


def digest_of(frame: Frame) -> bytes:
    """16 bytes of the geometry: two structures of a store are the same where these are."""
    atoms, state = frame.atoms, structure_state(frame.atoms)
    of_state = state.charge, state.spin
    return geometry_digest(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, of_state)[:HASH_BYTES]


class StoreWriter:
    """Appends structures to a store, a new one or one that is there; see `writing`.

    Args:
        folder: of the store.
        manifest: of what is there.
        rows: quantities of which labels are kept.
        shard_atoms: atoms at which a shard is closed.
    """

    def __init__(
        self, folder: Path, manifest: StoreManifest, rows: Sequence[Quantity], shard_atoms: int = SHARD_ATOMS
    ) -> None:
        self.folder, self.manifest, self.shard_atoms = folder, manifest, shard_atoms
        self.rows = {row.name: row for row in rows}
        self._frames: list[Frame] = []
        self._atoms = 0

    def add(self, frame: Frame) -> None:
        """Take one structure; it is in the store once its shard is closed."""
        self._frames.append(frame)
        self._atoms += len(frame.atoms)
        if self._atoms >= self.shard_atoms:
            self.close_shard()

    def close_shard(self, left_out: Mapping[str, int] | None = None) -> None:
        """Write what was taken as a shard, and name it in the manifest.

        Args:
            left_out: frames that were not taken, by reason; added to those of before.
        """
        was = self.manifest
        shards, quantities = was.shards, was.quantities
        elements = Counter(was.elements)
        if self._frames:
            sources = tuple(dict.fromkeys(_file_of(frame) for frame in self._frames))
            name = f"shard-{len(was.shards):06d}.safetensors"
            tensors = packed(self._frames, self.rows, sources)
            self._write(name, tensors)
            path = self.folder / name
            shards = (
                *was.shards,
                ShardRecord(
                    file=name,
                    structures=len(self._frames),
                    atoms=self._atoms,
                    bytes=path.stat().st_size,
                    sha256=sha256_of(path),
                    sources=sources,
                ),
            )
            quantities = self._counted(tensors)
            elements += Counter(tensors["numbers"].tolist())
        update = {
            "shards": shards,
            "quantities": quantities,
            "elements": dict(sorted(elements.items())),
            "left_out": dict(Counter(was.left_out) + Counter(left_out or {})),
        }
        self.manifest = was.model_copy(update=update)
        write_manifest(self.folder, self.manifest)
        self._frames, self._atoms = [], 0

    def _write(self, name: str, tensors: dict[str, Array]) -> None:
        beside = self.folder / f".{name}.tmp"
        try:
            save_file(tensors, beside)
            beside.chmod(self.folder.stat().st_mode & 0o666)  # readable for whom the folder is
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.replace(self.folder / name)
        finally:
            beside.unlink(missing_ok=True)

    def _counted(self, tensors: Mapping[str, Array]) -> dict[str, QuantityRecord]:
        found = dict(self.manifest.quantities)
        for name, row in self.rows.items():
            if f"known.{name}" in tensors:
                before = found[name].known if name in found else 0
                found[name] = QuantityRecord.of(row, before + int(tensors[f"known.{name}"].sum()))
        return found


@contextlib.contextmanager
def writing(
    folder: Path, about: Description, outputs: Sequence[Quantity] = (), *, shard_atoms: int = SHARD_ATOMS
) -> Iterator[StoreWriter]:
    """A writer that appends to the store in `folder`, or begins one; nobody else writes there meanwhile.

    Raises:
        ValueError: the folder is a file, holds other things, or another process writes there.
    """
    if folder.exists() and not is_store(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there and is no store; name another --output")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process writes to {folder}; wait for it, or name another --output") from None
        begun = is_store(folder)
        manifest = read_manifest(folder) if begun else StoreManifest(about=about)
        rows = [*(QUANTITIES[name] for name in TRAINABLE), *outputs]
        yield StoreWriter(folder, manifest, rows, shard_atoms)
        if not begun and not (folder / MANIFEST).exists():
            folder.rmdir()
    finally:
        os.close(descriptor)


def packed(frames: Sequence[Frame], rows: Mapping[str, Quantity], files: Sequence[str]) -> dict[str, Array]:
    """The arrays of a shard; S structures, N atoms.

    Returns:
        first_atom [S + 1]; numbers [N]; positions [N, 3] Å; cell [S, 3, 3] Å; pbc [S, 3]; charge, spin [S]; digest
        [S, 16] of the geometry; file [S] and first_letter [S + 1] into `names`, the rest of each source as UTF-8; for
        each quantity that any structure has known.NAME [S] and label.NAME [S or N, ...], zero where unknown.
    """
    atoms = [frame.atoms for frame in frames]
    states = [structure_state(one) for one in atoms]
    counts = np.array([len(one) for one in atoms], dtype=np.int64)
    names = [frame.source[len(_file_of(frame)) :].encode() for frame in frames]
    number_of = {file: number for number, file in enumerate(files)}
    tensors: dict[str, Array] = {
        "first_atom": _starts(counts),
        "numbers": np.concatenate([one.numbers for one in atoms]).astype(np.uint8),
        "positions": np.concatenate([one.positions for one in atoms]),
        "cell": np.stack([one.cell.array for one in atoms]),
        "pbc": np.stack([one.pbc for one in atoms]).astype(np.uint8),
        "charge": np.array([state.charge for state in states]),
        "spin": np.array([state.spin for state in states]),
        "digest": np.frombuffer(b"".join(map(digest_of, frames)), dtype=np.uint8).reshape(-1, HASH_BYTES),
        "file": np.array([number_of[_file_of(frame)] for frame in frames], dtype=np.int32),
        "first_letter": _starts(np.array([len(name) for name in names], dtype=np.int64)),
        "names": np.frombuffer(b"".join(names) or b" ", dtype=np.uint8),
    }
    for name, row in rows.items():
        values = [_label(frame, name) for frame in frames]
        known = np.array([value is not None for value in values])
        if known.any():
            sizes = counts if row.level == "atom" else np.ones_like(counts)
            filled = [
                np.zeros((int(size), *row.shape)) if value is None else np.reshape(value, (int(size), *row.shape))
                for value, size in zip(values, sizes, strict=True)
            ]
            tensors[f"known.{name}"] = known.astype(np.uint8)
            tensors[f"label.{name}"] = np.concatenate(filled)
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _label(frame: Frame, name: str) -> Any:
    return getattr(frame, name) if name in TRAINABLE else frame.outputs.get(name)


def _file_of(frame: Frame) -> str:
    return frame.source.rpartition(":")[0]


def _starts(counts: Array) -> Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
