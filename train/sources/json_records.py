"""Crystals in JSON: MPtrj."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from train.sources.structures import labelled

KBAR = 0.1 * units.GPa


def mptrj(path: Path) -> Iterator[tuple[str, Atoms]]:
    """MPtrj (`MPtrj_2022.9_full.json`): read material by material; eV, eV/Å, kbar with VASP's sign.

    Energies are those of VASP (`uncorrected_total_energy`), without the Materials Project's corrections.
    """
    try:
        ijson = importlib.import_module("ijson")
    except ImportError:
        raise ValueError(f"{path} needs ijson: pip install 'gfm-ase[json]'") from None
    with path.open("rb") as file:
        for material, frames in ijson.kvitems(file, "", use_float=True):
            for name, record in frames.items():
                stress = record.get("stress")
                yield (
                    f"{material}/{name}",
                    labelled(
                        structure_of(record["structure"]),
                        energy=record.get("uncorrected_total_energy"),
                        forces=record.get("force"),
                        stress=None if stress is None else -KBAR * np.array(stress, dtype=np.float64),
                        magmoms=record.get("magmom"),
                    ),
                )


def structure_of(record: dict[str, Any]) -> Atoms:
    """A structure as pymatgen writes it.

    Raises:
        ValueError: a site that several elements share.
    """
    symbols, positions = [], []
    for site in record["sites"]:
        species = site["species"]
        if len(species) != 1 or species[0].get("occu", 1) != 1:
            raise ValueError(f"a site is shared by {len(species)} elements, or partly empty; it has no one structure")
        symbols.append(species[0]["element"])
        positions.append(site["xyz"])
    return Atoms(symbols, positions=positions, cell=record["lattice"]["matrix"], pbc=True)
