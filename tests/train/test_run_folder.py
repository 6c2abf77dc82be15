"""The folder of a run: what is left there, who may write over it, and what a person sees meanwhile."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read, write
from rich.console import Console

from potentials.checkpoint import load_checkpoint
from train.config import RunConfig, load_config
from train.journal import read_journal
from train.loop import train
from train.result import TrainingResult

MakeConfig = Callable[..., RunConfig]


def test_it_leaves_what_it_promises(make_config: MakeConfig) -> None:
    config = make_config(stop={"epochs": 2})
    result = train(config)
    names = ["config.json", "environment.json", "errors.json", "journal.csv", "journal.jsonl", "model.safetensors"]
    assert sorted(path.name for path in config.output.iterdir()) == [*names, "state.safetensors"]
    assert (result.reason, result.position.epoch, result.position.steps) == ("epochs", 2, 8)
    assert load_config(config.output / "config.json") == config
    environment = json.loads((config.output / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert {"gfm-ase", "numpy", "ase", "python"} <= environment.keys()
    assert json.loads((config.output / "errors.json").read_text()) == result.errors
    rows = read_journal(config.output / "journal.jsonl")
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 4), (2, 8)]
    with (config.output / "journal.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["valid_loss"]) for row in table] == [row["valid_loss"] for row in rows]
    assert result.checkpoint == config.output / "model.safetensors"


def test_a_folder_that_holds_a_run(make_config: MakeConfig) -> None:
    config = make_config(stop={"epochs": 1})
    train(config)
    model = (config.output / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="holds a run already: --resume to go on with it, --overwrite to begin anew"):
        train(config)
    assert (config.output / "model.safetensors").read_bytes() == model

    (config.output / "tensorboard").mkdir()
    other = make_config(stop={"epochs": 1}, seed=5)
    result = train(other, overwrite=True)
    assert result.checkpoint is not None
    assert load_checkpoint(result.checkpoint)[1].training["config"]["seed"] == 5
    assert len(read_journal(config.output / "journal.jsonl")) == 1
    assert not (config.output / "tensorboard").exists()


def test_a_mistake_does_not_cost_the_run_that_was_there(make_config: MakeConfig) -> None:
    config = make_config(stop={"epochs": 1})
    train(config)
    before = {path.name: path.read_bytes() for path in config.output.iterdir()}
    for mistake in (
        {"dataset": [{"name": "emt", "train": "none.extxyz"}]},
        {"dataset": [{"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz", "e0": {"Cu": 0.0}}]},
        {"batch": {"max_atoms": 2}},
        {"device": "cuda:99"},
    ):
        with pytest.raises(ValueError, match=r"none\.extxyz|e0 lacks Al, Ag|max_atoms|cuda:99"):
            train(make_config(**mistake), overwrite=True)
    assert {path.name: path.read_bytes() for path in config.output.iterdir()} == before


def test_a_mistake_leaves_no_folder(make_config: MakeConfig) -> None:
    config = make_config(dataset=[{"name": "emt", "train": "none.extxyz"}])
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"none\.extxyz is no file"):
            train(config, resume=resume)
    with pytest.raises(ValueError, match="nothing to resume"):
        train(make_config(), resume=True)
    assert not config.output.exists()


def test_an_output_that_is_a_file(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ValueError, match="run is a file; it must be a folder"):
        train(make_config())
    assert (tmp_path / "run").read_text() == "mine"


def test_what_a_person_sees(make_config: MakeConfig, tmp_path: Path) -> None:
    """Warnings quote brackets, which are no markup."""
    frames = read(tmp_path / "train.extxyz", index=":")
    broken = frames[0].copy()
    broken.positions[1] = np.nan
    write(tmp_path / "train.extxyz", [*frames, broken])
    config = make_config(
        dataset=[{"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz", "on_bad": "drop"}],
        stop={"epochs": 1},
    )
    out = io.StringIO()
    result: TrainingResult = train(config, console=Console(file=out, width=400))
    shown = out.getvalue()
    assert "emt: 8 train, 3 valid, 0 test; Al Cu Ag" in shown
    assert "1 frame left out" in shown
    assert "[nan nan nan]" in shown
    assert re.search(r"epoch    1  loss \d.* valid \d.*  \|  emt: \d.* meV/atom, \d+ meV/Å, .* GPa  \*", shown)
    assert result.reason == "epochs"


def test_charges_that_the_potential_does_not_see_are_told(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    frames = read(config.dataset[0].train[0], ":")
    frames[1].info["charge"] = 1.0
    write(config.dataset[0].train[0], frames)
    seen = io.StringIO()
    train(config, console=Console(file=seen, width=200))
    assert "structures have charge or spin in info, which this potential does not see" in seen.getvalue()


def test_tensorboard(make_config: MakeConfig) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is the extra `track`")
    config = make_config(stop={"epochs": 1}, log={"tensorboard": True})
    train(config)
    assert len(list((config.output / "tensorboard").iterdir())) == 1
    without = make_config("without", stop={"epochs": 1})
    train(without)
    assert not (without.output / "tensorboard").exists()
