"""What a store says of itself: its shards, quantities, sources, and what was left out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from potentials.quantities import Quantity
from train.journal import replace_text

MANIFEST = "manifest.json"
CHUNK = 1 << 22


class StoreError(ValueError):
    """A folder that is no store, or not a whole one."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuantityRecord(_Record):
    """One quantity of which the store has labels.

    Attributes:
        level: "graph" or "atom".
        shape: of one value.
        unit: of the values.
        known: structures that have the label.
    """

    level: Literal["graph", "atom"]
    shape: tuple[int, ...]
    unit: str
    known: int

    @staticmethod
    def of(row: Quantity, known: int) -> QuantityRecord:
        """The record of a row of the table."""
        assert row.level != "edge", row
        return QuantityRecord(level=row.level, shape=row.shape, unit=row.unit, known=known)


class ShardRecord(_Record):
    """One file, which never changes once it is named here.

    Attributes:
        file: name in the folder.
        structures: in it.
        atoms: in it.
        bytes: its size.
        sha256: of its content.
        sources: files that were read, by the number that structures have of them.
    """

    file: str
    structures: int
    atoms: int
    bytes: int
    sha256: str
    sources: tuple[str, ...]


class Description(_Record):
    """What people should know of a data set.

    Attributes:
        name: of the data set.
        theory: level of theory of the labels.
        licence: of the data.
        citation: whom to cite.
        source: where the data are from.
    """

    name: str
    theory: str = ""
    licence: str = ""
    citation: str = ""
    source: str = ""


class StoreManifest(_Record):
    """Everything about a store but its structures. Units are eV, Å, eV/Å and eV/Å³ with ASE's sign of the stress.

    Attributes:
        format_version: of this page and of the shards.
        about: for people.
        quantities: labels by name.
        elements: atomic number to how many atoms.
        shards: in the order of the structures.
        left_out: frames that were not taken, by reason.
    """

    format_version: Literal[1] = 1
    about: Description
    quantities: dict[str, QuantityRecord] = {}
    elements: dict[int, int] = {}
    shards: tuple[ShardRecord, ...] = ()
    left_out: dict[str, int] = {}

    @property
    def structures(self) -> int:
        """In all shards."""
        return sum(shard.structures for shard in self.shards)

    @property
    def atoms(self) -> int:
        """In all shards."""
        return sum(shard.atoms for shard in self.shards)


def is_store(path: Path) -> bool:
    """Whether a path is the folder of a store."""
    return (path / MANIFEST).is_file()


def read_manifest(folder: Path) -> StoreManifest:
    """The manifest of a store.

    Raises:
        StoreError: there is none, or it is not one of this version.
    """
    try:
        return StoreManifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        raise StoreError(f"{folder} is no store: it has no {MANIFEST}; gfm-ase data convert makes one") from None
    except (ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise StoreError(f"{folder / MANIFEST} is not a manifest that this version reads ({first})") from None


def write_manifest(folder: Path, manifest: StoreManifest) -> None:
    """Replace the manifest; readers see the old one or the new one."""
    replace_text(folder / MANIFEST, json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")


def sha256_of(path: Path) -> str:
    """Of the content of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
