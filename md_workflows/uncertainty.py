"""What a potential says of its own errors, and what is done about a structure that it does not know."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from ase import Atoms
from pydantic import Field, model_validator

from md_workflows.settings import Settings
from potentials.quantities import UNCERTAINTIES as OF_POTENTIALS

Level: TypeAlias = Literal["graph", "atom"]

OUTSIDE = "outside"
"""How far a structure is outside of what a model was trained on: above 1 it is."""

UNCERTAINTIES: dict[str, Level] = {
    **{name: "atom" if row.level == "atom" else "graph" for name, row in OF_POTENTIALS.items()},
    OUTSIDE: "graph",
}
"""Results of calculators and outputs of models, a number for each structure or for each atom.

forces_uncertainty [N] eV/Å, of a force component · uncertainty: eV/Å, the largest of the structure's atoms ·
energy_uncertainty eV, of the total energy · stress_uncertainty eV/Å³, of a component · outside: the uncertainty of
forces in parts of what hardly a training structure exceeds. Uncalibrated they are standard
deviations, of a calibrated checkpoint half-widths of intervals that hold a stated share of errors.
"""

UNITS = {**{name: row.unit for name, row in OF_POTENTIALS.items() if row.level == "graph"}, OUTSIDE: "times the limit"}
"""Of those that a limit can be set on."""

MARK = "uncertain"
"""In `info` of a frame: whether it was above the limit of a policy."""


class NoUncertaintyError(ValueError):
    """A limit is set on an uncertainty that the calculator does not give: a matter of all structures, not of one."""


class UncertaintyPolicy(Settings):
    """What happens to a structure whose uncertainty is above `limit`, or is no number.

    limit: in the unit of `output`, by default eV/Å · action: "stop" ends its run, "mark" says so in frames and results,
    "keep" also appends it to a file of candidates for labelling · output: which uncertainty is looked at · candidates:
    that file (.extxyz), by default beside the other files; with "stop" the structure that was stopped is put there, if
    a file is given · interval, most: in dynamics one candidate in so many steps at least, and so many of a run at most.
    """

    limit: Annotated[float, Field(gt=0)]
    action: Literal["stop", "mark", "keep"] = "stop"
    output: Literal["uncertainty", "energy_uncertainty", "stress_uncertainty", "outside"] = "uncertainty"
    candidates: Path | None = None
    interval: Annotated[int, Field(ge=1)] = 100
    most: Annotated[int, Field(ge=1)] = 100

    @model_validator(mode="after")
    def _a_file_that_is_used(self) -> UncertaintyPolicy:
        if self.candidates is None:
            return self
        if self.action == "mark":
            raise ValueError(f"action 'mark' keeps no candidates in {self.candidates}; take 'keep', or leave it out")
        if self.candidates.suffix != ".extxyz":
            raise ValueError(f"candidates are written as .extxyz, and not to {self.candidates}")
        return self

    def above(self, value: float) -> bool:
        """Whether a value is above the limit, or no number."""
        return not value <= self.limit

    def check_known(self, given: Container[str], calculator: str) -> None:
        """Raise NoUncertaintyError where `given`, the results that a calculator gives, lack what is looked at."""
        if self.output not in given:
            raise NoUncertaintyError(
                f"a limit on {self.output!r} is set, which {calculator} does not give; use an ensemble (gfm-ase "
                "ensemble) or a checkpoint with an uncertainty of its own (gfm-ase calibrate), or leave the limit out."
            )

    def said(self, value: float, of_atoms: Any = None, symbols: Any = None) -> str:
        """What is told of a value above the limit; of_atoms [N]: forces_uncertainty, symbols [N] of the atoms."""
        where = ""
        if self.output == "uncertainty" and of_atoms is not None:
            worst = int(np.argmax(of_atoms))
            where = f" at atom {worst} ({symbols[worst]})"
        unit = UNITS[self.output]
        name = "distance outside its data" if self.output == OUTSIDE else self.output.replace("_", " ")
        return f"the model's {name} reached {value:.4g} {unit}{where}, more than {self.limit:g}"

    def judge(self, frame: Atoms, known: Mapping[str, Any] | None = None) -> str:
        """Mark a frame that holds uncertainties, or of which they are `known`; tells where it is above the limit."""
        if known is None:
            known = uncertainties_of(frame)
        value = known.get(self.output, float("nan"))
        frame.info[MARK] = self.above(value)
        if not frame.info[MARK]:
            return ""
        return self.said(value, known.get("forces_uncertainty"), frame.symbols)


def uncertainties_of(atoms: Atoms) -> dict[str, Any]:
    """What is known of the uncertainties of `atoms`, by name and copied; nothing is computed.

    They are the calculator's results for these atoms or, where it has none, stand in info and arrays, as in frames.
    """
    results = getattr(atoms.calc, "results", {})
    if any(name in results for name in UNCERTAINTIES):
        stale = getattr(atoms.calc, "check_state", None)
        return {} if stale is not None and stale(atoms) else known_values(results)
    return known_values({**atoms.info, **atoms.arrays})


def note_uncertainties(frame: Atoms, known: Mapping[str, Any]) -> None:
    """Put uncertainties into info and arrays of a frame."""
    for name, value in known.items():
        if UNCERTAINTIES[name] == "atom":
            frame.set_array(name, value, float, ())
        else:
            frame.info[name] = value


def drop_uncertainties(atoms: Atoms) -> None:
    """Remove uncertainties and marks that another calculator has left."""
    for name in (*UNCERTAINTIES, MARK):
        atoms.info.pop(name, None)
        atoms.arrays.pop(name, None)


def without_uncertainties(atoms: Atoms) -> Atoms:
    """`atoms`, or where another calculator has left uncertainties a copy without them, with the same calculator."""
    if not any(name in atoms.info or name in atoms.arrays for name in (*UNCERTAINTIES, MARK)):
        return atoms
    bare: Atoms = atoms.copy()
    bare.calc = atoms.calc
    drop_uncertainties(bare)
    return bare


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of `values` the uncertainties, as plain numbers and arrays of their own; NaN is unknown."""
    found = {
        name: np.array(values[name], dtype=float) if level == "atom" else float(values[name])
        for name, level in UNCERTAINTIES.items()
        if values.get(name) is not None
    }
    return {name: value for name, value in found.items() if not np.isnan(value).all()}
