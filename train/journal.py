"""The journal of a run: a line of JSON and a row of CSV at each validation; TensorBoard if wanted."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Journal:
    """Appends rows to `journal.jsonl`; `journal.csv` is the same as a table, and TensorBoard's files a third view.

    Args:
        folder: the run's.
        tensorboard: write TensorBoard's event files below it too.

    Raises:
        ValueError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self.path = folder / "journal.jsonl"
        self.table = folder / "journal.csv"
        self._board_folder = folder / "tensorboard"
        self._open_board = _board_writer() if tensorboard else None
        self._board: Any = None
        self._pending: list[Row] = []

    def rewind(self, epochs: int) -> None:
        """Forget rows after so many whole epochs: a resumed run writes them again."""
        rows = [row for row in read_journal(self.path) if row["epoch"] <= epochs] if self.path.exists() else []
        replace_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))
        self._write_table(rows)

    def append(self, row: Row) -> None:
        """Add one row; it must have `step` and `epoch`.

        Raises:
            OSError: it cannot be written; the next call tries it again, and the file holds no part of it.
        """
        self._pending.append(row)
        whole = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(one) + "\n" for one in self._pending))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            if self.path.exists():
                os.truncate(self.path, whole)
            raise
        self._pending.clear()
        self._write_table(read_journal(self.path))
        if self._open_board is not None:
            # only now: a run that fails before its first row leaves nothing; rows that a resumed run repeats are purged
            self._board = self._board or self._open_board(str(self._board_folder), purge_step=row["step"])
            for name, value in flatten(row).items():
                if isinstance(value, int | float):
                    self._board.add_scalar(name, value, row["step"])
            self._board.flush()

    def write(self, row: Row, say: Callable[[str], None]) -> None:
        """`append`, with a word where it fails: a full disk is no reason to lose a training."""
        try:
            self.append(row)
        except OSError as error:
            say(f"{self.path}: {error.strerror or error}; the training goes on, and this row is written with the next")

    def close(self) -> None:
        """Close what is open."""
        if self._board is not None:
            self._board.close()

    def _write_table(self, rows: list[Row]) -> None:
        flat = [flatten(row) for row in rows]
        columns = list(dict.fromkeys(name for row in flat for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        replace_text(self.table, text.getvalue())


def read_journal(path: Path) -> list[Row]:
    """All rows of a `journal.jsonl`; a last line that a crash cut short is left out."""
    rows: list[Row] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def flatten(row: Row, prefix: str = "") -> Row:
    """Nested dictionaries as one, keys joined by `/`."""
    flat: Row = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and programs; the file is complete or not there."""
    replace_text(path, json.dumps(content, indent=2) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a text; the file is complete or not there."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _board_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("log.tensorboard = true needs the extra: pip install gfm-ase[track]") from None
    return SummaryWriter
