"""`gfm-ase search`: what it says, what it leaves, and how it ends."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gfm_ase.cli import app
from gfm_ase.commands.search import _line, _running
from tests.train.searches import RATES, RUN, write_search
from train.search.rows import TrialRow

pytest.importorskip("optuna", reason="a search needs the extra hpo")

TWO = f"{RATES}[budget]\ntrials = 2\n"
SHORT = RUN.replace("epochs = 4", "epochs = 1")


def invoke(*words: str, **environment: str) -> Any:
    return CliRunner().invoke(app, ["search", *words], env={"COLUMNS": "200", "OMP_NUM_THREADS": "1", **environment})


def told(result: Any) -> str:
    return re.sub(r"[\s│╭╮╰╯─]+", " ", result.output)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_search(tmp_path, TWO, SHORT)


def test_a_search_its_report_and_the_same_command_again(file: Path) -> None:
    result = invoke(str(file), "--no-picture")
    assert result.exit_code == 0, result.output
    study = file.parent / "study"
    for words in (
        "trial 0: finished, error",
        ", 1 epochs, ",
        "1 of 1",
        f"In {study}: study.csv, trials.json, best.json",
    ):
        assert words in told(result), words
    first = (study / "trials.json").read_text()
    trials = json.loads(first)
    assert [row["state"] for row in trials["trials"]] == ["finished", "finished"]
    assert f"* trial {trials['front'][0]}: learning_rate" in told(result)
    assert not (study / "front.png").exists()
    for name in ("study.csv", "best.json"):
        (study / name).unlink()
    again = invoke(str(file), "--report")
    assert again.exit_code == 0, again.output
    assert "front.png" in told(again)
    assert (study / "study.csv").exists()
    assert (study / "front.png").stat().st_size > 10_000
    assert (study / "trials.json").read_text() == first
    assert invoke(str(file), "--no-picture").exit_code == 0  # nothing is left to do
    assert (study / "trials.json").read_text() == first


@pytest.mark.slow
def test_two_workers(file: Path) -> None:
    result = invoke(str(file), "--workers", "2", "--no-picture")
    assert result.exit_code == 0, result.output
    study = file.parent / "study"
    rows = json.loads((study / "trials.json").read_text())["trials"]
    assert [row["state"] for row in rows] == ["finished", "finished"]
    assert len({row["worker"] for row in rows}) == 2
    assert (study / "worker-1.txt").exists()


def test_where_every_trial_fails_the_exit_code_is_1(tmp_path: Path) -> None:
    file = write_search(tmp_path, f"{RATES}[budget]\ntrials = 1\n", SHORT)
    (tmp_path / "train.extxyz").write_text("nothing that can be read\n")
    result = invoke(str(file), "--no-picture")
    assert result.exit_code == 1, result.output
    assert "trial 0 failed: " in told(result)
    assert "train.extxyz" in told(result)
    assert not (tmp_path / "study/best.json").exists()


def mistake(result: Any) -> str:
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--workers", "0"], "--workers is 0; it must be 1 or more"),
        (["--ranks-per-trial", "0"], "--ranks-per-trial is 0; a trial has one process or more"),
        (["--report"], "holds no study yet; leave out --report to begin it"),
        (["--workers", "2", "--ranks-per-trial", "0"], "--ranks-per-trial is 0; a trial has one process or more"),
    ],
)
def test_mistakes(words: list[str], says: str, file: Path) -> None:
    result = invoke(str(file), *words, "--no-picture")
    assert says in mistake(result)


def test_workers_within_a_launch(file: Path) -> None:
    result = invoke(str(file), "--workers", "2", "--no-picture", RANK="0", WORLD_SIZE="2", LOCAL_RANK="0")
    assert "has started 2 processes, each of which is a worker; leave out --workers" in mistake(result)
    result = invoke(str(file), "--ranks-per-trial", "3", "--no-picture", RANK="0", WORLD_SIZE="2", LOCAL_RANK="0")
    assert "started 2 processes, which are no whole number of slices of --ranks-per-trial 3" in mistake(result)


def test_a_picture_that_cannot_be_drawn_is_told_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise ValueError(f"{path.name} needs the extra report")

    monkeypatch.setattr("gfm_ase.plots.check_picture", refused)
    result = invoke(str(file))
    assert "front.png needs the extra report; or give --no-picture" in mistake(result)
    assert not (file.parent / "study").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "workers"), [(signal.SIGINT, 130, "1"), (signal.SIGTERM, 75, "1"), (signal.SIGTERM, 75, "2")]
)
def test_a_signal_and_the_same_command_again(sent: int, code: int, workers: str, tmp_path: Path) -> None:
    file = write_search(tmp_path, TWO, RUN.replace("epochs = 4", "epochs = 60"))
    command = [sys.executable, "-c", "from gfm_ase.cli import main; main()", "search", str(file), "--no-picture"]
    command += ["--workers", workers]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + 120
    while not (tmp_path / "study/trials/0000/journal.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(sent)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "Stopped; the same command goes on." in said
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "study/trials.json").read_text())["trials"]
    assert [(row["state"], row["epochs"]) for row in rows] == [("finished", 60), ("finished", 60)]


def test_the_table_of_running_trials() -> None:
    values = {"optimizer.learning_rate": 1.23456e-3, "potential.backbone.name": "painn"}
    rows = [
        TrialRow(number=0, state="running", error=0.51234, epochs=2, of_epochs=9, worker="here:1", values=values),
        TrialRow(number=1, state="paused", error=0.7),
        TrialRow(number=2, state="stopped", error=0.9, epochs=3, seconds=12.3, reason="it is hopeless"),
        TrialRow(number=3, state="failed", reason="no memory"),
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(_running(rows, 5))
    shown = console.export_text()
    assert "2 of 5 trials are over, 1 paused" in shown
    for words in ("2 of 9", "0.5123", "here:1", "learning_rate 0.00123, name painn"):
        assert words in shown, words
    assert "0.7" not in shown
    assert _line(rows[2]) == "trial 2: stopped, error 0.9, 3 epochs, 12 s: it is hopeless"
    assert _line(rows[3]) == "trial 3: failed, 0 epochs, 0 s: no memory"


REAL = os.environ.get("GFM_ASE_DATA", "")
EXAMPLE = Path(__file__).parents[2] / "examples/runs"


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="GFM_ASE_DATA names no folder of data sets")
def test_the_example_runs_in_a_smaller_form(tmp_path: Path) -> None:
    """Two trials of two epochs of the search file and the run file that are there."""
    run = (EXAMPLE / "acac.toml").read_text()
    run = re.sub(r"(?m)^epochs = \d+", "epochs = 2", run)
    run = "compile = false\n" + run.replace("validate_every = 5", "validate_every = 1")
    search = (EXAMPLE / "search.toml").read_text().replace("../../runs/acac_search", "study")
    search = search.replace("first_rung = 5", "first_rung = 1").replace("trials = 40", "trials = 2")
    search = search.replace("high = 64", "high = 16").replace("high = 3\n", "high = 1\n")
    search = search.replace("choices = [1, 2, 3]", "choices = [1]")
    (tmp_path / "acac.toml").write_text(run)
    (tmp_path / "search.toml").write_text(search)
    result = invoke(str(tmp_path / "search.toml"))
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "study/trials.json").read_text())["trials"]
    assert len(rows) == 2
    assert "finished" in {row["state"] for row in rows}, rows
    assert {row["state"] for row in rows} <= {"finished", "paused"}, rows
    assert all(row["energy_J"] > 0 and row["inference_s_per_atom"] > 0 for row in rows)


@pytest.mark.skipif(not REAL, reason="GFM_ASE_DATA names no folder of data sets")
def test_the_example_holds_together(tmp_path: Path) -> None:
    from train.search.config import load_search
    from train.search.study import Study

    search = load_search(EXAMPLE / "search.toml").model_copy(update={"output": tmp_path / "study"})
    assert Study(search).rows() == []
