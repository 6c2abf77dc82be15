"""What every property of a screening is: columns of the table, settings, and a function of many structures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from ase import Atoms

from md_workflows.engine import Engine

Value: TypeAlias = float | int | str | bool | None
"""What stands in one cell of the table; None where there is nothing."""


@dataclass(frozen=True)
class Column:
    """One column of the table.

    name: with its unit at the end, as in ``bulk_modulus_GPa`` · meaning: one line for those who read the table.
    """

    name: str
    meaning: str


@dataclass(frozen=True)
class Measured:
    """What became of one structure.

    values: by the names of the columns; a missing one is None · error: one line, empty where all went well · curves:
    named pairs of lists for plots, as in ``{"eos": (volumes, energies)}`` · structures: others that came out, by name.
    """

    values: dict[str, Value] = field(default_factory=dict)
    error: str = ""
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    structures: dict[str, Atoms] = field(default_factory=dict)


class Measure(Protocol):
    """Computes a property of structures, which are relaxed already where the user asked for it.

    All calculations of all structures go through the engine in one stream, so that it can fill its batches. A structure
    that fails is a `Measured` with an error: it never ends the others. Returns one for each structure, in their order.
    """

    def __call__(self, structures: Sequence[Atoms], engine: Engine, settings: Any) -> list[Measured]:
        """The property of each structure, in their order."""
