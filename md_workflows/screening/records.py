"""How a row of a screening lies in an ASE database: what can be searched, and what is only kept."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.core import check, now
from ase.db.row import AtomsRow
from ase.io.jsonio import decode, encode

from md_workflows.screening.rows import ScreenRow, Status

Curves = Mapping[str, tuple[list[float], list[float]]]

_STORED_BY_ASE = ("numbers", "positions", "initial_magmoms", "initial_charges", "masses", "tags", "momenta")


@dataclass(frozen=True)
class Record:
    """A row with its structure and what was measured on it.

    content: the hash of the structure as it came in · start: that structure, where `atoms` is another now · measured:
    names of the properties that are done, each with a hash of its settings · errors, curves, structures: of the
    properties, by their names, and below by those of the curves and structures.
    """

    row: ScreenRow
    atoms: Atoms
    content: str
    start: Atoms | None = None
    measured: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Curves] = field(default_factory=dict)
    structures: Mapping[str, Mapping[str, Atoms]] = field(default_factory=dict)


def unique_id(scope: str, run: str, identifier: str) -> str:
    """What the database holds at most once: one structure of one run, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps([scope, run, identifier]).encode()).hexdigest()[:32]


def ase_row(record: Record, unique: str) -> AtomsRow:
    """The structure as ASE keeps it; of one that ASE cannot keep (an element that there is not) no atom is kept."""
    storable = record.row.formula != "?"
    row = AtomsRow(record.atoms if storable else Atoms())
    row.unique_id, row.ctime, row.user = unique, now(), os.environ.get("USER")
    return row


def pairs(record: Record, run: str, scope: str) -> dict[str, Any]:
    """The key-value pairs of a record, for `ase db NAME.db status=failed` and the like."""
    row = record.row
    found: dict[str, Any] = {
        "screening": scope,
        "run": run,
        "identifier": row.identifier,
        "status": str(row.status),
        "content": f"h{record.content}",
        "measured": measured_text(record.measured),
        "unmeasured": " ".join(sorted(name for name, error in record.errors.items() if error)),
        "energy_per_atom_eV": row.energy_per_atom,
        "steps": row.steps,
        "seconds": row.wall_time,
        "error": row.error,
        "duplicate_of": row.duplicate_of,
        **row.values,
    }
    taken = {key: searchable(value) for key, value in found.items() if value is not None and value != ""}
    return {key: value for key, value in taken.items() if value is not None}


def searchable(value: Any) -> Any:
    """A value that ASE takes as one: a text that looks like a number gets a # before it, NaN is left out."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        try:
            check({"key": value})
        except ValueError:
            return f"#{value}"
    return value


def measured_text(measured: Mapping[str, str]) -> str:
    """The properties that are done in one word: name-hash, separated by spaces."""
    return " ".join(f"{name}-{key}" for name, key in sorted(measured.items()))


def data(record: Record) -> dict[str, Any]:
    """What is kept beside the key-value pairs: everything exactly, as JSON."""
    row = asdict(record.row)
    arrays = {name: array for name, array in record.atoms.arrays.items() if name not in _STORED_BY_ASE}
    kept = {
        "row": row,
        "content": record.content,
        "measured": dict(record.measured),
        "errors": dict(record.errors),
        "info": _info(record.atoms),
        "arrays": {name: array for name, array in arrays.items() if _encodable(array)},
        "results": {} if record.atoms.calc is None else dict(record.atoms.calc.results),
        "curves": record.curves,
        "structures": {
            name: {label: encode_structure(atoms) for label, atoms in found.items()}
            for name, found in record.structures.items()
        },
    }
    start = record.atoms if record.start is None else record.start
    return {"screening": str(encode(kept)), "start_positions": start.positions, "start_cell": start.cell.array}


def record_of(row: AtomsRow) -> Record:
    """What `ase_row` and `data` wrote."""
    kept = decode(row.data["screening"])
    values = kept["row"]
    structures = {
        name: {label: decode_structure(text) for label, text in found.items()}
        for name, found in kept["structures"].items()
    }
    return Record(
        row=ScreenRow(**{**values, "status": Status(values["status"])}),
        atoms=_atoms(row, kept),
        content=kept["content"],
        measured=kept["measured"],
        errors=kept["errors"],
        curves={
            name: {label: (list(x), list(y)) for label, (x, y) in found.items()}
            for name, found in kept["curves"].items()
        },
        structures=structures,
        start=_start(row),
    )


def _start(row: AtomsRow) -> Atoms | None:
    if not row.natoms:
        return None
    return Atoms(row.numbers, row.data["start_positions"], cell=row.data["start_cell"], pbc=row.pbc)


def _atoms(row: AtomsRow, kept: dict[str, Any]) -> Atoms:
    atoms = row.toatoms() if row.natoms else Atoms(cell=row.cell, pbc=row.pbc)
    atoms.info = dict(kept["info"])
    for name, array in kept["arrays"].items():
        atoms.set_array(name, array)
    atoms.calc = SinglePointCalculator(atoms, **kept["results"]) if kept["results"] else None
    return atoms


def encode_structure(atoms: Atoms) -> str:
    """Atoms with their results as JSON; of `info` what JSON can hold."""
    fields = atoms.todict()
    fields["info"] = _info(atoms)
    return str(encode({"atoms": fields, "results": {} if atoms.calc is None else dict(atoms.calc.results)}))


def decode_structure(text: str) -> Atoms:
    """What `encode_structure` wrote."""
    stored = decode(text)
    atoms = Atoms.fromdict(stored["atoms"])
    if stored["results"]:
        atoms.calc = SinglePointCalculator(atoms, **stored["results"])
    return atoms


def _info(atoms: Atoms) -> dict[str, Any]:
    return {key: value for key, value in atoms.info.items() if isinstance(key, str) and _encodable(value)}


def _encodable(value: Any) -> bool:
    try:
        encode(value)
    except (TypeError, ValueError):  # of no kind that JSON has; a circle
        return False
    return True
