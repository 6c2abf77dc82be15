"""What a store holds, in numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from train.store.reader import Store

OF_SOURCES = {"names", "first_letter", "file"}
"""Arrays of a shard that say where structures are from."""


def describe(folder: Path) -> Iterator[str]:
    """Lines on structures, sizes, elements, and what was left out."""
    store = Store(folder)
    manifest, sizes = store.manifest, store.sizes()
    about = manifest.about
    for key in ("name", "theory", "licence", "citation", "source"):
        if text := getattr(about, key):
            yield f"{key}: {text}"
    yield f"{manifest.structures:,} structures in {len(manifest.shards)} shards, {manifest.atoms:,} atoms"
    yield f"atoms a structure: {sizes.min()} to {sizes.max()}, median {np.median(sizes):.0f}"
    repeating = sum(int(np.asarray(shard["pbc"]).any(axis=1).sum()) for shard in store.shards)
    yield f"periodic: {repeating:,}"
    yield "elements: " + ", ".join(f"{chemical_symbols[z]} {count:,}" for z, count in manifest.elements.items())
    for reason, count in manifest.left_out.items():
        yield f"left out ({reason}): {count:,}"
    yield f"content: {content(store)}"


def content(store: Store) -> str:
    """SHA-256 of structures and labels in their order, wherever the files that they are from lie."""
    found = hashlib.sha256()
    for shard in store.shards:
        for name in sorted(set(shard) - OF_SOURCES):
            found.update(name.encode() + np.ascontiguousarray(shard[name]).tobytes())
    return found.hexdigest()


def quantities(folder: Path) -> Iterator[tuple[str, ...]]:
    """For each label its name and unit, how many structures have it, mean, root mean square, least and largest.

    Energies are per atom.
    """
    store = Store(folder)
    for name, row in store.manifest.quantities.items():
        total = squares = count = 0.0
        least, largest = np.inf, -np.inf
        for shard in store.shards:
            if f"label.{name}" not in shard:
                continue
            known, counts = shard[f"known.{name}"].astype(bool), np.diff(shard["first_atom"])
            values = shard[f"label.{name}"][np.repeat(known, counts) if row.level == "atom" else known]
            if name == "energy":
                values = values / counts[known]
            total, squares, count = total + values.sum(), squares + (values**2).sum(), count + values.size
            least, largest = min(least, values.min()), max(largest, values.max())
        unit = f"{row.unit} per atom" if name == "energy" else row.unit
        numbers = (total / count, (squares / count) ** 0.5, least, largest)
        yield name, unit, f"{row.known:,}", *(f"{number:.6g}" for number in numbers)
