"""Searches by real processes: several at once, killed at any moment, on slices of a launch, with a server."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.md_workflows.test_screening_server import server as server  # noqa: PLC0414 - a fixture
from tests.train.searches import RATES, RUN, search_in, write_search
from tests.train.test_ranks import LAUNCHED, MPIEXEC
from train.config import load_config
from train.journal import read_journal
from train.loop import train
from train.search.config import SearchConfig, load_search
from train.search.processes import Here
from train.search.rows import TrialRow
from train.search.stopping import rule_of
from train.search.study import Study, study_rows, trial_folder
from train.search.worker import Worker

LONG = RUN.replace("epochs = 4", "epochs = 60") + "[log]\ncheckpoint_minutes = 1e-9\n"
BUDGET = "[budget]\ntrials = {}\n[workers]\ndead_after_seconds = 5\n"


def worker(file: Path, ranks: int = 1) -> subprocess.Popen[bytes]:
    """One, in a process of its own that knows of no launch."""
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    environment["OMP_NUM_THREADS"] = "1"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "train.search.working", str(file), "0", "1", str(ranks)],
        stdin=subprocess.PIPE,
        env=environment,
        stderr=subprocess.PIPE,
    )


def wait_for(path: Path, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert path.exists(), path


def ended(process: subprocess.Popen[bytes]) -> int:
    # the other end of its standard input must stay open: that is what it lives by
    assert process.stderr is not None
    assert process.stdin is not None
    with process.stderr, process.stdin:
        said = process.stderr.read().decode()
        code = process.wait(timeout=300)
    assert code in {0, 75, -9}, said
    return code


def rows_of(search: SearchConfig) -> list[TrialRow]:
    return study_rows(search.output, "relative")


def assert_as_alone(folder: Path, row: TrialRow) -> None:
    """What a trial has left is what its run file gives without any search."""
    config = load_config(folder / "run.json").model_copy(update={"output": folder.parent.parent / "alone"})
    train(config, overwrite=True)
    weights, own = load_file(config.output / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, own[name]) for name, tensor in weights.items())
    assert row.epochs == config.stop.epochs


def test_trials_are_trainings(tmp_path: Path) -> None:
    """One real trial to its end, paused at a rung on its way; and one that breaks a constraint."""
    halving = "[stopping.halving]\nfirst_rung = 2\nreduction = 2\n"
    search = search_in(tmp_path)(
        f"{RATES}{halving}[budget]\ntrials = 1\n[objectives]\nminimise = ['error', 'inference']\n"
    )
    study = Study(search)
    assert Worker(study, rule_of(search.stopping), Here(), lambda: 0).work()
    (row,) = study.rows()
    folder = trial_folder(search.output, 0)
    assert row.state == "finished", row
    assert row.error is not None
    assert row.inference_s_per_atom is not None
    assert row.inference_s_per_atom > 0
    assert row.parameters > 0
    assert row.peak_memory_MB > 10
    assert_as_alone(folder, row)


@pytest.mark.slow
def test_two_workers_and_a_sigkill_of_one(tmp_path: Path) -> None:
    file = write_search(tmp_path, RATES + BUDGET.format(3), LONG)
    search = load_search(file)
    workers = [worker(file), worker(file)]
    for number in (0, 1):
        wait_for(trial_folder(search.output, number) / "journal.jsonl")
    names = {row.worker.rpartition(":")[2] for row in rows_of(search)}
    assert names == {str(process.pid) for process in workers}  # each its own
    workers[0].kill()
    assert ended(workers[0]) == -9
    assert ended(workers[1]) == 0
    rows = rows_of(search)
    assert [row.state for row in rows] == ["finished"] * 3, rows
    assert {row.worker.rpartition(":")[2] for row in rows} == {str(workers[1].pid)}
    for row in rows:
        journal = read_journal(trial_folder(search.output, row.number) / "journal.jsonl")
        assert [line["epoch"] for line in journal] == list(range(1, 61))  # nothing twice, nothing left out
        assert_as_alone(trial_folder(search.output, row.number), row)


@pytest.mark.slow
def test_a_trial_that_is_killed_and_a_study_that_goes_on(tmp_path: Path) -> None:
    file = write_search(tmp_path, RATES + BUDGET.format(2), LONG)
    search = load_search(file)
    first = worker(file)
    folder = trial_folder(search.output, 0)
    wait_for(folder / "journal.jsonl")
    lease = json.loads((folder / "lease.json").read_text())
    (child,) = [int(pid) for pid in lease["processes"] if int(pid) != first.pid]
    os.kill(child, signal.SIGKILL)
    wait_for(trial_folder(search.output, 1) / "journal.jsonl")
    (row, _) = rows_of(search)
    assert (row.state, row.reason) == ("failed", "ended by SIGKILL (out of memory, perhaps)")
    first.send_signal(signal.SIGTERM)
    assert ended(first) == 75
    assert [row.state for row in rows_of(search)] == ["failed", "waiting"]
    assert ended(worker(file)) == 0
    rows = rows_of(search)
    assert [row.state for row in rows] == ["failed", "finished"]
    assert_as_alone(trial_folder(search.output, 1), rows[1])


@pytest.mark.slow
def test_slices_of_a_launch(tmp_path: Path) -> None:
    """Four processes of mpiexec are two workers with trials of two ranks."""
    file = write_search(tmp_path, RATES + BUDGET.format(3))
    code = "from gfm_ase.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    done = subprocess.run(
        [*MPIEXEC, "4", sys.executable, "-c", code, "search", str(file), "--ranks-per-trial", "2", "--no-picture"],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    search = load_search(file)
    rows = rows_of(search)
    assert [row.state for row in rows] == ["finished"] * 3, rows
    for row in rows:
        folder = trial_folder(search.output, row.number)
        (line, *_) = read_journal(folder / "journal.jsonl")
        assert line["step"] == 2  # of four batches, two a step
        alone = load_config(folder / "run.json")
        alone = alone.model_copy(
            update={"output": tmp_path / "alone", "batch": alone.batch.model_copy(update={"per_step": 2})}
        )
        train(alone, overwrite=True)
        one, two = (load_file(path / "model.safetensors") for path in (alone.output, folder))
        assert all(torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-5) for name in one)


@pytest.mark.slow
def test_two_ranks_started_by_nothing_and_a_constraint(tmp_path: Path) -> None:
    text = RATES + BUDGET.format(1) + "[constraints]\nmin_inference_atoms_per_s = 1e12\n"
    file = write_search(tmp_path, text)
    assert ended(worker(file, ranks=2)) == 0
    (row,) = rows_of(load_search(file))
    assert row.state == "violates"
    assert "atoms/s of energy and forces are fewer than constraints.min_inference_atoms_per_s" in row.reason
    assert row.epochs == 0


@pytest.mark.slow
def test_a_study_on_a_server(server: str, tmp_path: Path) -> None:
    file = write_search(tmp_path, f'storage = "{server}"\n{RATES}{BUDGET.format(2)}')
    workers = [worker(file), worker(file)]
    assert [ended(one) for one in workers] == [0, 0]
    search = load_search(file)
    assert [row.state for row in rows_of(search)] == ["finished", "finished"]
    assert not (search.output / "optuna.journal").exists()
    trials = Study(search).proposals._study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
