"""Processes that die, stop or are cut off: the others say so and end, and nothing is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from potentials.potential import Potential
from train import run as runs
from train.config import RunConfig, dump_config
from train.journal import read_journal, write_json
from train.loop import train
from train.state import load_state

MakeConfig = Callable[..., RunConfig]
SCRIPT = Path(__file__).with_name("faulty.py")
LOST, KILLED, STOPPED = 76, -signal.SIGKILL, "SIGSTOP"
PATIENCE = 5.0
"""Seconds, where a process stops without a word."""

BOUND = 60.0
"""Seconds in which a process of a test has to see that another one is gone: a few, on a machine that has time."""


@pytest.fixture
def shared(make_config: MakeConfig) -> Callable[[str], RunConfig]:
    """Two batches a step, a state after each, two epochs of four steps."""

    def make(name: str) -> RunConfig:
        return make_config(
            name,
            batch={"max_atoms": 4, "per_step": 2},
            stop={"epochs": 3, "unanswered_minutes": PATIENCE / 60},
            log={"checkpoint_minutes": 1e-9},
        )

    return make


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Those that a test starts; none is left behind."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(
    processes: list[subprocess.Popen[str]],
    config: RunConfig,
    fault: Sequence[object],
    hosts: Sequence[list[str]] = ([], []),
    address: str = "127.0.0.1",
) -> None:
    """Two processes; `fault` is moment, rank and deed of `faulty.py`."""
    file = config.output.with_suffix(".json")
    write_json(file, dump_config(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launched = ("LOCAL_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
    common = {name: value for name, value in os.environ.items() if name not in launched}
    common |= {"WORLD_SIZE": "2", "MASTER_ADDR": address, "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    if hosts[0]:
        common |= {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    for rank in range(2):
        command = [*hosts[rank], sys.executable, str(SCRIPT), str(file), *map(str, fault)]
        place = {"RANK": str(rank), "LOCAL_RANK": common.get("LOCAL_RANK", str(rank))}
        processes.append(subprocess.Popen(command, env=common | place, stderr=subprocess.PIPE, text=True))


def wait_for(path: Path) -> None:
    """Until a file is there."""
    end = time.monotonic() + 2 * BOUND
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.01)


def assert_as_whole(config: RunConfig, whole: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed by one process, a run ends as one that nothing happened to."""
    monkeypatch.setattr(runs, "Potential", lambda *given, **named: Potential(*given, **named).double())
    found = []
    for one in (config, whole):
        train(one, resume=(one.output / runs.STATE).exists(), overwrite=not (one.output / runs.STATE).exists())
        folder = one.output
        found.append((load_file(folder / runs.MODEL), read_journal(folder / "journal.jsonl")))
    (weights, rows), (others, wanted) = found
    for name, tensor in others.items():
        if not name.startswith("last_layer."):  # its inverses magnify rounding; see test_ranks
            assert torch.allclose(tensor.double(), weights[name].double(), rtol=1e-9, atol=1e-11), name
    for row, other in zip(rows, wanted, strict=True):
        for key in ("step", "epoch", "train_loss", "valid_loss"):
            assert row[key] == pytest.approx(other[key], rel=1e-9), key


def slow(moment: str, rank: int) -> Any:
    return pytest.param(moment, rank, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("moment", "rank"),
    [
        ("writing", 0),
        *(slow(moment, rank) for moment in ("reading", "compiling", "step", "validation", "export") for rank in (0, 1)),
    ],
)
def test_killed(
    moment: str,
    rank: int,
    shared: Callable[[str], RunConfig],
    processes: list[subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = shared("killed")
    start(processes, config, (moment, rank, "SIGKILL"))
    wait_for(config.output.with_name("now"))
    began = time.monotonic()
    _, said = processes[1 - rank].communicate(timeout=2 * BOUND)
    assert time.monotonic() - began < BOUND
    assert processes[rank].wait(timeout=BOUND) == KILLED
    assert processes[1 - rank].returncode == LOST, said
    assert "another process of this run has ended or does not answer" in said
    assert "the same command with --resume goes on from there" in said
    if rank == 1:  # process 0 keeps the signs of life
        assert "no sign of life from process 1" in said
    if moment not in {"reading", "compiling"}:
        assert load_state(config.output / runs.STATE).position.steps >= 0
    assert_as_whole(config, shared("whole"), monkeypatch)


@pytest.mark.slow
def test_killed_while_another_writes(
    shared: Callable[[str], RunConfig], processes: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that writes sees that the other is gone, and ends only when the state is whole."""
    config = shared("killed")
    start(processes, config, ("writing", 0, "wait"))
    wait_for(config.output.with_name("now"))
    processes[1].kill()
    _, said = processes[0].communicate(timeout=2 * BOUND)
    assert processes[0].returncode == LOST
    assert "no sign of life from process 1" in said
    assert not list(config.output.glob(".*.tmp"))
    assert load_state(config.output / runs.STATE).position.steps == 1
    assert_as_whole(config, shared("whole"), monkeypatch)


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_stopped(rank: int, shared: Callable[[str], RunConfig], processes: list[subprocess.Popen[str]]) -> None:
    """A process that hangs is named after the patience of the run file."""
    config = shared("stopped")
    start(processes, config, ("step", rank, STOPPED))
    wait_for(config.output.with_name("now"))
    began = time.monotonic()
    _, said = processes[1 - rank].communicate(timeout=2 * BOUND)
    assert PATIENCE - 1 < time.monotonic() - began < BOUND
    assert processes[rank].poll() is None
    assert processes[1 - rank].returncode == LOST, said
    named = "no sign of life from process 1" if rank else "process 0 or the network to it: it keeps the signs of life"
    assert named in said


@pytest.mark.slow
def test_a_process_that_is_late(shared: Callable[[str], RunConfig], processes: list[subprocess.Popen[str]]) -> None:
    """It lives, but hangs where it is: on a file system that does not answer, say."""
    config = shared("late")
    start(processes, config, ("step", 1, "wait"))
    _, said = processes[0].communicate(timeout=3 * BOUND)
    assert processes[0].returncode == LOST
    assert "process 1 lives, but has not come to where this one waits" in said


@pytest.mark.slow
def test_a_cut_cable(
    shared: Callable[[str], RunConfig], processes: list[subprocess.Popen[str]], two_hosts: list[list[str]]
) -> None:
    config = shared("cut")
    start(processes, config, ("step", 1, "wait"), two_hosts, "10.199.7.1")
    wait_for(config.output.with_name("now"))
    subprocess.run([*two_hosts[0], "ip", "link", "set", "veth0", "down"], check=True)
    began = time.monotonic()
    said = [process.communicate(timeout=2 * BOUND)[1] for process in processes]
    assert time.monotonic() - began < BOUND
    assert [process.returncode for process in processes] == [LOST, LOST], said
    assert "no sign of life from process 1" in said[0]
    assert "process 0 or the network to it" in said[1]
