"""A run that was stopped and resumed is, bit for bit, the run that was not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.io import read, write
from safetensors.torch import load_file

from train import loop as loops
from train.config import RunConfig, dump_config, load_config
from train.data import load_datasets
from train.journal import read_journal, write_json
from train.loop import train
from train.progress import Reporter
from train.run import Run
from train.state import load_state

MakeConfig = Callable[..., RunConfig]

OF_TIME = ("seconds", "atoms_per_second", "energy_J")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The journal without what the clock says."""
    found = read_journal(folder / "journal.jsonl")
    return [{name: value for name, value in row.items() if name not in OF_TIME} for row in found]


def assert_same_run(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    assert len(rows(one)) == 4
    for name in ("model.safetensors", "state.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        for tensor in first:
            assert torch.equal(first[tensor], second[tensor]), (name, tensor)
    was, now = (load_state(folder / "state.safetensors").position for folder in (one, other))
    clock = {"seconds": 0, "compiling": 0, "energy": 0}
    assert {**vars(was), **clock} == {**vars(now), **clock}
    assert (one / "errors.json").read_bytes() == (other / "errors.json").read_bytes()


@pytest.fixture
def whole(make_config: MakeConfig) -> Path:
    """The folder of a run that nothing stopped: 4 epochs of 4 batches."""
    result = train(make_config("whole"))
    assert (result.reason, result.position.steps) == ("epochs", 16)
    return make_config("whole").output


def stop_after(config: RunConfig, steps: int, *, resume: bool = False) -> None:
    """A session that is asked to stop once so many steps of the run are taken."""
    run = Run(config, load_datasets(config), Reporter())
    if resume:
        run.resume()
    else:
        loops.make_folder(config.output)
    assert loops.loop(run, lambda: run.position.steps >= steps) == "interrupted"
    assert run.position.steps == steps


@pytest.mark.parametrize("steps", [1, 4, 6, 16])
def test_stopped_in_an_epoch_or_at_its_end(steps: int, whole: Path, make_config: MakeConfig) -> None:
    config = make_config("stopped")
    stop_after(config, steps)
    assert not (config.output / "model.safetensors").exists()
    result = train(config, resume=True)
    assert (result.reason, result.position.steps) == ("epochs", 16)
    assert_same_run(whole, config.output)


def test_stopped_many_times(whole: Path, make_config: MakeConfig) -> None:
    config = make_config("stopped")
    for session, steps in enumerate((3, 4, 5, 11, 14)):
        stop_after(config, steps, resume=session > 0)
    train(config, resume=True)
    assert_same_run(whole, config.output)


def test_out_of_time_in_an_epoch(whole: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is judged and exported where the time ends, cooled down; given more time it goes on from there."""
    clock = iter(range(10_000))
    monkeypatch.setattr(loops.Clock, "total", lambda self: float(next(clock)))
    config = make_config("short", stop={"epochs": 4, "max_minutes": 5 / 60})
    result = train(config)
    assert result.reason == "max_minutes"
    assert 0 < result.position.batches[0] < 4
    assert (config.output / "model.safetensors").exists()
    assert rows(config.output)[-1]["step"] == result.position.steps
    optimizer = config.optimizer
    assert rows(config.output)[-1]["learning_rate"] == pytest.approx(optimizer.learning_rate * optimizer.final_fraction)
    monkeypatch.undo()
    longer = train(make_config("short"), resume=True)
    assert (longer.reason, longer.position.steps) == ("epochs", rows(whole)[-1]["step"])
    # the row of the part of an epoch is not in the state, and gives way to that of the whole one
    assert [row["epoch"] for row in rows(config.output)] == [row["epoch"] for row in rows(whole)]


def test_killed_after_a_state_was_saved(whole: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is older than the journal: rows after it are written again, once."""
    config = make_config("killed", log={"checkpoint_minutes": 1e-9})
    run = Run(config, load_datasets(config), Reporter())
    loops.make_folder(config.output)
    real = run.save

    def save(*, meanwhile: bool = False) -> None:
        del meanwhile
        if run.position.steps <= 6:
            real()

    def asked() -> bool:
        if run.position.steps == 13:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(run, "save", save)
    with pytest.raises(KeyboardInterrupt):
        loops.loop(run, asked)
    assert [row["epoch"] for row in rows(config.output)] == [1, 2, 3]
    assert load_state(config.output / "state.safetensors").position.steps == 6
    train(make_config("killed"), resume=True)
    assert_same_run(whole, config.output)


def test_resuming_a_run_that_is_over(whole: Path, make_config: MakeConfig) -> None:
    before = (rows(whole), load_file(whole / "model.safetensors"))
    result = train(make_config("whole"), resume=True)
    assert (result.reason, result.position.steps) == ("epochs", 16)
    assert rows(whole) == before[0]
    assert all(torch.equal(value, before[1][name]) for name, value in load_file(whole / "model.safetensors").items())


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from train import run
from train.config import load_config
from train.loop import train
learn = run.Run.learn
def signalled(self, *given):
    learn(self, *given)
    if self.position.steps == 6:
        os.kill(os.getpid(), signal.Signals[sys.argv[2]])
        os.kill(os.getpid(), signal.SIGTERM)  # as launchers that pass on what was sent to all
run.Run.learn = signalled
print(train(load_config(Path(sys.argv[1]))).reason)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_termination_signal_to_another_process(
    name: str, whole: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config("signalled")
    write_json(tmp_path / "run.json", dump_config(config))
    process = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(tmp_path / "run.json"), name],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    assert process.stdout == "terminated\n"
    assert load_state(config.output / "state.safetensors").position.steps == 6
    train(config, resume=True)
    assert_same_run(whole, config.output)


def interrupting(times: int) -> Callable[..., None]:
    """A step after which so many Ctrl-C come."""
    learn = Run.learn

    def interrupted(self: Run, *given: Any) -> None:
        learn(self, *given)
        if self.position.steps == 6:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return interrupted


def test_an_interrupt(whole: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config, before = make_config("interrupted"), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Run, "learn", interrupting(1))
    result = train(config)
    assert (result.reason, result.checkpoint, result.position.steps) == ("interrupted", None, 6)
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    train(config, resume=True)
    assert_same_run(whole, config.output)


def test_a_second_interrupt_ends_at_once(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config, before = make_config("interrupted"), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Run, "learn", interrupting(2))
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (config.output / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 3}, "seed = 0 and is to be resumed with 3"),
        ({"optimizer": {"learning_rate": 0.5}}, r"optimizer\.learning_rate = 0\.002 .* with 0\.5"),
        ({"batch": {"max_atoms": 16}}, r"batch\.max_atoms = 8 .* with 16"),
    ],
)
def test_other_settings(change: dict[str, Any], named: str, make_config: MakeConfig) -> None:
    config = make_config("stopped")
    stop_after(config, 5)
    before = {path.name: path.read_bytes() for path in config.output.iterdir()}
    with pytest.raises(ValueError, match=f"the run was started with {named}; put it back"):
        train(make_config("stopped", **change), resume=True)
    assert {path.name: path.read_bytes() for path in config.output.iterdir()} == before


@pytest.mark.parametrize("changed", ["train", "valid"])
def test_other_data(changed: str, make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("stopped")
    stop_after(config, 5)
    frames = read(tmp_path / f"{changed}.extxyz", index=":")
    frames[1].calc.results["energy"] += 1e-6
    write(tmp_path / f"{changed}.extxyz", frames)
    with pytest.raises(ValueError, match="the structures of data set 'emt' have changed since the run began"):
        train(config, resume=True)


def test_more_epochs(make_config: MakeConfig) -> None:
    """A run that is over goes on to a later end, and its learning rate with it."""
    config = make_config("longer", stop={"epochs": 2})
    train(config)
    ended = rows(config.output)
    longer = make_config("longer", stop={"epochs": 4})
    result = train(longer, resume=True)
    assert (result.reason, result.position.epoch) == ("epochs", 4)
    later = rows(config.output)
    assert later[:2] == ended
    assert later[2]["learning_rate"] > ended[1]["learning_rate"] == pytest.approx(later[3]["learning_rate"])


def test_what_may_change_changes_nothing(whole: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    """Another folder, more patience, other logging."""
    config = make_config("stopped")
    stop_after(config, 5)
    config.output.rename(tmp_path / "moved")
    moved = make_config("moved", stop={"epochs": 4, "patience": 50, "max_minutes": 60}, log={"checkpoint_minutes": 1})
    train(moved, resume=True)
    assert_same_run(whole, moved.output)
    assert load_config(moved.output / "config.json") == moved


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
def test_a_compiled_run(make_config: MakeConfig) -> None:
    small = {"backbone": {"name": "schnet", "cutoff": 4.0, "width": 8, "depth": 1, "radial_size": 4}, "head_width": 32}
    for name in ("whole", "stopped"):
        config = make_config(name, compile=True, potential=small)
        if name == "stopped":
            stop_after(config, 6)
        train(config, resume=name == "stopped")
    assert_same_run(make_config("whole").output, make_config("stopped").output)


@pytest.mark.parametrize(("before", "after", "steps"), [(2, 3, 2), (4, 1, 1), (1, 4, 3)])
def test_an_epoch_goes_on_with_other_batches_a_step(
    before: int, after: int, steps: int, make_config: MakeConfig, write_alloys: Callable[[int], None]
) -> None:
    """As with another number of processes: in the epoch each structure is seen once, none is lost."""
    write_alloys(20)
    seen: list[str] = []

    def started(per_step: int) -> Run:
        config = make_config(batch={"max_atoms": 8, "per_step": per_step})
        run = Run(config, load_datasets(config), Reporter())
        learn = run.learn
        run.learn = lambda own: seen.extend(source for one in own for source in one.source) or learn(own)  # type: ignore[method-assign, func-returns-value]
        return run

    run = started(before)
    run.config.output.mkdir()
    run.train_epoch(lambda: "stopped" if run.position.steps == steps else None)
    assert len(seen) == 2 * before * steps < 20
    run.save()
    again = started(after)
    again.resume()
    again.train_epoch(lambda: None)
    assert sorted(seen) == sorted(again.structures.source(number) for number in range(20))
