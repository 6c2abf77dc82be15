"""The rows of a screening: one structure each, whatever became of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ase import Atoms

from md_workflows.engine import Outcome
from md_workflows.properties.base import Column, Value
from md_workflows.relaxation import RelaxResult, StopReason
from md_workflows.uncertainty import MARK, OUTSIDE, UNITS, uncertainties_of


class Status(StrEnum):
    """What became of a structure."""

    WAITING = "waiting"
    CONVERGED = "converged"
    NOT_CONVERGED = "not_converged"
    MEASURED = "measured"
    UNCERTAIN = "uncertain"
    FAILED = "failed"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class ScreenRow:
    """One structure's line of the table; a number that does not exist is None.

    energy eV · energy_per_atom eV/atom · fmax eV/Å · volume Å³ · wall_time s · error: one line or empty · duplicate_of:
    the identifier whose values these are, or empty · values: uncertainties and those of the properties, by the names
    of their columns.
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
    "identifier": Column("identifier", "name of the structure, by default its file and frame"),
    "formula": Column("formula", "chemical formula"),
    "n_atoms": Column("n_atoms", "number of atoms"),
    "status": Column("status", "what became of the structure"),
    "energy": Column("energy_eV", "potential energy of the relaxed structure"),
    "energy_per_atom": Column("energy_per_atom_eV", "potential energy divided by the number of atoms"),
    "fmax": Column("fmax_eV_per_A", "largest force on an atom or, of a free cell, on its strain"),
    "volume": Column("volume_A3", "volume of the relaxed cell"),
    "steps": Column("steps", "steps of the relaxation"),
    "wall_time": Column("wall_time_s", "time spent on the structure; of a batch its share"),
    "error": Column("error", "what went wrong, in one line"),
    "duplicate_of": Column("duplicate_of", "the structure that this one equals, and whose values these are"),
}
"""The fields of ScreenRow and their columns in the table; the columns of the properties follow."""

DOUBTS = {
    "energy_uncertainty": Column("energy_uncertainty_eV", "uncertainty of the energy of the structure"),
    "uncertainty": Column("uncertainty_eV_per_A", "largest uncertainty of a force component on its atoms"),
    OUTSIDE: Column(OUTSIDE, "how far it is outside of what the model was trained on: above 1 it is"),
    MARK: Column(MARK, "whether it was above the limit of the policy on uncertainty"),
}
"""Uncertainties of structures that came out of a relaxation, and their columns, which stand among the values."""

FORCES = "forces_uncertainty"

_STATUS = {StopReason.CONVERGED: Status.CONVERGED, StopReason.UNCERTAIN: Status.UNCERTAIN}


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
        status=_STATUS.get(result.reason, Status.NOT_CONVERGED),
        energy=result.energy,
        energy_per_atom=result.energy / len(atoms),
        fmax=result.fmax,
        volume=_volume(result.atoms),
        steps=result.steps,
        wall_time=outcome.seconds,
        error=_doubt(result) if result.reason is StopReason.UNCERTAIN else "",
        values=doubts_of(result.atoms),
    )


def doubts_of(atoms: Atoms) -> dict[str, Value]:
    """What is known of the uncertainties of a structure, by the names of the columns in DOUBTS."""
    known = {**uncertainties_of(atoms), MARK: atoms.info.get(MARK)}
    return {column.name: known[name] for name, column in DOUBTS.items() if known.get(name) is not None}


def _doubt(result: RelaxResult) -> str:
    known = uncertainties_of(result.atoms)
    told = ", ".join(
        f"{name.replace('_', ' ')} {known[name]:.4g} {unit}" for name, unit in UNITS.items() if name in known
    )
    where = f", largest at atom {int(known[FORCES].argmax())}" if FORCES in known else ""
    return f"stopped at step {result.steps}, too uncertain: {told}{where}"


def _formula(atoms: Atoms) -> str:
    try:
        return str(atoms.get_chemical_formula())
    except (IndexError, KeyError):  # an atomic number beyond the periodic table
        return "?"


def _volume(atoms: Atoms) -> float | None:
    volume = float(atoms.cell.volume)
    return volume if math.isfinite(volume) and atoms.cell.rank == 3 else None
