"""Studies of tiny trainings, and trials that are played from a script."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ase.io import write

from tests.train.conftest import alloys
from train.journal import Row, read_journal, write_json
from train.search.config import SearchConfig, load_search
from train.search.curves import Curve, Verdict
from train.search.processes import Running, Session
from train.search.rows import Outcome

RUN = """
output = "run"
compile = false
device = "cpu"
[[dataset]]
name = "emt"
train = "train.extxyz"
valid = "valid.extxyz"
[potential]
head_width = 16
[potential.backbone]
name = "painn"
cutoff = 4.0
width = 8
depth = 1
radial_size = 6
[batch]
max_atoms = 8
[stop]
epochs = 4
"""

RATES = """
[[parameter]]
key = "optimizer.learning_rate"
low = 1e-4
high = 1e-2
log = true
"""


def write_search(folder: Path, text: str = RATES, run: str = RUN) -> Path:
    """A search file beside its run file and data."""
    write(folder / "train.extxyz", alloys(8))
    write(folder / "valid.extxyz", alloys(3, seed=1))
    (folder / "run.toml").write_text(run, encoding="utf-8")
    path = folder / "search.toml"
    path.write_text(f'run = "run.toml"\noutput = "study"\n{text}', encoding="utf-8")
    return path


Searching = Callable[..., SearchConfig]


def search_in(folder: Path) -> Searching:
    """Writes a search file and reads it."""

    def make(text: str = RATES, run: str = RUN) -> SearchConfig:
        return load_search(write_search(folder, text, run))

    return make


def journal_row(epoch: int, error: float, best_epoch: int) -> Row:
    """As a training leaves it, with errors in parts of those of the trivial predictor."""
    valid = {"forces_mae_eV_per_A": error, "trivial_forces_mae_eV_per_A": 1.0, "total_energy_mae_eV": 7.0}
    known = {
        "seconds": 10.0 * epoch,
        "energy_J": 100.0 * epoch,
        "energy_source": "estimate: a test",
        "valid_loss": error,
    }
    return {"epoch": epoch, "step": 4 * epoch, "best_epoch": best_epoch, "valid": {"emt": valid}, **known}


class Script:
    """Plays trials: one validation for each look at them, then an outcome.

    Args:
        errors: of each epoch, by the number of the trial; a number more is that of all.
        outcomes: in place of "finished", by the number of the trial, one for each session.
    """

    def __init__(
        self, errors: Callable[[int], Sequence[float]], outcomes: Mapping[int, list[Outcome | int]] | None = None
    ) -> None:
        self.errors, self.outcomes = errors, dict(outcomes or {})
        self.sessions: list[tuple[int, int | None]] = []

    def start(self, session: Session) -> Running:
        self.sessions.append((int(session.folder.name), session.until_epoch))
        return Played(self, session)

    def check(self) -> None:
        pass


class Played:
    """One session."""

    pids: Sequence[int] = ()

    def __init__(self, script: Script, session: Session) -> None:
        self.script, self.session = script, session
        self.number = int(session.folder.name)
        self.asked = False
        self.code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            self.code = self._one_more()
        return self.code

    def _one_more(self) -> int | None:
        journal = self.session.folder / "journal.jsonl"
        rows = read_journal(journal) if journal.exists() else []
        errors = list(self.script.errors(self.number))
        waiting = self.script.outcomes.get(self.number)
        if waiting:
            outcome = waiting.pop(0)
            return outcome if isinstance(outcome, int) else self._end(outcome)
        if self.asked:
            return self._end(Outcome(kind="interrupted", reason="terminated"))
        if len(rows) == len(errors):
            return self._end(Outcome(kind="finished", reason="epochs", parameters=9, inference_atoms_per_s=1e4))
        if len(rows) == self.session.until_epoch:
            return self._end(Outcome(kind="paused", reason="paused", inference_atoms_per_s=1e4))
        known = [*[row["valid_loss"] for row in rows], errors[len(rows)]]
        row = journal_row(len(rows) + 1, errors[len(rows)], known.index(min(known)) + 1)
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return None

    def _end(self, outcome: Outcome) -> int:
        write_json(self.session.folder / "outcome.json", outcome.model_dump(mode="json"))
        return 0 if outcome.kind in {"finished", "paused", "interrupted"} else 2

    def terminate(self) -> None:
        self.asked = True

    def kill(self) -> None:
        if self.code is None:
            self.code = -9


class Rule:
    """Says what it was told to say.

    Args:
        pauses: epochs at which trials are judged.
        verdicts: by trial and epoch.
        promoted: trials that go on, in this order, once they are paused.
    """

    def __init__(
        self,
        pauses: Sequence[int] = (),
        verdicts: Mapping[tuple[int, int], Verdict] | None = None,
        promoted: Sequence[int] = (),
    ) -> None:
        self.pauses, self.verdicts, self.promoted = pauses, dict(verdicts or {}), list(promoted)
        self.judged: list[tuple[int, int]] = []
        self.seen: dict[int, Any] = {}

    def next_pause(self, trial: int, epoch: int, epochs: int) -> int | None:
        return next((pause for pause in self.pauses if epoch < pause < epochs), None)

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        at = (curve.trial, curve.points[-1].epoch)
        self.judged.append(at)
        self.seen[curve.trial] = (curve, list(others))
        return self.verdicts.get(at, Verdict("go_on"))

    def promote(self, curves: Sequence[Curve]) -> int | None:
        paused = {curve.trial for curve in curves if curve.state == "paused"}
        for trial in self.promoted:
            if trial in paused:
                self.promoted.remove(trial)
                return trial
        return None


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that do not wait."""
    monkeypatch.setattr("train.search.worker.POLL_SECONDS", 0.0)
    monkeypatch.setattr("train.search.worker.IDLE_SECONDS", 0.01)
