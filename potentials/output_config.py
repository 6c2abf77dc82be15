"""What an output beyond the energy is: its name, level and kind, and whether data sets share it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from potentials.quantities import OUTPUTS, QUANTITIES, UNCERTAINTIES, Quantity

OUTPUT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

RESERVED = {*QUANTITIES, *UNCERTAINTIES, "virial", "free_energy", "stresses", "magmom"}
"""Names that results have already, or that ASE gives another meaning."""


class OutputConfig(BaseModel):
    """One output beside energy, forces and stress.

    Names in `OUTPUTS` (charges, dipole, magmoms, direct_forces) bring their level, kind and unit. Any other name is the
    user's own quantity.

    Attributes:
        name: letters, digits and `_`; also the name of the label.
        level: "graph", one value per structure, or "atom".
        kind: "scalar", or "vector" that turns with the structure and changes sign with a reflection.
        extensive: of a graph-level output: the sum over the atoms, or else their mean.
        unit: of the values, for people to read.
        shared: one head for all data sets, or else one for each.
        width: hidden features of the head.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    level: Literal["graph", "atom"]
    kind: Literal["scalar", "vector"] = "scalar"
    extensive: bool = True
    unit: str = ""
    shared: bool = False
    width: Annotated[int, Field(gt=0)] = 64

    @model_validator(mode="before")
    @classmethod
    def _fill_known(cls, given: Any) -> Any:
        row = OUTPUTS.get(given.get("name", "")) if isinstance(given, dict) else None
        if row is None:
            return given
        fixed: dict[str, Any] = {"level": row.level, "kind": "vector" if row.shape else "scalar", "unit": row.unit}
        fixed |= {"extensive": row.extensive} if row.level == "graph" else {}
        for key, value in fixed.items():
            if given.get(key, value) != value:
                raise ValueError(f"{row.name} has {key} = {value!r}, not {given[key]!r}; leave {key} out")
        return {**given, **fixed}

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        if not OUTPUT_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an output; use letters, digits and '_', a letter first")
        if name in RESERVED:
            raise ValueError(f"{name!r} is no name of an output, for results have another one of it; choose another")
        return name

    @property
    def quantity(self) -> Quantity:
        """Its row: that of the table, or one made of these settings."""
        if self.name in OUTPUTS:
            return OUTPUTS[self.name]
        shape = (3,) if self.kind == "vector" else ()
        return Quantity(self.name, self.level, shape, self.unit, extensive=self.level == "graph" and self.extensive)


def distinct(outputs: tuple[OutputConfig, ...]) -> tuple[OutputConfig, ...]:
    """The outputs, after a look at their names.

    Raises:
        ValueError: two have the same.
    """
    names = [output.name for output in outputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two outputs are called {twice[0]!r}; names must differ")
    return outputs
