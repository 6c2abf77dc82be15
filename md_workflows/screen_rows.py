"""The rows of a screening, and the table and structures that are written of them."""

import csv
import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.io.jsonio import decode, encode

from md_workflows.durable import write_beside
from md_workflows.engine import Outcome
from md_workflows.relaxation import StopReason
from md_workflows.structures import Unreadable


class Status(StrEnum):
    """What became of a structure."""

    CONVERGED = "converged"
    NOT_CONVERGED = "not_converged"
    FAILED = "failed"


@dataclass(frozen=True)
class ScreenRow:
    """One structure's line of the table; a number that does not exist is None.

    energy eV · energy_per_atom eV/atom · fmax eV/Å · volume Å³ · wall_time s · error: one line or empty.
    """

    identifier: str
    formula: str
    n_atoms: int
    status: Status
    energy: float | None
    energy_per_atom: float | None
    fmax: float | None
    volume: float | None
    steps: int
    wall_time: float
    error: str


COLUMNS = (
    "identifier",
    "formula",
    "n_atoms",
    "status",
    "energy_eV",
    "energy_per_atom_eV",
    "fmax_eV_per_A",
    "volume_A3",
    "steps",
    "wall_time_s",
    "error",
)
"""The table's header, in the order of ScreenRow's fields."""


def row_of(identifier: str, atoms: Atoms, outcome: Outcome) -> ScreenRow:
    """The row of a structure `atoms` (as it came in) that became `outcome`."""
    result = outcome.result
    if result is None or result.reason is StopReason.NON_FINITE:
        steps = 0 if result is None else result.steps
        error = outcome.error or f"energy or forces are not finite at step {steps}"
        return _failed(identifier, atoms, error, steps, outcome.seconds)
    return ScreenRow(
        identifier=identifier,
        formula=_formula(atoms),
        n_atoms=len(atoms),
        status=Status.CONVERGED if result.converged else Status.NOT_CONVERGED,
        energy=result.energy,
        energy_per_atom=result.energy / len(atoms),
        fmax=result.fmax,
        volume=_volume(result.atoms),
        steps=result.steps,
        wall_time=outcome.seconds,
        error="",
    )


def unreadable_row(identifier: str, structure: Unreadable) -> ScreenRow:
    """The row of a structure that could not be read."""
    return ScreenRow(identifier, "", 0, Status.FAILED, None, None, None, None, 0, 0.0, structure.error)


def _failed(identifier: str, atoms: Atoms, error: str, steps: int, seconds: float) -> ScreenRow:
    return ScreenRow(
        identifier=identifier,
        formula=_formula(atoms),
        n_atoms=len(atoms),
        status=Status.FAILED,
        energy=None,
        energy_per_atom=None,
        fmax=None,
        volume=_volume(atoms),
        steps=steps,
        wall_time=seconds,
        error=error,
    )


def _formula(atoms: Atoms) -> str:
    try:
        return str(atoms.get_chemical_formula())
    except (IndexError, KeyError):  # an atomic number beyond the periodic table
        return "?"


def _volume(atoms: Atoms) -> float | None:
    volume = float(atoms.cell.volume)
    return volume if math.isfinite(volume) and atoms.cell.rank == 3 else None


def encode_structure(atoms: Atoms) -> str:
    """Atoms with their results as JSON; of `info` what JSON can hold."""
    fields = atoms.todict()
    fields["info"] = {key: value for key, value in atoms.info.items() if _encodable(value)}
    return str(encode({"atoms": fields, "results": dict(atoms.calc.results)}))


def decode_structure(text: str) -> Atoms:
    """What `encode_structure` wrote."""
    stored = decode(text)
    atoms = Atoms.fromdict(stored["atoms"])
    atoms.calc = SinglePointCalculator(atoms, **stored["results"])
    return atoms


def _encodable(value: Any) -> bool:
    try:
        encode(value)
    except TypeError:
        return False
    return True


def write_table(path: Path, rows: Iterable[ScreenRow]) -> None:
    """Write the table as CSV, beside and renamed."""

    def fill(handle: IO[bytes]) -> None:
        text = TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(COLUMNS)
        table.writerows(["" if value is None else value for value in astuple(row)] for row in rows)
        text.detach()

    write_beside(path, fill)


def write_structures(path: Path, structures: Iterable[Atoms]) -> None:
    """Write structures as extended XYZ, one at a time, beside and renamed."""

    def fill(handle: IO[bytes]) -> None:
        text = TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
        for atoms in structures:
            write(text, atoms, format="extxyz")
        text.detach()

    write_beside(path, fill)
