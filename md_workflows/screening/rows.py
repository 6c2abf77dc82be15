"""The rows of a screening: one structure each, whatever became of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ase import Atoms

from md_workflows.engine import Outcome
from md_workflows.properties.base import Value
from md_workflows.relaxation import StopReason


class Status(StrEnum):
    """What became of a structure."""

    WAITING = "waiting"
    CONVERGED = "converged"
    NOT_CONVERGED = "not_converged"
    MEASURED = "measured"
    FAILED = "failed"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class ScreenRow:
    """One structure's line of the table; a number that does not exist is None.

    energy eV · energy_per_atom eV/atom · fmax eV/Å · volume Å³ · wall_time s · error: one line or empty · duplicate_of:
    the identifier whose values these are, or empty · values: of the properties, by the names of their columns.
    """

    identifier: str
    formula: str
    n_atoms: int
    status: Status
    energy: float | None = None
    energy_per_atom: float | None = None
    fmax: float | None = None
    volume: float | None = None
    steps: int = 0
    wall_time: float = 0.0
    error: str = ""
    duplicate_of: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)


COLUMNS = {
    "identifier": "identifier",
    "formula": "formula",
    "n_atoms": "n_atoms",
    "status": "status",
    "energy": "energy_eV",
    "energy_per_atom": "energy_per_atom_eV",
    "fmax": "fmax_eV_per_A",
    "volume": "volume_A3",
    "steps": "steps",
    "wall_time": "wall_time_s",
    "error": "error",
    "duplicate_of": "duplicate_of",
}
"""The fields of ScreenRow and what the table calls them; the columns of the properties follow."""


def row_of(identifier: str, atoms: Atoms, status: Status, error: str = "") -> ScreenRow:
    """The row of a structure of which nothing is known yet, or which failed before anything was."""
    return ScreenRow(identifier, _formula(atoms), len(atoms), status, volume=_volume(atoms), error=error)


def relaxed_row(identifier: str, atoms: Atoms, outcome: Outcome) -> ScreenRow:
    """The row of a structure `atoms` (as it came in) that became `outcome`."""
    result = outcome.result
    if result is None or result.reason is StopReason.NON_FINITE:
        steps = 0 if result is None else result.steps
        error = outcome.error or f"energy or forces are not finite at step {steps}"
        return ScreenRow(
            identifier,
            _formula(atoms),
            len(atoms),
            Status.FAILED,
            volume=_volume(atoms),
            steps=steps,
            wall_time=outcome.seconds,
            error=error,
        )
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
    )


def _formula(atoms: Atoms) -> str:
    try:
        return str(atoms.get_chemical_formula())
    except (IndexError, KeyError):  # an atomic number beyond the periodic table
        return "?"


def _volume(atoms: Atoms) -> float | None:
    volume = float(atoms.cell.volume)
    return volume if math.isfinite(volume) and atoms.cell.rank == 3 else None
