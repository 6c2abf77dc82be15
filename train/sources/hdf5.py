"""Molecules in HDF5: ANI-1x, QM7-X, SPICE, Transition1x. Keys and units are those of their makers' documentation."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from train.sources.structures import labelled

FORMAL_CHARGE = re.compile(r"([+-]+)(\d*)(?::\d+)?\]")
"""At the end of an atom of a SMILES: [NH3+:1], [O-], [Fe+2]."""

WB97X = "wB97x_6-31G(d)"


def ani1x(path: Path) -> Iterator[tuple[str, Atoms]]:
    """ANI-1x (`ani1x-release.h5`): a group a formula; ωB97X/6-31G(d), Hartree and Hartree/Å, NaN where not computed."""
    with _open(path) as file:
        for formula, group in file.items():
            numbers = group["atomic_numbers"][()]
            energies, forces = group["wb97x_dz.energy"][()], group["wb97x_dz.forces"]
            for number, positions in enumerate(group["coordinates"]):
                given = {"energy": energies[number] * units.Hartree, "forces": forces[number] * units.Hartree}
                yield f"{formula}/{number}", labelled(Atoms(numbers=numbers, positions=positions), **given)


def qm7x(path: Path) -> Iterator[tuple[str, Atoms]]:
    """QM7-X (`1000.hdf5` ... `8000.hdf5`): a group a molecule, in it one a geometry; eV and Å."""
    with _open(path) as file:
        for molecule, geometries in file.items():
            for name, group in geometries.items():
                atoms = Atoms(numbers=group["atNUM"][()], positions=group["atXYZ"][()])
                energy = float(np.asarray(group["ePBE0+MBD"][()]).reshape(-1)[0])
                yield f"{molecule}/{name}", labelled(atoms, energy=energy, forces=group["totFOR"][()])


def spice(path: Path) -> Iterator[tuple[str, Atoms]]:
    """SPICE: a group a molecule; bohr, Hartree, Hartree/bohr and gradients, which are forces turned around.

    The total charge is the sum of the formal charges of the SMILES. MBIS charges are taken where they are.
    """
    with _open(path) as file:
        for name, group in file.items():
            numbers = group["atomic_numbers"][()]
            charge = formal_charge(_text(group["smiles"][()]))
            energies, gradients = group["dft_total_energy"][()], group["dft_total_gradient"]
            charges = group.get("mbis_charges")
            for number, positions in enumerate(group["conformations"]):
                atoms = Atoms(numbers=numbers, positions=positions * units.Bohr)
                if charge:
                    atoms.info["charge"] = float(charge)
                given = {
                    "energy": energies[number] * units.Hartree,
                    "forces": -gradients[number] * (units.Hartree / units.Bohr),
                }
                if charges is not None:
                    given["charges"] = np.reshape(charges[number], -1)
                yield f"{name}/{number}", labelled(atoms, **given)


def transition1x(path: Path) -> Iterator[tuple[str, Atoms]]:
    """Transition1x: below `data` a group a formula, in it one a reaction, with its ends; eV and eV/Å."""
    with _open(path) as file:
        for formula, reactions in file["data"].items():
            for reaction, group in reactions.items():
                for end in ("reactant", "product"):
                    yield from _of_reaction(f"{formula}/{reaction}/{end}", group[end])
                yield from _of_reaction(f"{formula}/{reaction}", group)


def _of_reaction(name: str, group: Any) -> Iterator[tuple[str, Atoms]]:
    numbers = group["atomic_numbers"][()]
    energies, forces = group[f"{WB97X}.energy"][()], group[f"{WB97X}.forces"]
    for number, positions in enumerate(group["positions"]):
        atoms = Atoms(numbers=numbers, positions=positions)
        yield f"{name}/{number}", labelled(atoms, energy=energies[number], forces=forces[number])


def formal_charge(smiles: str) -> int:
    """Sum of the formal charges in a SMILES."""
    total = 0
    for signs, digits in FORMAL_CHARGE.findall(smiles):
        size = int(digits) if digits else len(signs)
        total += size if signs[0] == "+" else -size
    return total


def _text(value: Any) -> str:
    first = np.asarray(value).reshape(-1)[0]
    return first.decode() if isinstance(first, bytes) else str(first)


def _open(path: Path) -> Any:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise ValueError(f"{path} needs h5py: pip install 'gfm-ase[hdf5]'") from None
    return h5py.File(path, "r")
