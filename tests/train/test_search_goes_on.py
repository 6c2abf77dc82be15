"""What of a search goes on, after whatever stopped it, and what it refuses before it begins."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.searches import RATES, RUN, Rule, Script, Searching, journal_row, quick, search_in
from train.search.config import ConstraintsConfig, SearchConfig
from train.search.curves import Verdict
from train.search.lock import alone, lock_of
from train.search.member import ViolatedError, Watching, show_life
from train.search.processes import Here, Share, child_environment
from train.search.rows import TrialRow
from train.search.scores import points_of, rows_of
from train.search.stopping import rule_of
from train.search.study import Study, read_row, write_row
from train.search.worker import Worker

FALLING = [0.9, 0.6, 0.5, 0.4]
ONE = f"{RATES}[budget]\ntrials = 1\n"


@pytest.fixture
def searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searching:
    quick(monkeypatch)
    return search_in(tmp_path)


def worked(search: SearchConfig, script: Script, rule: Any = None) -> list[TrialRow]:
    study = Study(search)
    Worker(study, rule or rule_of(search.stopping), script, lambda: 0).work()
    return study.rows()


def with_budget(search: SearchConfig, **more: Any) -> SearchConfig:
    return search.model_copy(update={"budget": search.budget.model_copy(update=more)})


@pytest.mark.parametrize("halving", ["", "[stopping.halving]\nfirst_rung = 2\nreduction = 2\n"])
def test_trials_go_on_when_there_is_more_to_spend(halving: str, searching: Searching) -> None:
    search = searching(f"{RATES}{halving}[budget]\ntrials = 2\nkilojoules = 0.45\n")
    rows = worked(search, Script(lambda _: FALLING))
    assert [(row.state, row.epochs) for row in rows] == [("finished", 4), ("waiting", 1)]
    assert worked(search, Script(lambda _: FALLING)) == rows  # nothing to spend
    script = Script(lambda _: [0.8, 0.5, 0.4, 0.3])
    rows = worked(with_budget(search, kilojoules=2.0), script)
    assert [(row.state, row.epochs) for row in rows] == [("finished", 4), ("finished", 4)]
    assert script.sessions == ([(1, 2), (1, None)] if halving else [(1, None)])  # rungs are not passed by


def test_a_trial_that_the_rule_stops_does_not_wait_for_a_budget(searching: Searching) -> None:
    search = searching(f"{RATES}[budget]\ntrials = 2\nkilojoules = 0.15\n")
    rule = Rule(verdicts={(0, 2): Verdict("stop", "it is hopeless")}, pauses=[2])
    (row,) = worked(search, Script(lambda _: FALLING), rule)
    # two epochs are 200 J
    assert (row.state, row.reason) == ("stopped", "it is hopeless")


def test_a_rung_whose_worker_died_before_its_verdict(searching: Searching) -> None:
    search = searching(ONE)
    study = Study(search)
    with study.locked():
        number, values = study.proposals.ask(study.space, [])  # type: ignore[misc]  # there is one
        folder = study.begin(number, values)
        write_row(folder, read_row(folder).model_copy(update={"state": "running", "worker": "gone:1"}))
    lines = [json.dumps(journal_row(epoch, FALLING[epoch - 1], epoch)) + "\n" for epoch in (1, 2)]
    (folder / "journal.jsonl").write_text("".join(lines), encoding="utf-8")
    rule = Rule(pauses=[2], verdicts={(0, 2): Verdict("pause", "at the rung")})
    script = Script(lambda _: FALLING)
    (row,) = worked(search, script, rule)
    assert (row.state, row.reason) == ("paused", "at the rung")
    assert script.sessions == [(0, 2)]


@pytest.mark.parametrize(
    ("text", "run", "told"),
    [
        (
            "[stopping.halving]\nfirst_rung = 3\n",
            "[log]\nvalidate_every = 2\n",
            "first_rung is 3 and log.validate_every of the run file is 2: trials would halt where they have no error",
        ),
        ("[stopping.halving]\nbrackets = 9\n", "", "brackets = 9: 4 epochs with the first rung at 1 have 3"),
        ('[objectives]\nminimise = ["error", "energy"]\n', "none", '"energy" in objectives.minimise needs joules'),
        ("[budget]\nkilojoules = 1\n", "none", "budget.kilojoules needs joules, and the run file has energy.source"),
        ("[stopping.limits]\nmax_joules = 1\n", "none", "stopping.limits.max_joules needs joules"),
    ],
)
def test_what_trials_do_not_tell_is_refused(text: str, run: str, told: str, searching: Searching) -> None:
    run = '[energy]\nsource = "none"\n' if run == "none" else run
    search = searching(RATES + text, run=RUN + run)
    with pytest.raises(ValueError, match=told):
        Study(search)
    assert not search.output.exists()  # the study has not begun with them


def test_a_search_whose_trials_are_not_metered(searching: Searching) -> None:
    row = {**journal_row(1, 0.5, 1), "energy_J": None}
    (point,) = points_of([row], "relative")
    assert point.joules == 0
    study = Study(searching(ONE, run=f'{RUN}[energy]\nsource = "none"\n'))
    assert Worker(study, rule_of(study.search.stopping), Here(), lambda: 0).work()
    (found,) = study.rows()
    assert (found.state, found.energy_J) == ("finished", None), found


@pytest.mark.slow
def test_a_lock_that_is_held_for_long_is_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.search.lock.TOUCH_SECONDS", 0.05)
    monkeypatch.setattr("train.search.lock.BROKEN_SECONDS", 3)
    inside: list[str] = []

    def other() -> None:
        with alone(tmp_path / "claims"):
            inside.append("other")

    with alone(tmp_path / "claims"):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(5)
        inside.append("first")
    thread.join(timeout=20)
    assert inside == ["first", "other"]
    # one that nobody touches is broken, and who had it leaves that of the next one alone
    lost = lock_of(tmp_path / "claims")
    lost.acquire()
    with alone(tmp_path / "claims"):
        pass
    with pytest.MonkeyPatch.context() as halted:
        halted.setattr("train.search.lock.TOUCH_SECONDS", 99.0)
        with alone(tmp_path / "claims"):
            (tmp_path / "claims.lock").rename(tmp_path / "broken")
            (tmp_path / "claims.lock").write_text("")
        assert (tmp_path / "claims.lock").exists()


def test_constraints_of_a_training() -> None:
    class Group:
        first = True

    class Run:
        group = Group()
        device = torch.device("cpu")

    slow = Watching(ConstraintsConfig(min_training_atoms_per_s=100.0))
    slow.run = Run()  # type: ignore[assignment]
    slow.validated(row_of(1, 50.0))  # the first epoch is not judged
    with pytest.raises(ViolatedError, match=r"60 atoms/s in training are fewer than .*min_training_atoms_per_s = 100"):
        slow.validated(row_of(2, 60.0))
    fast = Watching(ConstraintsConfig(min_training_atoms_per_s=100.0))
    fast.run = Run()  # type: ignore[assignment]
    fast.go_on([row_of(0, 0.0), row_of(1, 120.0)])  # a session before was fast enough
    fast.validated(row_of(2, 60.0))
    assert fast.fastest == 120.0
    large = Watching(ConstraintsConfig(max_memory_MB=10.0))
    large.run = Run()  # type: ignore[assignment]
    with pytest.raises(ViolatedError, match=r"MB of memory are more than constraints.max_memory_MB = 10"):
        large.validated(row_of(1, 50.0))


def row_of(epoch: int, speed: float) -> dict[str, Any]:
    return {**journal_row(epoch, 0.5, epoch), "atoms_per_second": speed, "train_loss": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("constraint", "told", "epochs"),
    [
        ("max_memory_MB = 10", "MB of memory are more than constraints.max_memory_MB = 10", 0),
        ("min_training_atoms_per_s = 1e9", "atoms/s in training are fewer than", 2),
    ],
)
def test_trials_that_break_a_constraint(constraint: str, told: str, epochs: int, searching: Searching) -> None:
    study = Study(searching(f"{ONE}[constraints]\n{constraint}\n"))
    assert Worker(study, rule_of(study.search.stopping), Here(), lambda: 0).work()
    (row,) = study.rows()
    assert (row.state, row.epochs) == ("violates", epochs), row
    assert told in row.reason


def test_a_disk_that_does_not_answer_ends_no_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def stale(folder: Path) -> str:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise OSError(116, "stale file handle")
        return "mine"

    monkeypatch.setattr("train.search.member.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("train.search.member.token_of", stale)
    show_life(tmp_path, "mine")
    end = time.monotonic() + 5
    while not (tmp_path / "alive").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert (tmp_path / "alive").exists()


def test_a_journal_that_is_not_there(tmp_path: Path) -> None:
    assert rows_of(tmp_path) == []


def test_trials_do_not_ask_slurm_what_their_step_used() -> None:
    given = {"SLURM_JOB_ID": "7", "SLURM_JOBID": "7", "SLURM_STEP_ID": "0", "SLURM_JOB_END_TIME": "9"}
    own = child_environment(None, Share(), {**given, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
    assert {name for name in own if name.startswith("SLURM")} == {"SLURM_JOB_END_TIME"}
