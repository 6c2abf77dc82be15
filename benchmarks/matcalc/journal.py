"""Rows on disk: appended as they come, so that a run that was ended goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.matcalc.lists import Row


class Journal:
    """A file of JSON lines: first what the rows are of, then a row a line.

    Args:
        path: the file; a missing one is begun.
        settings: what the rows depend on: potential, head, supercells.

    Raises:
        ValueError: the file is of other settings, or no such file.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._rows: dict[tuple[str, str], Row] = {}
        if not path.exists():
            path.write_text(json.dumps(dict(settings)) + "\n", encoding="utf-8")
            return
        whole, _, torn = path.read_text(encoding="utf-8").rpartition("\n")
        if torn:  # by a kill in the midst of a line
            path.write_text(whole + "\n", encoding="utf-8")
        try:
            found, *lines = [json.loads(line) for line in whole.splitlines()]
            rows = [Row(**line) for line in lines]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} holds no rows of this benchmark ({error}); name another --output") from None
        if found != dict(settings):
            changed = ", ".join(key for key in settings if found.get(key) != settings[key])
            raise ValueError(f"{path} holds rows of another {changed}; name another --output, or remove it")
        self._rows = {(row.task, row.id): row for row in rows}

    def append(self, rows: Sequence[Row]) -> None:
        """Keep rows."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row.plain()) + "\n" for row in rows)
        self._rows.update({(row.task, row.id): row for row in rows})

    def row(self, task: str, name: str) -> Row | None:
        """That of a structure, if it is there."""
        return self._rows.get((task, name))
