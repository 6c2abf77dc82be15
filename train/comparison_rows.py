"""What a comparison leaves of each backbone, and the tables made of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from train.energy.account import ESTIMATE, NOT_METERED
from train.journal import flatten, replace_text, write_json

GPA = 160.21766208
ERRORS = (
    ("energy_mae_eV_per_atom", "energy, meV/atom", 1e3),
    ("forces_mae_eV_per_A", "forces, meV/Å", 1e3),
    ("stress_mae_eV_per_A3", "stress, GPa", GPA),
)
"""Key of an error, its heading, and what turns it into the heading's unit."""

Errors = dict[str, dict[str, float]]
"""By data set, by name with the unit in it; see `train.evaluation.Predictions.errors`."""


class Record(BaseModel):
    """Written as JSON, read back strictly."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(Record):
    """One backbone.

    Attributes:
        backbone: its name.
        status: "finished"; or "failed" or "waiting", with nothing else known.
        reason: why the training ended, or why it failed.
        parameters: number of weights that are trained, heads included.
        settings: of the backbone.
        valid: errors on the validation splits, by which the weights are chosen.
        test: errors on the test splits, looked at once; empty where there is none.
        valid_loss: the lowest, which is that of the weights taken.
        training_atoms_per_s: atoms of the training steps by their time, over the whole run, validations left out.
        energy_forces_atoms_per_s: energy, forces and stress of batches of the training's size, neighbour lists made
            before.
        peak_memory_MB: of the process that trained, torch itself and the compilation included; of the GPU where one
            computed.
        epochs: of the training.
        seconds: of the training, validations included, compilation not.
        energy_J: that the training used, compilation included, see `train.energy`; none where it was not metered.
        energy_source: where that number comes from, in words.
        compile_seconds: what the first step and the first evaluation took longer than later ones.
        compiled: whether the step and the evaluation were compiled.
        notes: what a reader must know of this row.
    """

    backbone: str
    status: Literal["finished", "failed", "waiting"]
    reason: str = ""
    parameters: int = 0
    settings: dict[str, Any] = {}
    valid: Errors = {}
    test: Errors = {}
    valid_loss: float | None = None
    training_atoms_per_s: float = 0.0
    energy_forces_atoms_per_s: float = 0.0
    peak_memory_MB: float = 0.0
    epochs: float = 0.0
    seconds: float = 0.0
    energy_J: float | None = None
    energy_source: str = NOT_METERED
    compile_seconds: float = 0.0
    compiled: bool = False
    notes: list[str] = []


def _energy(row: Row) -> str:
    if row.energy_J is None:
        return "–"
    return f"{row.energy_J / 1e3:,.4g}" + (f" ({ESTIMATE})" if ESTIMATE in row.energy_source else "")


COSTS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("training atoms/s", lambda row: f"{row.training_atoms_per_s:,.0f}"),
    ("energy + forces atoms/s", lambda row: f"{row.energy_forces_atoms_per_s:,.0f}"),
    ("peak memory, MB", lambda row: f"{row.peak_memory_MB:,.0f}"),
    ("epochs", lambda row: f"{row.epochs:,g}"),
    ("seconds", lambda row: f"{row.seconds:,.0f}"),
    ("energy, kJ", _energy),
    ("compile, s", lambda row: f"{row.compile_seconds:.0f}" if row.compiled else "–"),
)
"""Heading and cell of what a backbone costs."""


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The best validation loss first; those that failed or wait last."""
    return sorted(rows, key=lambda row: (row.status != "finished", row.valid_loss or 0.0, row.backbone))


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, ranked; errors are mean absolute ones, "validation / test"."""
    known = [(dataset, *error) for dataset in _datasets(rows) for error in ERRORS if _has(rows, dataset, error[0])]
    several = len(_datasets(rows)) > 1
    headings = ["backbone", "parameters"]
    headings += [f"{dataset}: {label}" if several else label for dataset, _, label, _ in known]
    headings += [heading for heading, _ in COSTS]
    cells = []
    for row in ranked(rows):
        if row.status != "finished":
            cells.append([row.backbone, row.status, *[""] * (len(headings) - 2)])
            continue
        errors = [
            f"{_cell(row.valid, dataset, key, factor)} / {_cell(row.test, dataset, key, factor)}"
            for dataset, key, _, factor in known
        ]
        cells.append([row.backbone, f"{row.parameters:,}", *errors, *[cell(row) for _, cell in COSTS]])
    return headings, cells


def remarks(rows: Sequence[Row]) -> list[str]:
    """Sentences on rows: why they failed, and what is to be known of them."""
    failed = [f"{row.backbone} failed: {row.reason}" for row in ranked(rows) if row.status == "failed"]
    return failed + [f"{row.backbone}: {note}" for row in ranked(rows) for note in row.notes]


def markdown(rows: Sequence[Row], heading: Sequence[str]) -> str:
    """The table for a page of documentation; `heading` is what stands above it, a paragraph each."""
    headings, cells = table(rows)
    lines = [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *cells)]
    below = [f"- {remark}" for remark in remarks(rows)]
    return "\n".join([*[f"{line}\n" for line in heading], *lines, *([""] if below else []), *below]) + "\n"


def write_tables(folder: Path, rows: Sequence[Row], about: dict[str, Any], heading: Sequence[str]) -> None:
    """comparison.json, .csv and .md; each is complete or not there."""
    flat = [flatten(row.model_dump()) for row in ranked(rows)]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "notes": "; ".join(row["notes"])} for row in flat)
    replace_text(folder / "comparison.csv", text.getvalue())
    write_json(folder / "comparison.json", {**about, "rows": [row.model_dump(mode="json") for row in ranked(rows)]})
    replace_text(folder / "comparison.md", markdown(rows, heading))


def _datasets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.valid | row.test))


def _has(rows: Sequence[Row], dataset: str, key: str) -> bool:
    return any(key in errors.get(dataset, {}) for row in rows for errors in (row.valid, row.test))


def _cell(errors: Errors, dataset: str, key: str, factor: float) -> str:
    value = errors.get(dataset, {}).get(key)
    return "–" if value is None else f"{factor * value:.3g}"
