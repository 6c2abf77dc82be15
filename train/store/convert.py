"""From files of any kind to a store; from several stores to one; and what a store holds."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms

from potentials.quantities import OUTPUTS
from potentials.structures import graph_from_atoms
from train.columns import HASH_BYTES
from train.config_dataset import DatasetConfig
from train.frame import Frame
from train.reading import check_keys, stream_frames
from train.reading_outputs import labelled
from train.sieve import Progress, Sieve
from train.store.manifest import Description, StoreError, StoreManifest, write_manifest
from train.store.reader import Store
from train.store.writer import SHARD_ATOMS, StoreWriter, digest_of, writing

KEYS_LOOKED_AT = 1000
"""Structures at the beginning in which labels must be found under the keys that are given."""

NEAREST = 1e-3
"""Å; a graph of this cutoff tells whether two atoms lie in one place."""


@dataclass
class Conversion:
    """How files become a store.

    Attributes:
        config: which files, keys and units; frames that cannot be right are left out where `on_bad` is "drop".
        about: for people.
        output: folder of the store; one that is there is appended to.
        duplicates: "keep", or "drop" structures whose geometry is in the store already (80 bytes of memory each).
        exclude: files or globs, such as those of a test split, whose geometries do not enter the store.
        every: only the first of so many structures, in the order of reading, is kept.
        shard_atoms: atoms at which a shard is closed.
        sieve: counts the frames left out.
    """

    config: DatasetConfig
    about: Description
    output: Path
    duplicates: Literal["keep", "drop"] = "keep"
    exclude: tuple[str, ...] = ()
    every: int = 1
    shard_atoms: int = SHARD_ATOMS
    sieve: Sieve = field(init=False)

    def __post_init__(self) -> None:
        self.sieve = Sieve(self.config.name, self.config.on_bad)


def convert(conversion: Conversion, progress: Progress | None = None) -> StoreManifest:
    """Write the structures of files into a store, streaming.

    What is written when something stops it is whole: complete shards stay.

    Raises:
        ValueError: a file or frame that cannot be read or cannot be right, keys under which nothing is, a folder that
            cannot be written to.
    """
    rows = labelled(list(OUTPUTS.values()))
    config, sieve = conversion.config, conversion.sieve
    first: list[Atoms] = []

    def remember(atoms: Atoms) -> None:
        if len(first) < KEYS_LOOKED_AT:
            first.append(atoms)

    with writing(conversion.output, conversion.about, rows, shard_atoms=conversion.shard_atoms) as writer:
        known = _digests(conversion.output) if conversion.duplicates == "drop" else None
        excluded = _excluded(conversion)
        frames = stream_frames(config, "train", outputs=rows, sieve=sieve, progress=progress, seen=remember)
        beginning = list(itertools.islice(frames, KEYS_LOOKED_AT))
        check_keys(config, "train", first, rows)
        for frame in itertools.islice(itertools.chain(beginning, frames), None, None, conversion.every):
            if _usable(frame, sieve) and _wanted(frame, known, excluded, sieve):
                writer.add(frame)
        _close(writer, sieve)
    return writer.manifest


def merge(folders: Sequence[Path], output: Path, about: Description) -> StoreManifest:
    """One store of several: their shards, linked where the file system can and copied where not.

    Raises:
        StoreError: one of them is no whole store, or they have one quantity in two units.
    """
    stores = [Store(folder) for folder in folders]
    units = {(name, row.unit) for store in stores for name, row in store.manifest.quantities.items()}
    twice = [name for name, count in Counter(name for name, _ in units).items() if count > 1]
    if twice:
        those = sorted(unit for name, unit in units if name == twice[0])
        raise StoreError(f"{twice[0]} is in {' and in '.join(map(repr, those))}; convert one of the stores again")
    if output.exists():
        raise StoreError(f"{output} is there already; name another --output")
    output.mkdir(parents=True)
    manifest = StoreManifest(about=about)
    for store in stores:
        manifest = _with(manifest, store, output)
    write_manifest(output, manifest)
    return manifest


def _with(manifest: StoreManifest, store: Store, output: Path) -> StoreManifest:
    other, shards = store.manifest, list(manifest.shards)
    for shard in other.shards:
        name = f"shard-{len(shards):06d}.safetensors"
        _link(store.folder / shard.file, output / name)
        shards.append(shard.model_copy(update={"file": name}))
    quantities = dict(manifest.quantities)
    for name, row in other.quantities.items():
        known = row.known + (quantities[name].known if name in quantities else 0)
        quantities[name] = row.model_copy(update={"known": known})
    update = {
        "shards": tuple(shards),
        "quantities": quantities,
        "elements": dict(sorted((Counter(manifest.elements) + Counter(other.elements)).items())),
        "left_out": dict(Counter(manifest.left_out) + Counter(other.left_out)),
    }
    return manifest.model_copy(update=update)


def _link(source: Path, target: Path) -> None:
    """A shard never changes: a second name of it does, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _usable(frame: Frame, sieve: Sieve) -> bool:
    """Whether a graph can be made of it: no two atoms in one place, a cell where it repeats."""
    try:
        graph_from_atoms(frame.atoms, NEAREST)
    except ValueError as error:
        sieve.reject(frame.source, "bad structure", str(error))
        return False
    return True


def _wanted(frame: Frame, known: set[bytes] | None, excluded: set[bytes], sieve: Sieve) -> bool:
    if known is None and not excluded:
        return True
    digest = digest_of(frame)
    if digest in excluded:
        sieve.leave_out(frame.source, "excluded", "its geometry is in the files of --exclude")
        return False
    if known is not None and digest in known:
        sieve.leave_out(frame.source, "duplicate", "its geometry is in the store already")
        return False
    if known is not None:
        known.add(digest)
    return True


def _excluded(conversion: Conversion) -> set[bytes]:
    """Geometries of the files that must not enter; their labels are not looked at."""
    if not conversion.exclude:
        return set()
    config = conversion.config.model_copy(update={"train": list(conversion.exclude), "max_force": None})
    return {digest_of(frame) for frame in stream_frames(config, "train")}


def _digests(folder: Path) -> set[bytes]:
    """Of what is in a store already; empty where it is new."""
    try:
        shards = Store(folder).shards
    except StoreError:
        return set()
    return {row.tobytes() for shard in shards for row in np.asarray(shard["digest"]).reshape(-1, HASH_BYTES)}


def _close(writer: StoreWriter, sieve: Sieve) -> None:
    writer.close_shard(sieve.counts)
    if not writer.manifest.structures:
        raise ValueError(f"no structure is left to write; {' '.join(sieve.report())}")
