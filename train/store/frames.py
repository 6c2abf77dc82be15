"""Frames out of a store, whose labels are in the package's units and conventions already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from potentials.quantities import Quantity
from train.frame import Frame
from train.store.manifest import StoreError, StoreManifest
from train.store.reader import Records, Store, as_ase

OF_STRUCTURES = ("numbers", "positions", "cell", "pbc", "charge", "spin")
"""What a structure is made of."""

AT_ONCE = 1024
"""Structures that are read together."""


def stored_frames(folder: Path, outputs: Sequence[Quantity] = ()) -> Iterator[Frame]:
    """The structures of a store, one after the other.

    Args:
        folder: of the store.
        outputs: quantities wanted beside energy, forces and stress.

    Raises:
        StoreError: it is no whole store, or has an output of another kind or unit.
    """
    store = Store(folder)
    check_outputs(folder, store.manifest, outputs)
    wanted = ["energy", "forces", "stress", *(row.name for row in outputs)]
    names = [name for name in wanted if name in store.manifest.quantities]
    arrays = [*OF_STRUCTURES, *(f"{kind}.{name}" for name in names for kind in ("known", "label"))]
    levels = {name: store.manifest.quantities[name].level for name in names}
    for first in range(0, len(store), AT_ONCE):
        records = store.read(range(first, min(first + AT_ONCE, len(store))), arrays)
        for number in range(len(records)):
            labels = {name: label_of(records, number, name, level) for name, level in levels.items()}
            known = {name: value for name, value in labels.items() if value is not None}
            energy = known.pop("energy", None)
            yield Frame(
                as_ase(records, number),
                f"{folder}:{first + number}",
                None if energy is None else float(energy),
                known.pop("forces", None),
                known.pop("stress", None),
                known,
            )


def check_outputs(folder: Path, manifest: StoreManifest, outputs: Sequence[Quantity]) -> None:
    """Raise StoreError where the store has an output of another kind or unit."""
    for row in outputs:
        record = manifest.quantities.get(row.name)
        if record and (record.level, record.shape, record.unit) != (row.level, row.shape, row.unit):
            raise StoreError(
                f"{folder} has {row.name} per {record.level}, of shape {list(record.shape)}, in {record.unit!r};"
                f" the output is per {row.level}, of shape {list(row.shape)}, in {row.unit!r}"
            )


def label_of(records: Records, number: int, name: str, level: str) -> Any:
    """[...] or [N, ...] of one structure; none where it is unknown."""
    if not records.arrays[f"known.{name}"][number]:
        return None
    return records.arrays[f"label.{name}"][records.rows(number) if level == "atom" else number]
