"""OC20 and OC22: LMDBs of pickled tensors, and OC20 as extended XYZ with a text beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from numpy.typing import NDArray

from train.sources.databases import open_lmdb
from train.sources.inert_tensors import fields_of, read_pickle
from train.sources.packed_files import OPENERS, open_text, suffix_of
from train.sources.structures import labelled
from train.sources.xyz import xyz_frames


def oc20(path: Path) -> Iterator[tuple[str, Atoms]]:
    """OC20 S2EF, energies less their reference: what fairchem trains on. An LMDB, or extended XYZ with its text.

    `preprocess_ef.py` of fairchem makes `data.0000.lmdb` from the release, `0.extxyz.xz` with `0.txt.xz`. With its
    option `--ref-energy` the energies in the LMDB are less those of clean surface and gas-phase adsorbate (adsorption
    energies); from the release the same is made here, of `energy` and the third column of the text.
    """
    return _lmdb(path, of_oc22=False) if path.suffix == ".lmdb" else _xyz(path, referenced=True)


def oc20_total(path: Path) -> Iterator[tuple[str, Atoms]]:
    """OC20 S2EF with VASP's total energies, from the release as extended XYZ: an LMDB has lost the reference."""
    if path.suffix == ".lmdb":
        raise ValueError('it does not tell the reference of its energies; give the release, or format = "oc20"')
    return _xyz(path, referenced=False)


def oc22(path: Path) -> Iterator[tuple[str, Atoms]]:
    """OC22 S2EF-Total, the LMDBs as published: `y` is VASP's total energy."""
    return _lmdb(path, of_oc22=True)


def _lmdb(path: Path, *, of_oc22: bool) -> Iterator[tuple[str, Atoms]]:
    """Structures in the order of their keys, "0", "1", ...

    The key "length" may count the structures of several files, and is passed over, as fairchem does for OC22.
    """
    with open_lmdb(path) as database, database.begin() as reading:
        count = database.stat()["entries"] - (reading.get(b"length") is not None)
        for number in range(count):
            content = reading.get(str(number).encode())
            if content is None:
                raise ValueError(f"it has {count} structures, but none under the key {number}")
            fields = fields_of(read_pickle(content))
            if ("oc22" in fields) != of_oc22:
                other = '"oc20", which has energies less a reference' if of_oc22 else '"oc22", which has total energies'
                raise ValueError(f"structure {number} is not of this data set; give format = {other}")
            yield str(number), _structure(fields)


def _structure(fields: Mapping[str, Any]) -> Atoms:
    """A structure of fairchem's graphs: Å, eV, eV/Å; all directions repeat.

    Fields are called `y` and `force`, or `energy` and `forces` by newer versions of fairchem; a test split has neither.
    Forces on fixed atoms are those of VASP, as in the data: fairchem's trainers leave them out of the loss
    (`train_on_free_atoms`), ours does not.
    """
    missing = sorted({"pos", "cell", "atomic_numbers"} - fields.keys())
    if missing:
        raise ValueError(f"a structure has no {missing[0]}; it has {', '.join(sorted(fields)) or 'nothing'}")
    numbers = np.asarray(fields["atomic_numbers"], dtype=np.float64).reshape(-1).astype(np.int64)
    atoms = Atoms(
        numbers=numbers,
        positions=np.asarray(fields["pos"], dtype=np.float64),
        cell=np.asarray(fields["cell"], dtype=np.float64).reshape(3, 3),
        pbc=True,
        tags=_integers(fields.get("tags")),
    )
    fixed = _integers(fields.get("fixed"))
    if fixed is not None and fixed.any():
        atoms.set_constraint(FixAtoms(mask=fixed == 1))
    energy = fields.get("energy", fields.get("y"))
    return labelled(
        atoms,
        energy=None if energy is None else np.asarray(energy, dtype=np.float64).reshape(-1)[0],
        forces=fields.get("forces", fields.get("force")),
    )


def _integers(given: Any) -> NDArray[np.int64] | None:
    return None if given is None else np.asarray(given).reshape(-1).astype(np.int64)


def _xyz(path: Path, *, referenced: bool) -> Iterator[tuple[str, Atoms]]:
    """Frames of N.extxyz(.xz), with the lines "random123,frame4,-12.5" of N.txt(.xz): system, frame, reference (eV)."""
    if suffix_of(path) != ".extxyz":
        raise ValueError("it is neither an .lmdb nor an .extxyz or .extxyz.xz; the text is found beside the latter")
    beside = _text_beside(path)
    with open_text(path) as frames, open_text(beside) as text:
        lines = (line for line in text if line.strip())
        for number, (atoms, line) in enumerate(itertools.zip_longest(xyz_frames(frames), lines)):
            if atoms is None or line is None:
                raise ValueError(f"it and {beside.name} differ in length: one of them ends after {number}")
            name, reference = _logged(line, number, beside.name)
            results = getattr(atoms.calc, "results", {})
            if referenced and "energy" in results:
                results["energy"] -= reference
            yield f"{number} ({name})", atoms


def _text_beside(path: Path) -> Path:
    stem = path.with_suffix("") if path.suffix in OPENERS else path
    for suffix in (".txt", *(f".txt{packed}" for packed in OPENERS)):
        if stem.with_suffix(suffix).is_file():
            return stem.with_suffix(suffix)
    name = stem.with_suffix(".txt").name
    raise ValueError(f"there is no {name} or {name}.xz beside it, which has the reference energies")


def _logged(line: str, number: int, name: str) -> tuple[str, float]:
    try:
        system, frame, reference = line.strip().split(",")
        return f"{system} {frame}", float(reference)
    except ValueError:
        what = "system, frame and reference energy"
        raise ValueError(f"line {number + 1} of {name} is {line.strip()[:40]!r} instead of {what}") from None
