"""Screening on workers: the same rows as in one process, whatever becomes of a worker."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk

from md_workflows import RelaxSettings, ScreenSettings, Spread, Status, open_pool, screen
from md_workflows.screening import workers
from tests.md_workflows.screening_samples import Broken, CountingFactory, Deadly, Telling, asked

SETTINGS = RelaxSettings(optimizer="lbfgs", max_steps=40)
ROOT = Path(__file__).parents[2]


def metals(number: int) -> Iterator[tuple[str, Atoms]]:
    for seed in range(number):
        atoms = bulk(("Cu", "Ni", "Au")[seed % 3], cubic=True)
        atoms.rattle(0.03, seed=seed)
        atoms.info["name"] = str(seed)
        yield f"metal-{seed}", atoms


def test_processes_give_the_rows_of_one(tmp_path: Path) -> None:
    settings = ScreenSettings(SETTINGS, (asked(),))
    alone = screen(metals(9), tmp_path / "alone", settings, engine=CountingFactory(tmp_path / "alone.log")())
    factory = CountingFactory(tmp_path / "spread.log")
    with open_pool("process", {"workers": 2}) as pool:
        spread = screen(metals(9), tmp_path / "spread", settings, engine=Spread(factory, pool, chunk=2))
    for one, other in zip(alone.rows, spread.rows, strict=True):
        assert (one.identifier, one.status, one.energy, one.steps) == (
            other.identifier,
            other.status,
            other.energy,
            other.steps,
        )
        assert one.values == other.values
    assert (tmp_path / "alone.extxyz").read_bytes() == (tmp_path / "spread.extxyz").read_bytes()
    logged = [line.split() for line in factory.log.read_text().splitlines()]
    assert len({pid for pid, *_ in logged}) == 2
    assert Counter(name for _, _, name in logged) == Counter(2 * [str(seed) for seed in range(9)])  # relaxed, measured
    assert str(os.getpid()) not in {pid for pid, *_ in logged}


def test_the_structure_that_kills_its_worker_is_one_row(tmp_path: Path) -> None:
    items = list(metals(12))
    items[5][1].info["charge"] = 13
    factory = CountingFactory(tmp_path / "log", kills=True)
    with open_pool("process", {"workers": 2}) as pool:
        result = screen(items, tmp_path / "s", SETTINGS, engine=Spread(factory, pool, chunk=4))
        assert result.counts == {Status.CONVERGED: 11, Status.FAILED: 1}
        assert result.rows[5].error.startswith("its worker failed: BrokenProcessPool")
        again = screen(items, tmp_path / "s", SETTINGS, engine=Spread(factory, pool, chunk=4))
        assert again.resumed == 12
        retried = screen(
            items, tmp_path / "s", ScreenSettings(SETTINGS, retry_failed=True), engine=Spread(factory, pool, chunk=4)
        )
    assert (retried.resumed, retried.counts[Status.FAILED]) == (11, 1)


def test_a_property_that_kills_its_worker_is_tried_again_only_when_asked(tmp_path: Path) -> None:
    """Nothing of the structure counts as measured then, so that a retry measures all of it."""
    items = list(metals(2))
    items[1][1].info["charge"] = 13
    logs = [tmp_path / name for name in ("calm", "kills", "idle", "retry")]
    settings = [ScreenSettings(None, (asked(),)), ScreenSettings(None, (asked(2.0),))]
    with open_pool("process", {"workers": 1}) as pool:
        screen(items, tmp_path / "s", settings[0], engine=Spread(CountingFactory(logs[0]), pool))
        died = screen(items, tmp_path / "s", settings[1], engine=Spread(CountingFactory(logs[1], kills=True), pool))
        assert [row.status for row in died.rows] == [Status.MEASURED, Status.FAILED]
        assert screen(items, tmp_path / "s", settings[1], engine=Spread(CountingFactory(logs[2]), pool)).resumed == 2
        retry = ScreenSettings(None, (asked(2.0),), retry_failed=True)
        mended = screen(items, tmp_path / "s", retry, engine=Spread(CountingFactory(logs[3]), pool))
    assert not logs[2].exists()
    assert [row.status for row in mended.rows] == [Status.MEASURED] * 2
    assert mended.rows[1].error == ""


def test_an_engine_that_cannot_be_built_ends_the_run(tmp_path: Path) -> None:
    with (
        open_pool("process", {"workers": 1}) as pool,
        pytest.raises(ValueError, match=r"^model.safetensors: there is no such file$"),
    ):
        screen(metals(3), tmp_path / "s", SETTINGS, engine=Spread(Broken(), pool))
    result = screen(metals(3), tmp_path / "s", SETTINGS, engine=CountingFactory(tmp_path / "log", identity="broken")())
    assert result.resumed == 0  # nothing was held against the structures


def test_workers_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    with open_pool("process", {"workers": 2}) as pool:
        found = [pool.submit(workers.built, Telling()) for _ in range(2)]
        told = [str(future.exception()) for future in found]
    assert told == [f"GPU 4, threads {threads}", f"GPU 6, threads {threads}"]


def test_workers_that_always_die_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "DEATHS_IN_A_ROW", 2)
    with (
        open_pool("process", {"workers": 1}) as pool,
        pytest.raises(RuntimeError, match="2 structures in a row ended their workers, each alone"),
    ):
        screen(metals(3), tmp_path / "s", SETTINGS, engine=Spread(Deadly(), pool))


def test_no_more_chunks_than_slots(tmp_path: Path) -> None:
    """Of a long stream, memory holds what is under way."""

    class Slow:
        slots = 2

        def __init__(self) -> None:
            self.flying = self.most = 0

        def submit(self, function, /, *arguments):  # type: ignore[no-untyped-def] # as of executors
            from concurrent.futures import Future

            self.flying += 1
            self.most = max(self.most, self.flying)
            future: Future[object] = Future()
            future.set_result(function(*arguments))
            self.flying -= 1
            return future

    taken = 0

    def watched() -> Iterator[workers.Task]:
        nonlocal taken
        for number, (name, atoms) in enumerate(metals(40)):
            taken += 1
            yield workers.Task(number, name, atoms)

    spread = Spread(CountingFactory(tmp_path / "log"), Slow(), chunk=3)
    plan = workers.Plan(RelaxSettings(max_steps=0))
    done = 0
    for found in spread.compute(watched(), plan):
        done += len(found)
        assert taken - done <= 2 * 3
    assert done == taken == 40


CHILD = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
sys.path.insert(0, {root!r})
from md_workflows import RelaxSettings, Spread, open_pool, screen
from tests.md_workflows.screening_samples import CountingFactory
from tests.md_workflows.test_screening_executors import metals

if __name__ == "__main__":
    with open_pool("process", {{"workers": 2}}) as pool:
        screen(metals(500), "s", RelaxSettings(), engine=Spread(CountingFactory(Path("log")), pool, chunk=4))
"""


def living(pids: set[int]) -> set[int]:
    return {
        pid
        for pid in pids
        if Path(f"/proc/{pid}").exists() and b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2][:3]
    }


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(sign: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD.format(root=str(ROOT)))
    child = subprocess.Popen([sys.executable, script], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        log = tmp_path / "log"
        deadline = time.monotonic() + 60
        while not log.exists() or len({line.split()[0] for line in log.read_text().splitlines()}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pids = {int(line.split()[0]) for line in log.read_text().splitlines() if line.split()}
        os.kill(child.pid, sign)
        told = child.communicate(timeout=30)[1]
    finally:
        child.kill()
    assert child.returncode == -sign if sign is signal.SIGKILL else "KeyboardInterrupt" in told
    deadline = time.monotonic() + 10
    while living(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not living(pids)


def test_executors_that_there_are_not() -> None:
    for name, values, told in [
        ("threads", {}, "executor 'threads' is not known; there are process, mpi, dask, parsl"),
        ("process", {"worker": 2}, "did you mean 'workers'"),
        ("process", {"workers": 0}, "workers = 0 is refused"),
        ("parsl", {"provider": "pbs"}, "provider = 'pbs' is refused"),
        ("parsl", {"walltime": "an hour"}, "walltime = 'an hour' is refused"),
        ("dask", {"workers": 2, "scheduler": "tcp://a:1"}, "give either workers .* or scheduler"),
    ]:
        with pytest.raises(ValueError, match=told), open_pool(name, values):
            pass


@pytest.mark.parametrize(("name", "module"), [("mpi", "mpi4py"), ("dask", "distributed"), ("parsl", "parsl")])
def test_an_executor_that_is_not_installed(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("md_workflows.screening.executors.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=rf"needs {module}: pip install 'gfm-ase\[{name}\]'"), open_pool(name, {}):
        pass


def test_nothing_is_left_running() -> None:
    assert multiprocessing.active_children() == []
