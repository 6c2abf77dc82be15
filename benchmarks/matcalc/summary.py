"""From rows to the numbers of one line of the published table, and the tables that are printed."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.matcalc.lists import Row, Task
from benchmarks.matcalc.relaxing import NOT_RELAXED
from benchmarks.matcalc.softening import slope

COLUMNS = ("d", "Ef", "K", "G", "CV", "f/f_DFT")
HEADINGS = ("d", "Ef, eV/atom", "K, GPa", "G, GPa", "C_V, J/mol/K", "f/f_DFT")
OF_TASK = {"equilibrium": ("d", "Ef"), "elasticity": ("K", "G"), "phonon": ("CV",), "softening": ("f/f_DFT",)}

PUBLISHED = {
    "M3GNet MatPES-PBE": (0.42, 0.109, 26, 25, 27, 0.97),
    "CHGNet MatPES-PBE": (0.43, 0.082, 24, 21, 23, 0.91),
    "TensorNet MatPES-PBE": (0.37, 0.081, 18, 15, 13, 0.93),
    "M3GNet MPF": (0.59, 0.098, 21, 41, 30, 0.77),
    "TensorNet MPF": (0.58, 0.103, 24, 36, 18, 0.75),
    "CHGNet MPtrj": (0.51, 0.092, 17, 30, 24, 0.83),
    "TensorNet OMat24": (0.31, 0.052, 16, 15, 6, 0.96),
}
"""Mean absolute errors on the whole lists, and force softening, from the MatPES site (d982c5585bbd)."""

SHOWN = 12
"""Kinds of failures that are printed; the file has all."""


@dataclass(frozen=True)
class Number:
    """One number of the line.

    mean: of absolute errors (of d: of d; of f/f_DFT: the slope) · error: its standard error · count: of structures ·
    median: of what the mean is of.
    """

    mean: float
    error: float
    count: int
    median: float

    def cell(self) -> str:
        """For a table."""
        return f"{_digits(self.mean, 3)} ± {_digits(self.error, 2)} ({self.count})"


def _digits(value: float, significant: int) -> str:
    """In so many digits, without an exponent."""
    return np.format_float_positional(value, significant, fractional=False, trim="-")


def errors_of(rows: Sequence[Row], quantity: str) -> list[float]:
    """Absolute errors of the rows that have the quantity as a finite number; d is one by itself."""
    found = []
    for row in rows:
        value = row.values.get(quantity, math.nan)
        error = value if quantity == "d" else abs(value - row.values.get(f"{quantity}_dft", math.nan))
        if math.isfinite(error):
            found.append(error)
    return found


def number(rows: Sequence[Row], quantity: str) -> Number | None:
    """The number of one column, None where no row has it."""
    if quantity == "f/f_DFT":
        good = [row for row in rows if "fF" in row.values]
        if not good:
            return None
        mean, error = slope([row.values["fF"] for row in good], [row.values["FF"] for row in good])
        return Number(mean, error, len(good), statistics.median(row.values["fF"] / row.values["FF"] for row in good))
    errors = errors_of(rows, quantity)
    if not errors:
        return None
    spread = statistics.stdev(errors) if len(errors) > 1 else math.nan
    return Number(statistics.fmean(errors), spread / math.sqrt(len(errors)), len(errors), statistics.median(errors))


Line = dict[str, Number | None]


def line(rows: dict[str, list[Row]], *, relaxed_only: bool = False) -> Line:
    """Our line: by column; with or without structures whose relaxation did not end."""
    numbers: Line = {}
    for task, quantities in OF_TASK.items():
        chosen = [row for row in rows.get(task, []) if not (relaxed_only and NOT_RELAXED in row.notes)]
        numbers.update({quantity: number(chosen, quantity) for quantity in quantities})
    return numbers


def record(tasks: Sequence[Task], rows: dict[str, list[Row]]) -> dict[str, Any]:
    """All that is known, for JSON: numbers, what failed and is odd by name, and what it cost."""

    def plain(numbers: Line) -> dict[str, Any]:
        return {name: None if found is None else asdict(found) for name, found in numbers.items()}

    return {
        "numbers": plain(line(rows)),
        "numbers_of_relaxed": plain(line(rows, relaxed_only=True)),
        "published": {name: dict(zip(COLUMNS, values, strict=True)) for name, values in PUBLISHED.items()},
        "lists": {
            task.name: {
                "listed": task.listed,
                "measured": len(rows[task.name]),
                "failed": {row.id: row.error for row in rows[task.name] if row.error},
                "notes": _notes(rows[task.name]),
                "seconds_per_structure": seconds_each(rows[task.name]),
            }
            for task in tasks
        },
    }


def _notes(rows: Sequence[Row]) -> dict[str, list[str]]:
    names = sorted({note for row in rows for note in row.notes})
    return {name: [row.id for row in rows if name in row.notes] for name in names}


def seconds_each(rows: Sequence[Row]) -> float | None:
    """Seconds of the processor that a structure took."""
    return statistics.fmean(row.seconds for row in rows) if rows else None


def comparison(name: str, rows: dict[str, list[Row]]) -> Table:
    """Our line under the published ones."""
    table = Table(title="MatCalc benchmark: mean absolute errors ± standard error (structures), and force softening")
    for heading in ("model", *HEADINGS):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model, values in PUBLISHED.items():
        table.add_row(f"{model} (published)", *(f"{value:g}" for value in values))
    table.add_section()
    whole, relaxed = line(rows), line(rows, relaxed_only=True)
    table.add_row(name, *(_cell(whole[column]) for column in COLUMNS), style="bold")
    table.add_row("  of relaxed structures only", *(_cell(relaxed[column]) for column in COLUMNS))
    table.add_row("  median in place of mean", *(_median(whole[column]) for column in COLUMNS))
    return table


def _cell(found: Number | None) -> str:
    return "" if found is None else found.cell()


def _median(found: Number | None) -> str:
    return "" if found is None else _digits(found.median, 3)


def counts(tasks: Sequence[Task], rows: dict[str, list[Row]]) -> Table:
    """What was measured, what failed, and what is odd, list by list."""
    table = Table(
        "list", "in the list", "measured", "without numbers", "odd, and counted in", "processor s a structure"
    )
    for task in tasks:
        own = rows[task.name]
        failed = Counter(row.error for row in own if row.error)
        odd = ", ".join(f"{len(ids)} {note}" for note, ids in _notes(own).items())
        seconds = seconds_each(own)
        cost = "" if seconds is None else f"{seconds:.2f}"
        table.add_row(task.name, str(task.listed), str(len(own)), str(failed.total()), odd, cost)
        for reason, count in failed.most_common(SHOWN):
            table.add_row("", "", "", f"{count} ×", reason, "")
    return table


def markdown(table: Table) -> str:
    """The same table for a page."""
    columns = [list(column.cells) for column in table.columns]
    rows = [[str(column.header) for column in table.columns], ["---"] * len(columns), *zip(*columns, strict=True)]
    return "\n".join("| " + " | ".join(str(cell).strip() for cell in row) + " |" for row in rows)


def affordable(rows: dict[str, list[Row]], minutes: Sequence[float]) -> str:
    """How many structures of each list fit into so many minutes, softening and elements done; one sentence."""
    each = [seconds_each(rows.get(task, [])) for task in ("equilibrium", "elasticity", "phonon")]
    if any(seconds is None for seconds in each):
        return ""
    total = sum(seconds for seconds in each if seconds is not None)
    fixed = sum(row.seconds for task in ("elements", "softening") for row in rows.get(task, []))
    told = (f"{max(0, int((60 * some - fixed) / total))} in {some:g} minutes" for some in minutes)
    return f"--limit that one run affords on a processor that is free: {', '.join(told)}."
