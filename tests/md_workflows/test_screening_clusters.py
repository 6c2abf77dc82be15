"""Screening on MPI, Dask and Parsl, and through kills: in processes of their own, as users start them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.screening_kills import screen_with_kills

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

SCRIPT = """
import sys
from pathlib import Path
from md_workflows import RelaxSettings, ScreenSettings, Spread, open_pool, screen
from tests.md_workflows.screening_samples import CountingFactory, asked
from tests.md_workflows.test_screening_executors import metals

if __name__ == "__main__":
    name, workers, kills = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "kills"
    items = list(metals(7))
    if kills:
        items[4][1].info["charge"] = 13
    with open_pool(name, {"workers": workers}) as pool:
        if pool is not None:
            engine = Spread(CountingFactory(Path("log"), kills), pool, chunk=2)
            settings = ScreenSettings(RelaxSettings(optimizer="lbfgs"), (asked(),))
            result = screen(items, "s", settings, engine=engine)
            print({str(status): number for status, number in result.counts.items()}, result.rows[4].error)
"""


def run(folder: Path, *words: str) -> str:
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_mpi(tmp_path: Path) -> None:
    told = run(tmp_path, str(BIN / "mpiexec"), "-n", "3", sys.executable, "script.py", "mpi", "2", "no")
    assert told.strip() == "{'converged': 7}"
    assert len({line.split()[0] for line in (tmp_path / "log").read_text().splitlines()}) == 2


def test_mpi_needs_other_processes(tmp_path: Path) -> None:
    for words, told in [
        (("1",), "this is the only one; write mpiexec -n 5"),
        (("2", str(BIN / "mpiexec"), "-n", "2"), "2 workers are asked for and 1 processes are there beside the first"),
    ]:
        workers, *launcher = words
        with pytest.raises(AssertionError, match=told):
            run(tmp_path, *launcher, sys.executable, "script.py", "mpi", workers, "no")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), [("dask", "KilledWorker"), ("parsl", "WorkerLost")])
def test_a_worker_that_dies(name: str, reason: str, tmp_path: Path) -> None:
    told = run(tmp_path, sys.executable, "script.py", name, "2", "kills")
    assert "'converged': 6" in told
    assert f"its worker failed: {reason}" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "s.csv", "s.db", "s.extxyz", "script.py"]


def test_a_slurm_job_of_parsl_is_what_was_asked() -> None:
    """No Slurm is here: the provider that Parsl would submit with is looked at."""
    from md_workflows.screening.executors import ParslSettings
    from md_workflows.screening.parsl_pool import provider

    settings = ParslSettings(provider="slurm", nodes=2, walltime="02:30:00", partition="gpu", account="me", jobs=3)
    asked = provider(settings)
    assert (asked.nodes_per_block, asked.walltime, asked.partition, asked.account) == (2, "02:30:00", "gpu", "me")
    assert (asked.init_blocks, asked.max_blocks) == (1, 3)
    assert str(BIN) in asked.worker_init


def check(structures: int, kills: int, folder: Path) -> None:
    report = screen_with_kills(folder / "killed", structures, kills)
    assert (report.rows, report.waiting, report.twice) == (structures, 0, 0)
    assert report.again_in_table == 0
    assert structures <= report.evaluations


def test_killed_once(tmp_path: Path) -> None:
    check(40, 1, tmp_path)


@pytest.mark.slow
def test_killed_three_times(tmp_path: Path) -> None:
    check(300, 3, tmp_path)
