"""From columns of uncertainties to frames of ASE's atoms."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from numpy.typing import NDArray

from md_workflows.batched.fleet import Fleet
from md_workflows.uncertainty import MARK, UNCERTAINTIES, known_values, note_uncertainties


def doubt_columns(fleet: Fleet) -> dict[str, NDArray[Any]]:
    """The uncertainties of a fleet, [G] or [N] by name, and who is marked."""
    columns = {name: fleet.of(level)[name] for name, level in UNCERTAINTIES.items() if name in fleet.of(level)}
    columns |= {MARK: fleet.graph[MARK]} if MARK in fleet.graph else {}
    return {name: column.cpu().numpy() for name, column in columns.items()}


def note_row(frame: Atoms, columns: dict[str, NDArray[Any]], row: int, of_atoms: slice) -> None:
    """Put what `columns` know of structure `row`, whose atoms are `of_atoms`, into info and arrays of a frame."""
    own = {
        name: column[of_atoms] if UNCERTAINTIES.get(name) == "atom" else column[row] for name, column in columns.items()
    }
    if MARK in own:
        frame.info[MARK] = bool(own.pop(MARK))
    note_uncertainties(frame, known_values(own))
