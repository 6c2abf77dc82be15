"""Workers of a study, with trials that are played: who does what, and what becomes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.searches import RATES, Rule, Script, Searching, quick, search_in
from train.config import load_config
from train.search.config import SearchConfig
from train.search.curves import Verdict
from train.search.lease import Lease
from train.search.report import write_report
from train.search.rows import Outcome, TrialRow
from train.search.study import Study, best_trials, read_row, trial_folder, write_row
from train.search.worker import Worker

TWO = f"{RATES}[budget]\ntrials = 2\n"
FALLING = [0.9, 0.6, 0.5, 0.4]


@pytest.fixture
def searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searching:
    quick(monkeypatch)
    return search_in(tmp_path)


def falling(number: int) -> list[float]:
    return [error + 0.1 * number for error in FALLING]


def worked(
    search: SearchConfig,
    script: Script,
    rule: Rule | None = None,
    asked: Callable[[], int] = lambda: 0,
) -> list[TrialRow]:
    """Rows after a worker has had its way."""
    study = Study(search)
    Worker(study, rule or Rule(), script, asked).work()
    return study.rows()


def in_optuna(search: SearchConfig) -> list[Any]:
    return Study(search).proposals._study.get_trials()


def test_trials_one_after_the_other(searching: Searching) -> None:
    search = searching(TWO)
    rows = worked(search, Script(falling))
    assert [(row.number, row.state, row.epochs) for row in rows] == [(0, "finished", 4), (1, "finished", 4)]
    assert [row.error for row in rows] == [pytest.approx(0.4), pytest.approx(0.5)]
    assert [(row.energy_J, row.seconds, row.inference_s_per_atom) for row in rows] == [(400.0, 40.0, 1e-4)] * 2
    assert [trial.values for trial in in_optuna(search)] == [[pytest.approx(0.4)], [pytest.approx(0.5)]]
    for row in rows:
        config = load_config(trial_folder(search.output, row.number) / "run.json")
        assert config.optimizer.learning_rate == row.values["optimizer.learning_rate"]
    # once more there is nothing to do
    script = Script(falling)
    assert worked(search, script) == rows
    assert script.sessions == []


def test_the_error_is_that_of_the_best_epoch(searching: Searching) -> None:
    (row,) = worked(searching(f"{RATES}[budget]\ntrials = 1\n"), Script(lambda _: [0.9, 0.3, 0.5, 0.4]))
    assert row.error == pytest.approx(0.3)


def test_a_verdict_between_stops(searching: Searching) -> None:
    search = searching(TWO)
    rule = Rule(verdicts={(0, 2): Verdict("stop", "it is hopeless")})
    first, second = worked(search, Script(falling), rule)
    assert (first.state, first.reason, first.epochs) == ("stopped", "it is hopeless", 2)
    assert second.state == "finished"
    # its last validation is its end, and not judged
    assert rule.judged == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    curve, others = rule.seen[1]
    assert [(point.epoch, point.seconds, point.joules) for point in curve.points] == [
        (1, 10.0, 100.0),
        (2, 20.0, 200.0),
        (3, 30.0, 300.0),
    ]
    assert [(other.trial, other.state, other.epochs) for other in others] == [(0, "stopped", 4)]
    pruned, _ = in_optuna(search)
    assert (pruned.state.name, pruned.intermediate_values) == ("PRUNED", {1: 0.9, 2: 0.6})


def test_rungs_and_promotions(searching: Searching) -> None:
    search = searching(TWO)
    paused = {(number, 2): Verdict("pause", "at the rung of 2 epochs") for number in (0, 1)}
    script = Script(falling)
    rule = Rule(pauses=[2, 3], verdicts=paused, promoted=[1])
    first, second = worked(search, script, rule)
    assert (first.state, first.reason, first.epochs) == ("paused", "at the rung of 2 epochs", 2)
    assert second.state == "finished"
    # the one that goes on passes the rung of 3 epochs by a session of its own
    assert script.sessions == [(0, 2), (1, 2), (1, 3), (1, None)]
    assert [at for at in rule.judged if at[1] == 2] == [(0, 2), (1, 2)]


def test_what_fails_is_a_row(searching: Searching) -> None:
    search = searching(TWO)
    script = Script(falling, {0: [Outcome(kind="failed", reason="no\n  memory", exit_code=2)], 1: [-9]})
    rows = worked(search, script)
    assert [(row.state, row.reason) for row in rows] == [
        ("failed", "no memory"),
        ("failed", "ended by SIGKILL (out of memory, perhaps)"),
    ]
    assert [trial.state.name for trial in in_optuna(search)] == ["FAIL", "FAIL"]


def test_what_says_nothing_has_left_a_line(searching: Searching) -> None:
    search = searching(f"{RATES}[budget]\ntrials = 1\n")
    script = Script(falling, {0: [1]})
    start = script.start

    def with_log(session: Any) -> Any:
        (session.folder / "log.txt").write_text("Traceback\nRuntimeError: CUDA error\n", encoding="utf-8")
        return start(session)

    script.start = with_log  # type: ignore[method-assign]
    (row,) = worked(search, script)
    assert (row.state, row.reason) == ("failed", "RuntimeError: CUDA error")


def test_what_fails_is_tried_again(searching: Searching) -> None:
    search = searching(f"{RATES}[budget]\ntrials = 1\n[workers]\nretries = 1\n")
    lost = Outcome(kind="failed", reason="unlucky", exit_code=2)
    (row,) = worked(search, Script(falling, {0: [lost]}))
    assert (row.state, row.tries) == ("finished", 1)
    search = search.model_copy(update={"output": search.output.with_name("other")})
    (row,) = worked(search, Script(falling, {0: [lost, lost]}))
    assert (row.state, row.tries, row.reason) == ("failed", 2, "unlucky")


def test_a_constraint_that_is_known_before(searching: Searching) -> None:
    widths = '[[parameter]]\nkey = "potential.backbone.width"\nchoices = [8, 16]\n'
    text = f'{widths}[sampler]\nname = "grid"\n[constraints]\nmax_parameters = 2000\n[budget]\ntrials = 9\n'
    search = searching(text)
    script = Script(falling)
    rows = worked(search, script)
    (large,) = [row for row in rows if row.state == "violates"]
    (small,) = [row for row in rows if row.state == "finished"]
    assert (large.values["potential.backbone.width"], small.values["potential.backbone.width"]) == (16, 8)
    assert "parameters are more than constraints.max_parameters = 2,000" in large.reason
    assert large.parameters > 2000
    assert [number for number, _ in script.sessions] == [small.number]  # the other was never started
    constraints = {trial.number: trial.constraints for trial in in_optuna(search)}
    assert constraints == {large.number: {"search": 1.0}, small.number: {"search": 0.0}}


def test_values_that_do_not_go_together(searching: Searching) -> None:
    text = """
[[parameter]]
key = "potential.backbone.name"
choices = ["gat"]
[[parameter]]
key = "potential.backbone.width"
choices = [8]
[[parameter]]
key = "potential.backbone.attention_heads"
choices = [3, 4]
[sampler]
name = "grid"
"""
    with pytest.raises(ValueError, match=r"width|attention_heads"):
        Study(searching(text))


def test_a_budget_of_energy(searching: Searching) -> None:
    search = searching(f"{RATES}[budget]\ntrials = 9\nkilojoules = 0.45\n")
    rows = worked(search, Script(falling))
    assert [(row.state, row.epochs) for row in rows] == [("finished", 4), ("waiting", 1)]
    assert rows[1].reason == "the budget of 0.45 kJ is used up"
    minutes = search.model_copy(
        update={
            "output": search.output.with_name("other"),
            "budget": search.budget.model_copy(update={"kilojoules": None, "minutes": 0.5}),
        }
    )
    rows = worked(minutes, Script(falling))
    assert [(row.state, row.reason) for row in rows] == [("finished", "epochs")]  # the end is not a validation between


def test_an_interrupt_and_the_same_command_again(searching: Searching) -> None:
    search = searching(TWO)
    journal = trial_folder(search.output, 0) / "journal.jsonl"
    rows = worked(search, Script(falling), asked=lambda: int(journal.exists()))
    assert [(row.state, row.epochs) for row in rows] == [("waiting", 1)]
    script = Script(falling)
    assert [row.state for row in worked(search, script)] == ["finished", "finished"]
    assert [number for number, _ in script.sessions] == [0, 1]


def test_a_killed_worker(searching: Searching) -> None:
    """Whatever moment a worker dies at, the next one finds what is to be done."""
    search = searching(TWO)
    study = Study(search)
    with study.locked():
        number, values = study.proposals.ask(study.space, [])  # type: ignore[misc]  # there is one
    # no folder yet: it never was
    rows = worked(search, Script(falling))
    assert [(row.number, row.state) for row in rows] == [(1, "finished"), (2, "finished")]
    assert in_optuna(search)[number].state.name == "FAIL"
    assert not trial_folder(search.output, number).exists()
    # a row that the sampler has not heard of
    more = search.model_copy(update={"budget": search.budget.model_copy(update={"trials": 3})})
    with study.locked():
        number, values = study.proposals.ask(study.space, rows)  # type: ignore[misc]
        folder = study.begin(number, values)
        write_row(folder, read_row(folder).model_copy(update={"state": "failed", "reason": "so"}))
    rows = worked(more, Script(falling))
    assert [row.state for row in rows] == ["finished", "finished", "failed"]
    assert in_optuna(search)[number].state.name == "FAIL"


def test_a_trial_whose_worker_is_gone(searching: Searching) -> None:
    search = searching(f"{RATES}[budget]\ntrials = 1\n")
    study = Study(search)
    with study.locked():
        number, values = study.proposals.ask(study.space, [])  # type: ignore[misc]
        folder = study.begin(number, values)
        write_row(folder, read_row(folder).model_copy(update={"state": "running", "worker": "gone:1"}))
        Lease(folder)
    lease = json.loads((folder / "lease.json").read_text())
    lease["processes"] = {"4194303": "77"}  # a number that no process has
    (folder / "lease.json").write_text(json.dumps(lease))
    (row,) = worked(search, Script(falling))
    assert row.state == "finished"
    assert not (folder / "lease.json").exists()


def test_settings_of_a_study_stay(searching: Searching) -> None:
    search = searching(TWO)
    Study(search)
    Study(searching(f"{RATES}[budget]\ntrials = 7\n"))
    with pytest.raises(
        ValueError, match=r"was begun with search\.parameter\.0\.high = 0\.01 and is to go on with 0\.1"
    ):
        Study(searching(TWO.replace("1e-2", "1e-1")))


def test_the_report(searching: Searching) -> None:
    search = searching(f'{RATES}[objectives]\nminimise = ["error", "energy"]\n[budget]\ntrials = 5\n')
    bad = Outcome(kind="failed", reason="so", exit_code=2)
    script = Script(lambda number: [0.5 + 0.1 * (number % 3)] * (4 if number else 2), {4: [bad]})
    worked(search, script)
    study = Study(search)
    rows = write_report(study)
    # 0 is as good as 3 for less energy
    assert [row.number for row in rows] == [0, 3, 1, 2, 4]
    content = json.loads((search.output / "trials.json").read_text())
    assert content["front"] == [0]
    assert len((search.output / "study.csv").read_text().splitlines()) == 6
    best = load_config(search.output / "best.json")
    assert best.output == search.output / "best"
    assert best.optimizer.learning_rate == rows[0].values["optimizer.learning_rate"]
    assert set(content["importances"]) == {"optimizer.learning_rate"}
    assert best_trials(search.output, 3) == [trial_folder(search.output, number) for number in (0, 3, 1)]
    with pytest.raises(ValueError, match="has 4 finished trials and 5 are wanted"):
        best_trials(search.output, 5)
    with pytest.raises(ValueError, match="holds no study"):
        best_trials(search.output.parent, 1)
