"""A run that pauses after an epoch is, bit for bit, the run that did not."""

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

from tests.train.test_resume import stop_after
from train.config import RunConfig
from train.journal import read_journal
from train.loop import train
from train.state import load_state

MakeConfig = Callable[..., RunConfig]


def test_a_pause_changes_nothing(make_config: MakeConfig) -> None:
    whole, paused = make_config("whole"), make_config("paused")
    train(whole)
    for epoch, resume in ((1, False), (3, True), (3, True)):
        result = train(paused, until_epoch=epoch, resume=resume)
        assert (result.reason, result.position.epoch, result.checkpoint) == ("paused", epoch, None)
    assert train(paused, resume=True).reason == "epochs"
    for name in ("model.safetensors", "state.safetensors"):
        one, other = load_file(whole.output / name), load_file(paused.output / name)
        assert all(torch.equal(one[tensor], other[tensor]) for tensor in one)
    losses = [[row["valid_loss"] for row in read_journal(one.output / "journal.jsonl")] for one in (whole, paused)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_a_pause_after_the_end_is_none(make_config: MakeConfig) -> None:
    assert train(make_config(), until_epoch=9).reason == "epochs"
    with pytest.raises(ValueError, match="until_epoch is 0; a run can pause after 1 epoch or more"):
        train(make_config("other"), until_epoch=0)


def test_the_speed_of_a_resumed_epoch_is_that_of_its_session(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("stopped")
    stop_after(config, 3)
    before = load_state(config.output / "state.safetensors").position.tally.atoms
    monkeypatch.setattr("train.loop.time.perf_counter", lambda: 0.0)  # so that speeds are atoms in 1e-9 s
    train(config, resume=True)
    speeds = [row["atoms_per_second"] for row in read_journal(config.output / "journal.jsonl")]
    atoms = [round(speed * 1e-9) for speed in speeds]
    assert before > 0
    assert atoms == [atoms[1] - before, *[atoms[1]] * 3]
