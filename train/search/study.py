"""The folder of a study: its trials, and what has become of them.

    best_trials(Path("searches/acac"), 4)      # folders of the four best trials

In it: `search.json` (settings), `trials/0000/` and so on (each the folder of a run, with `trial.json`, `row.json` and
`log.txt` beside), the storage of the sampler, and at the end the tables.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from train.config import dump_config
from train.journal import Row, write_json
from train.search.config import SearchConfig
from train.search.curves import Curve
from train.search.files import ROW, RUN, SETTINGS, SPEED, TRIAL, TRIALS
from train.search.lock import alone
from train.search.proposals import CLAIMS, Proposals, optuna
from train.search.rows import TrialRow, pareto_front
from train.search.scores import Journals, best_error, points_of, rows_of
from train.search.space import Space, Values, check_stopping, check_validation
from train.state import first_difference

FREE_TO_CHANGE = ("search.budget", "search.workers", "search.storage", "search.output", "search.run", "base.output")
"""What a study may go on with otherwise; and where its files are, which hosts may see under other names."""


class Study:
    """A study that this process takes part in.

    Args:
        search: settings.

    Raises:
        ValueError: settings that do not hold together, or other ones than the study in the folder was begun with.
    """

    def __init__(self, search: SearchConfig) -> None:
        self.search, self.folder = search, search.output
        self.space = Space(search)
        check_validation(self.space.base, search.objectives.error)
        if search.sampler.name == "grid":
            self.space.grid()  # a range without a step is told now
        check_stopping(search, self.space.base)
        optuna()
        self.journals = Journals()
        (self.folder / TRIALS).mkdir(parents=True, exist_ok=True)
        with self.locked():
            self.proposals = Proposals(search, self.folder, self._name())

    def _name(self) -> str:
        """Of the study in its storage; settings are written by who comes first, and compared by the others."""
        own = {
            "search": self.search.model_dump(mode="json"),
            "base": dump_config(self.space.base),
        }
        path = self.folder / SETTINGS
        if not path.exists():
            name = f"{self.folder.name}-{uuid.uuid4().hex[:8]}"
            write_json(path, {"name": name, **own})
            return name
        before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        name = str(before.pop("name"))
        difference = first_difference(before, own, FREE_TO_CHANGE)
        if difference is not None:
            key, was, now = difference
            raise ValueError(
                f"the study in {self.folder} was begun with {key} = {was!r} and is to go on with {now!r}; put it back,"
                " or name another output"
            )
        return name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all workers: who decides what becomes of which trial."""
        with alone(self.folder / CLAIMS):
            yield

    def rows(self) -> list[TrialRow]:
        """Of all trials, as far as they are, by number."""
        return study_rows(self.folder, self.search.objectives.error, self.journals.of)

    def begin(self, number: int, values: Values) -> Path:
        """The folder of a new trial, which is its run's.

        Raises:
            ValueError: the values do not go together; the row is there.
        """
        folder = trial_folder(self.folder, number)
        folder.mkdir(parents=True, exist_ok=True)
        row = TrialRow(number=number, values=values, of_epochs=self.space.base.stop.epochs)
        write_json(folder / TRIAL, {"number": number, "values": values})
        write_row(folder, row)
        write_json(folder / RUN, dump_config(self.space.config(values, folder)))
        return folder

    def settle(self) -> None:
        """Tell the sampler what it does not know yet: trials that are over, and those that never were."""
        for number in self.proposals.running:
            folder = trial_folder(self.folder, number)
            if not (folder / ROW).exists():
                self.proposals.forget(number)
                continue
            row = read_row(folder)
            if row.over:
                rows = rows_of(folder) if row.state == "stopped" else []
                points = points_of(rows, self.search.objectives.error)
                self.proposals.tell(row, [(point.epoch, point.error) for point in points])

    def curve(self, row: TrialRow) -> Curve:
        """A trial as a rule that stops early sees it."""
        points = points_of(self.journals.of(trial_folder(self.folder, row.number)), self.search.objectives.error)
        state = {"waiting": "running", "violates": "failed"}.get(row.state, row.state)
        return Curve(row.number, points, row.of_epochs, state, row.inference_s_per_atom)  # type: ignore[arg-type]

    def curves(self, rows: Sequence[TrialRow]) -> list[Curve]:
        """Of trials."""
        return [self.curve(row) for row in rows]

    def used_up(self, rows: Sequence[TrialRow]) -> str:
        """Which part of the budget is used up; "" while there is some left."""
        budget = self.search.budget
        joules, seconds = sum(row.energy_J or 0.0 for row in rows), sum(row.seconds for row in rows)
        if budget.kilojoules is not None and joules > 1e3 * budget.kilojoules:
            return f"the budget of {budget.kilojoules:g} kJ is used up"
        if budget.minutes is not None and seconds > 60 * budget.minutes:
            return f"the budget of {budget.minutes:g} minutes of training is used up"
        return ""


def trial_folder(study: Path, number: int) -> Path:
    """Of a trial."""
    return study / TRIALS / f"{number:04d}"


def write_row(folder: Path, row: TrialRow) -> None:
    """Leave what has become of a trial in its folder."""
    write_json(folder / ROW, row.model_dump(mode="json"))


def read_row(folder: Path) -> TrialRow:
    """What has become of a trial."""
    return TrialRow.model_validate_json((folder / ROW).read_text(encoding="utf-8"))


def study_rows(study: Path, column: str, journal: Callable[[Path], list[Row]] = rows_of) -> list[TrialRow]:
    """All trials of a study by number, as far as they are.

    Args:
        study: its folder.
        column: `objectives.error` of the study.
        journal: reads that of a trial's folder.
    """
    folders = sorted(path.parent for path in (study / TRIALS).glob(f"*/{ROW}"))
    return sorted(
        (up_to_date(folder, read_row(folder), column, journal(folder)) for folder in folders),
        key=lambda row: row.number,
    )


def up_to_date(folder: Path, row: TrialRow, column: str, rows: Sequence[Row] | None = None) -> TrialRow:
    """A row with what journal and measurements say by now."""
    known: dict[str, Any] = {}
    rows = rows_of(folder) if rows is None else rows
    if rows:
        last = rows[-1]
        known = {
            "epochs": last["epoch"],
            "seconds": last["seconds"],
            "energy_J": last.get("energy_J"),
            "energy_source": last.get("energy_source", ""),
            "error": best_error(rows, column),
        }
    if row.inference_s_per_atom is None and (folder / SPEED).exists():
        speed = json.loads((folder / SPEED).read_text(encoding="utf-8"))["inference_atoms_per_s"]
        known["inference_s_per_atom"] = 1 / speed
    return row.model_copy(update=known)


def best_trials(study: Path, count: int, *, unfinished: bool = False) -> list[Path]:
    """Folders of the best trials: finished ones of the front by error, then the other finished ones by error.

    Args:
        study: folder of a study.
        count: how many are wanted.
        unfinished: after these those that a rule has paused or stopped, by their least error so far: they have a state
            to go on from.

    Raises:
        ValueError: the folder holds no study, or fewer such trials.
    """
    if not (study / SETTINGS).exists():
        raise ValueError(f"{study} holds no study: there is no {SETTINGS}; name the output of a search file")
    settings = json.loads((study / SETTINGS).read_text(encoding="utf-8"))["search"]
    objectives = settings["objectives"]
    rows = study_rows(study, objectives["error"])
    front = pareto_front(rows, tuple(objectives["minimise"]))
    numbers = {row.number for row in front}
    states = ("finished", "paused", "stopped") if unfinished else ("finished",)
    others = [row for row in rows if row.state in states and row.number not in numbers and row.error is not None]
    ranked = [*front, *sorted(others, key=lambda row: (row.state != "finished", row.error, row.number))]
    if len(ranked) < count:
        kind = "trials that can be trained on" if unfinished else "finished trials"
        raise ValueError(f"{study} has {len(ranked)} {kind} and {count} are wanted; let the search go on")
    return [trial_folder(study, row.number) for row in ranked[:count]]
