"""The state of a run: whole or not there, and only for the run that it belongs to."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from train import state as states
from train.state import Position, RunState, Tally, check_same_run, load_state, restore, save_state

DATA = {"emt": {"train": "aa", "valid": "bb", "test": "cc"}}
CONFIG = {
    "output": "/here",
    "seed": 1,
    "device": "cpu",
    "dataset": [{"name": "emt", "weight": 1.0, "train": ["/a.xyz"]}],
    "log": {"validate_every": 1},
    "stop": {"epochs": 5, "patience": None, "max_minutes": 2.0},
}


def state() -> RunState:
    position = Position(3, 7, 31, 1 / 3, 2, 1, 12.5, Tally(0.1 + 0.2, 5, 20, 1e300))
    tensors = {"weights.a": torch.tensor([1 / 3, 1e-40]), "best.a": torch.zeros(2), "optimizer.step.a": torch.ones(())}
    return RunState(position, CONFIG, DATA, tensors)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, state())
    found = load_state(path)
    assert asdict(found.position) == asdict(state().position)
    assert (found.config, found.data) == (CONFIG, DATA)
    assert found.tensors.keys() == state().tensors.keys()
    for name, value in state().tensors.items():
        assert torch.equal(found.tensors[name], value)
        assert found.tensors[name].shape == value.shape
    assert found.part("weights.").keys() == {"a"}
    assert list(tmp_path.iterdir()) == [path]


def test_before_the_first_validation(tmp_path: Path) -> None:
    """The best loss is then infinite, which JSON knows only by courtesy."""
    save_state(tmp_path / "state.safetensors", RunState(Position(), {}, {}, {"weights.a": torch.zeros(1)}))
    assert load_state(tmp_path / "state.safetensors").position == Position()


def test_a_failure_while_writing_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, state())
    before = path.read_bytes()

    def half(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(states, "save_file", half)
    with pytest.raises(OSError, match="No space"):
        save_state(path, state())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_state(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing to resume: .*state\.safetensors does not exist; start without"):
        load_state(tmp_path / "state.safetensors")


@pytest.mark.parametrize("kept", [0, 20, -3])
def test_half_a_state(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, state())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="not the state of a run, or not whole; begin anew with --overwrite"):
        load_state(path)


@pytest.mark.parametrize("metadata", [None, {"gfm_ase": "{}"}, {"gfm_ase_run": "{"}, {"gfm_ase_run": "{}"}])
def test_another_safetensors_file(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "state.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match="not the state of a run"):
        load_state(tmp_path / "state.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"output": "/there"},
        {"device": "cuda"},
        {"log": {"validate_every": 3, "tensorboard": True}},
        {"stop": {"epochs": 6, "patience": 7, "max_minutes": None, "unanswered_minutes": 1.0}},
        {"dataset": [{"name": "emt", "weight": 1.0, "train": ["/a.xyz"], "checksums": True}]},
    ],
)
def test_what_may_change(change: dict[str, object]) -> None:
    check_same_run(state(), {**CONFIG, **change}, DATA)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 2}, "seed = 1 and is to be resumed with 2"),
        ({"dataset": [{"name": "emt", "weight": 2.0, "train": ["/a.xyz"]}]}, r"dataset\.0\.weight = 1\.0 .* with 2\.0"),
        ({"dataset": [{"name": "emt", "weight": 1.0, "train": ["/a.xyz", "/b.xyz"]}]}, r"train\.1 = None .*'/b\.xyz'"),
        ({"precision": "high"}, r"precision = None .* with 'high'"),
    ],
)
def test_what_must_not_change(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=f"the run was started with .*{named}; put it back, or start a new run"):
        check_same_run(state(), {**CONFIG, **change}, DATA)


def test_other_structures() -> None:
    with pytest.raises(ValueError, match="structures of data set 'emt' have changed since the run began"):
        check_same_run(state(), CONFIG, {"emt": {**DATA["emt"], "train": "dd"}})


def test_restoring_keeps_the_tensors_themselves() -> None:
    """Compiled functions hold on to them."""
    module = torch.nn.Linear(2, 2)
    place = module.weight.data_ptr()
    restore(module, {"weight": torch.ones(2, 2), "bias": torch.zeros(2)})
    assert module.weight.data_ptr() == place
    assert bool((module.weight == 1).all())
    with pytest.raises(AssertionError, match="another potential"):
        restore(module, {"weight": torch.ones(2, 2)})
