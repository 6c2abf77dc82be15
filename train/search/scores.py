"""What a trial is judged by, from the rows of its journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from train.journal import Row, flatten, read_journal
from train.search.curves import Point

JOURNAL = "journal.jsonl"
RELATIVE = "relative"
TRIVIAL = "trivial_"


def error_of(row: Row, column: str) -> float:
    """What the search makes small, at one validation.

    Args:
        row: of the journal.
        column: its name in `journal.csv`, or "relative".

    Raises:
        ValueError: the journal has no such column.
    """
    if column == RELATIVE:
        return relative_error(row["valid"])
    flat = flatten(row)
    value = flat.get(column)
    if not isinstance(value, int | float):
        numbers = [name for name, one in flat.items() if isinstance(one, int | float) and name.startswith("valid")]
        raise ValueError(
            f"objectives.error = {column!r} is no number of the journal; there are {', '.join(numbers)} and"
            f" {RELATIVE!r}"
        )
    return float(value)


def relative_error(valid: Mapping[str, Mapping[str, float]]) -> float:
    """Mean over data sets and quantities of the mean absolute error in parts of that of the trivial predictor.

    1 is as good as E0 alone for energies and zero for forces; it does not depend on the weights of a loss. A quantity
    that the trivial predictor knows exactly is left out.

    Raises:
        ValueError: nothing can be compared.
    """
    found = []
    for errors in valid.values():
        parts = [
            value / errors[f"{TRIVIAL}{name}"]
            for name, value in errors.items()
            if "_mae_" in name and errors.get(f"{TRIVIAL}{name}", 0.0) > 0
        ]
        if parts:
            found.append(sum(parts) / len(parts))
    if not found:
        raise ValueError(
            "no validation structure has a label that the trivial predictor misses: there is no relative error; name a"
            " column of the journal in objectives.error"
        )
    return sum(found) / len(found)


def points_of(rows: Sequence[Row], column: str) -> tuple[Point, ...]:
    """One for each validation after the first step."""
    return tuple(
        Point(row["epoch"], row["seconds"], float(row.get("energy_J") or 0.0), error_of(row, column))
        for row in rows
        if row["epoch"] > 0
    )


def best_error(rows: Sequence[Row], column: str) -> float | None:
    """Of the weights that the run takes: those of its best epoch; none where there is none yet."""
    best = rows[-1]["best_epoch"] if rows else None
    return next((error_of(row, column) for row in rows if row["epoch"] == best), None)


def rows_of(folder: Path) -> list[Row]:
    """Of the journal of a trial; none where there is no journal yet."""
    try:
        return read_journal(folder / JOURNAL)
    except FileNotFoundError:
        return []


class Journals:
    """Journals of trials, each read anew where it has changed: all are looked at after every validation of one."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], list[Row]]] = {}

    def of(self, folder: Path) -> list[Row]:
        """As `rows_of`."""
        try:
            told = (folder / JOURNAL).stat()
        except FileNotFoundError:
            return []
        signature = told.st_mtime_ns, told.st_size
        if folder not in self._known or self._known[folder][0] != signature:
            self._known[folder] = signature, rows_of(folder)
        return self._known[folder][1]
