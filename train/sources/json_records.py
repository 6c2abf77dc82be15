"""Crystals in JSON: MPtrj and MatPES."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from train.sources.packed_files import open_bytes
from train.sources.structures import labelled

KBAR = 0.1 * units.GPa


def mptrj(path: Path) -> Iterator[tuple[str, Atoms]]:
    """MPtrj (`MPtrj_2022.9_full.json`): read material by material; eV, eV/Å, kbar with VASP's sign.

    Energies are those of VASP (`uncorrected_total_energy`), without the Materials Project's corrections.
    """
    ijson = _ijson(path)
    with open_bytes(path) as file:
        for material, frames in ijson.kvitems(file, "", use_float=True):
            for name, record in frames.items():
                yield (
                    f"{material}/{name}",
                    labelled(
                        structure_of(record["structure"]),
                        energy=record.get("uncorrected_total_energy"),
                        forces=record.get("force"),
                        stress=_from_kbar(record.get("stress")),
                        magmoms=record.get("magmom"),
                    ),
                )


def matpes_pbe(path: Path) -> Iterator[tuple[str, Atoms]]:
    """MatPES computed with PBE (`MatPES-PBE-2025.1.json.gz`); see `_matpes`."""
    return _matpes(path, "PBE")


def matpes_r2scan(path: Path) -> Iterator[tuple[str, Atoms]]:
    """MatPES computed with r²SCAN (`MatPES-R2SCAN-2025.1.json.gz`); see `_matpes`."""
    return _matpes(path, "r2SCAN")


def _matpes(path: Path, functional: str) -> Iterator[tuple[str, Atoms]]:
    """One list, read entry by entry: `energy` in eV, `forces` in eV/Å, `magmom` in μB of the structure's sites.

    `stress` is in kbar with VASP's sign, in the order xx, yy, zz, yz, xz, xy: MatPES' own notebook on training makes
    GPa of it by ASE's `voigt_6_to_full_3x3_stress` and a factor of -0.1. `stress_matrix` stands for it where VASP's is
    not symmetric.
    """
    ijson = _ijson(path)
    with open_bytes(path) as file:
        for number, record in enumerate(ijson.items(file, "item", use_float=True)):
            if not isinstance(record, dict):
                raise ValueError(f"entry {number} is no record with a structure")
            name = str(record.get("matpes_id", number))
            of = str(record.get("functional", "none that is named"))
            if of.lower() != functional.lower():
                other = "matpes_r2scan" if functional == "PBE" else "matpes_pbe"
                raise ValueError(f'{name} is of {of}, not of {functional}; format = "{other}" is the other one')
            stress = record.get("stress")
            yield (
                name,
                labelled(
                    structure_of(record["structure"]),
                    energy=record.get("energy"),
                    forces=record.get("forces"),
                    stress=_from_kbar(record.get("stress_matrix") if stress is None else stress),
                    magmoms=_of_sites(record["structure"], "magmom"),
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


def _of_sites(record: dict[str, Any], name: str) -> list[Any] | None:
    """A property of all sites; none where one of them has it not."""
    values = [(site.get("properties") or {}).get(name) for site in record["sites"]]
    return None if any(value is None for value in values) else values


def _from_kbar(stress: Any) -> Any:
    """VASP's stress in eV/Å³ with ASE's sign."""
    return None if stress is None else -KBAR * np.array(stress, dtype=np.float64)


def _ijson(path: Path) -> Any:
    try:
        return importlib.import_module("ijson")
    except ImportError:
        raise ValueError(f"{path} needs ijson: pip install 'gfm-ase[json]'") from None
