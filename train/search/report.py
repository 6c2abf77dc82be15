"""What a search leaves: a table, the front, and the run file of the best trial."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.config import dump_config, load_config
from train.journal import replace_text, write_json
from train.search.files import RUN
from train.search.rows import TrialRow, pareto_front
from train.search.study import Study, trial_folder

TABLE, TRIALS_FILE, BEST, BEST_RUN = "study.csv", "trials.json", "best.json", "best"


def ranked(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Finished trials by error, then the others by number."""
    return sorted(
        rows,
        key=lambda row: (row.state != "finished", row.error or 0.0 if row.state == "finished" else 0.0, row.number),
    )


def write_report(study: Study) -> list[TrialRow]:
    """study.csv, trials.json and best.json, each complete or not there; its rows. The study is locked meanwhile.

    `best.json` is a run file: that of the finished trial of least error, for the folder `best`.
    """
    with study.locked():
        study.settle()
        rows = ranked(study.rows())
        front = pareto_front(rows, study.search.objectives.minimise)
        columns, cells = flat(rows)
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells)
        replace_text(study.folder / TABLE, text.getvalue())
        content = {
            "search": study.search.model_dump(mode="json"),
            "front": [row.number for row in front],
            "importances": study.proposals.importances(),
            "trials": [row.model_dump(mode="json") for row in rows],
        }
        write_json(study.folder / TRIALS_FILE, content)
        if front:
            config = load_config(trial_folder(study.folder, front[0].number) / RUN)
            own = config.model_copy(update={"output": study.folder / BEST_RUN})
            write_json(study.folder / BEST, dump_config(own))
    return rows


def importances(study: Path) -> dict[str, float]:
    """As the last report has them."""
    found: dict[str, float] = json.loads((study / TRIALS_FILE).read_text(encoding="utf-8"))["importances"]
    return found


def flat(rows: Sequence[TrialRow]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and cells: those of a row, then one for each parameter."""
    own = [name for name in TrialRow.model_fields if name != "values"]
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    cells = [{**row.model_dump(exclude={"values"}), **row.values} for row in rows]
    return [*own, *names], cells
