"""What every property of a screening is: columns of the table, settings, and a function of many structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias

from ase import Atoms

from md_workflows.engine import Engine
from md_workflows.progress import ProgressCallback
from md_workflows.settings import Settings

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


class Prepare(Protocol):
    """Computes once, before any chunk of structures, what all of them need (energies of references)."""

    def __call__(self, engine: Engine, settings: Any) -> Any:
        """Settings of the same class that hold the numbers; plain data; prepared ones come back."""


class Finish(Protocol):
    """Fills columns that need the whole table (the convex hull), after the last chunk."""

    def __call__(
        self, rows: Sequence[Mapping[str, Value]], settings: Any, progress: ProgressCallback | None = None
    ) -> list[Measured]:
        """One for each row, in their order: its values replace those of the row, its error is the row's."""


@dataclass(frozen=True)
class Property:
    """One row of the registry.

    Those who go over many structures in chunks call, once, `check()` and `settings = prepare(engine, settings)` where
    there is a `prepare`; `measure(chunk, engine, settings)` for each chunk; and at the end, where there is a `finish`,
    `finish(rows, settings)` with the values that `measure` gave for every structure (an empty row for a failed one).
    `measure` alone prepares by itself, at the price of doing so each time.

    description: one line · columns: all that values may be named · settings: their class · libraries: modules of the
    extra `materials` that are needed.
    """

    description: str
    columns: tuple[Column, ...]
    settings: type[Settings]
    measure: Measure
    prepare: Prepare | None = None
    finish: Finish | None = None
    libraries: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise ValueError when a library that is needed is not installed."""
        need(*self.libraries)


def need(*libraries: str) -> None:
    """Raise ValueError when one of the modules, all of the extra `materials`, is not installed."""
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        raise ValueError(f"this property needs {', '.join(missing)}: pip install 'gfm-ase[materials]'")
