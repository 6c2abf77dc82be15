"""States are written while the training goes on; a disk that is full is told, and costs nothing."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from train import run as runs
from train import saving
from train.config import RunConfig
from train.data import load_datasets
from train.journal import read_journal
from train.loop import carry_out, make_folder, train
from train.progress import Reporter
from train.run import Run
from train.saving import Saver, SavingError, writing
from train.state import Position, RunState, load_state, save_state

MakeConfig = Callable[..., RunConfig]


def state(steps: int, value: float = 0.0) -> RunState:
    return RunState(Position(steps=steps), {}, {}, {"weights.a": torch.full((1000,), value)})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def make(size: int) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("needs root that may mount, to make a small disk")
        return folder

    yield make
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_a_state_is_copied_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while it is being written is not in it; a second one waits for the first."""
    go = threading.Event()

    def late(path: Path, given: RunState) -> None:
        assert go.wait(30)
        save_state(path, given)

    monkeypatch.setattr(saving, "save_state", late)
    said: list[str] = []
    saver = Saver(tmp_path / "state.safetensors", said.append)
    assert saver.empty
    one = state(7, 1.0)
    saver.begin(one)
    assert saver.busy
    assert not (tmp_path / "state.safetensors").exists()
    one.tensors["weights.a"].fill_(2.0)
    one.position.steps = 8
    go.set()
    saver.wait()
    found = load_state(tmp_path / "state.safetensors")
    assert (found.position.steps, float(found.tensors["weights.a"].mean())) == (7, 1.0)
    assert (saver.busy, saver.empty, said) == (False, False, [])
    saver.begin(one)
    saver.write(state(9))
    assert load_state(tmp_path / "state.safetensors").position.steps == 9


def test_a_full_disk(small_disk: Callable[[int], Path]) -> None:
    """Told while training, raised at the end; what was there stays, and what finds room later is written."""
    folder = small_disk(16_384)
    said: list[str] = []
    saver = Saver(folder / "state.safetensors", said.append)
    saver.write(state(1))
    saver.check()
    (folder / "others").write_bytes(b"x" * 8_000)
    saver.begin(state(2))
    saver.wait()
    (told,) = said
    assert f"the state could not be written to {folder / 'state.safetensors'}: No space left on device" in told
    assert "4,000 bytes are needed and 0 are free: 4,000 are missing" in told
    assert "that of step 1 is there and whole" in told
    assert "the training goes on, and tries again at the next checkpoint" in told
    assert load_state(folder / "state.safetensors").position.steps == 1
    assert sorted(path.name for path in folder.iterdir()) == ["others", "state.safetensors"]
    saver.write(state(3))
    with pytest.raises(SavingError, match="that of step 1 is there and whole; make room, and --resume goes on from it"):
        saver.check()
    (folder / "others").unlink()
    saver.begin(state(4))
    saver.check()
    assert load_state(folder / "state.safetensors").position.steps == 4


def test_without_a_state_of_before(tmp_path: Path) -> None:
    saver = Saver(tmp_path / "no folder" / "state.safetensors", lambda text: None)
    saver.write(state(1))
    with pytest.raises(SavingError, match="No such file or directory; there is none of before"):
        saver.check()


LIMITED = """
import resource, sys, torch
from pathlib import Path
from train.saving import Saver
from train.state import Position, RunState
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
saver = Saver(Path(sys.argv[1]), print)
for size in (1_000, 10_000):
    saver.begin(RunState(Position(steps=size), {}, {}, {"weights.a": torch.zeros(size)}))
    saver.wait()
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """As under a quota: there is room on the disk, and yet none."""
    path = tmp_path / "state.safetensors"
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "File too large" in done.stdout
    assert "missing" not in done.stdout
    assert load_state(path).position.steps == 1_000
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, Callable[[], bool]], None]:
    """Let a writing function find a full disk while something holds."""

    def make(module: Any, name: str, now: Callable[[], bool]) -> None:
        real = getattr(module, name)

        def write(*given: Any, **named: Any) -> Any:
            if now():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*given, **named)

        monkeypatch.setattr(module, name, write)

    return make


class Told(Reporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


def test_a_training_on_a_disk_that_is_full_for_a_while(make_config: MakeConfig, full: Any) -> None:
    config = make_config("run", log={"checkpoint_minutes": 1e-9})
    told = Told()
    run = Run(config, load_datasets(config), told)
    make_folder(config.output)
    full(saving, "save_state", lambda: 3 <= run.position.steps <= 10)
    result = carry_out(run)
    assert result.reason == "epochs"
    assert told.lines
    assert all("No space left on device" in line and "goes on" in line for line in told.lines)
    assert load_state(config.output / runs.STATE).position.steps == result.position.steps


def test_a_disk_that_is_full_at_the_end(make_config: MakeConfig, full: Any) -> None:
    """The checkpoint, which is smaller, is there; the sentence says what is missing, and resuming ends the run."""
    config = make_config("run")
    run = Run(config, load_datasets(config), Reporter())
    make_folder(config.output)
    full(saving, "save_state", lambda: run.position.steps > 0)
    with pytest.raises(SavingError, match="that of step 0 is there and whole"):
        carry_out(run)
    assert (config.output / runs.MODEL).exists()
    assert load_state(config.output / runs.STATE).position.steps == 0


def test_no_room_for_the_first_state(make_config: MakeConfig, full: Any) -> None:
    """Before any time is spent on training."""
    full(saving, "save_state", lambda: True)
    config = make_config("run")
    with pytest.raises(SavingError, match="there is none of before"):
        train(config)
    assert not (config.output / "journal.jsonl").exists()


def test_no_room_for_the_checkpoint(make_config: MakeConfig, full: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config("run")
    full(runs, "export", lambda: True)
    with pytest.raises(
        SavingError, match=r"the checkpoint could not be written to .*model\.safetensors: No space left"
    ):
        train(config)
    monkeypatch.undo()
    assert train(config, resume=True).checkpoint == config.output / runs.MODEL


def test_no_room_for_a_row(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written with the next one, and no part of it is left before."""
    config = make_config("run")
    told = Told()
    run = Run(config, load_datasets(config), told)
    make_folder(config.output)
    real = os.fsync

    def refuse(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name == "journal.jsonl" and run.position.epoch == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    carry_out(run)
    (line,) = told.lines
    assert line.endswith(
        "journal.jsonl: No space left on device; the training goes on, and this row is written with the next"
    )
    assert [row["epoch"] for row in read_journal(config.output / "journal.jsonl")] == [1, 2, 3, 4]


def test_what_is_no_matter_of_the_disk_is_not_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing("the state", tmp_path / "x", 1, ""):
        raise KeyError
