"""Every published layout that can be read: its name, its reader, and what the data are."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ase import Atoms

from train.sources import adios, databases, hdf5, json_records, open_catalyst
from train.store.manifest import Description


@dataclass(frozen=True)
class Source:
    """A published layout.

    Attributes:
        name: that `format` has in a run file.
        frames: from a file to (name within it, structure), streaming; labels are in the attached calculator under ASE's
            names, in eV, Å, e and μB, stress with ASE's sign.
    """

    name: str
    frames: Callable[[Path], Iterator[tuple[str, Atoms]]]

    @property
    def about(self) -> Description:
        """Theory, licence, citation and address, as `published.toml` has them."""
        return Description(name=self.name, **_published()[self.name])


@functools.cache
def _published() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(files("train.sources").joinpath("published.toml").read_text(encoding="utf-8"))


SOURCES: dict[str, Source] = {
    name: Source(name, frames)
    for name, frames in (
        ("ani1x", hdf5.ani1x),
        ("qm7x", hdf5.qm7x),
        ("spice", hdf5.spice),
        ("transition1x", hdf5.transition1x),
        ("mptrj", json_records.mptrj),
        ("matpes_pbe", json_records.matpes_pbe),
        ("matpes_r2scan", json_records.matpes_r2scan),
        ("oc20", open_catalyst.oc20),
        ("oc20_total", open_catalyst.oc20_total),
        ("oc22", open_catalyst.oc22),
        ("omat24", databases.ase_lmdb),
        ("omol25", databases.omol25),
        ("alexandria", databases.ase_lmdb),
        ("hydragnn", adios.hydragnn),
    )
}
"""By the name that `format` has in a run file."""
