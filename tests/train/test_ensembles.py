"""Ensembles by seeds, of trials and of branches: trained once, gone on with, joined, and measured."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from potentials.checkpoint import load_checkpoint, read_manifest
from potentials.ensemble import Ensemble
from train import ensembles
from train.config import RunConfig, dump_config
from train.data import load_datasets
from train.ensembles import (
    StoppedError,
    errors_of,
    join,
    make_ensemble,
    read_member,
    seeds_of,
    train_members,
    trials_of,
)
from train.loop import train
from train.result import TrainingResult
from train.search.files import SETTINGS, TRIALS
from train.search.rows import TrialRow
from train.search.study import best_trials, write_row
from train.state import Position

MakeConfig = Callable[..., RunConfig]


def test_seeds_hold_back_the_same(make_config: MakeConfig) -> None:
    config = make_config(dataset=[{"name": "emt", "train": "train.extxyz", "valid_fraction": 0.4}], seed=5)
    runs = seeds_of(config, config.output, 3)
    assert [run.seed for run in runs] == [5, 6, 7]
    held = [load_datasets(run)[0].fingerprint["valid"] for run in [config, *runs]]
    assert len(set(held)) == 1
    other = load_datasets(config.model_copy(update={"seed": 6}))[0].fingerprint["valid"]
    assert other != held[0]
    with pytest.raises(ValueError, match="--seeds 1: an ensemble has two members or more"):
        seeds_of(config, config.output, 1)


def test_members_are_trained_once_joined_and_measured(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = seeds_of(make_config(stop={"epochs": 2}), tmp_path / "e", 2)
    train(runs[0], until_epoch=1)  # stopped in its middle
    members = train_members(runs)
    alone = train(runs[0].model_copy(update={"output": tmp_path / "alone"})).checkpoint
    assert alone is not None
    assert members[0].manifest.golden == read_manifest(alone).golden
    monkeypatch.setattr(ensembles, "train", None)  # would fail if it were called
    assert [member.name for member in train_members(runs)] == ["seed_0", "seed_1"]
    other = [run.model_copy(update={"precision": "bf16"}) for run in runs]
    with pytest.raises(ValueError, match="was trained with precision = 'float32' and is asked for with 'bf16'"):
        train_members(other)
    datasets = load_datasets(runs[0])
    errors = errors_of(make_ensemble(members), datasets)
    manifest = join(members, tmp_path / "ensemble.safetensors", errors)
    found, again = load_checkpoint(tmp_path / "ensemble.safetensors")
    assert isinstance(found, Ensemble)
    assert again == manifest
    assert [member.name for member in manifest.members] == ["seed_0", "seed_1"]
    assert [member.training["config"]["seed"] for member in manifest.members] == [0, 1]
    assert manifest.heads["emt"].test_errors == errors["emt"]
    theirs = [member.manifest.heads["emt"].test_errors["forces_mae_eV_per_A"] for member in members]
    assert errors["emt"]["forces_mae_eV_per_A"] <= sum(theirs) / 2  # the triangle inequality
    assert manifest.heads["emt"].fingerprints == members[0].manifest.heads["emt"].fingerprints


@pytest.mark.parametrize(("reason", "code"), [("interrupted", 130), ("terminated", 75)])
def test_a_member_that_is_stopped(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, code: int
) -> None:
    monkeypatch.setattr(ensembles, "train", lambda *_, **__: TrainingResult(None, {}, Position(), reason))
    with pytest.raises(StoppedError, match=f"seed_0 was {reason}, its state saved; the same command goes on") as told:
        train_members(seeds_of(make_config(), tmp_path / "e", 2))
    assert told.value.exit_code == code


def test_trials_go_on(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for number in range(2):
        config = make_config(f"trials/000{number}", seed=number, stop={"epochs": 1})
        train(config)
        (config.output / "run.json").write_text(json.dumps(dump_config(config)))
        folders.append(config.output)
    monkeypatch.setattr(ensembles, "best_trials", lambda study, count, unfinished: folders[:count])
    as_they_are = train_members(trials_of(tmp_path, tmp_path / "as", 2))
    assert [member.manifest for member in as_they_are] == [read_manifest(one / "model.safetensors") for one in folders]
    for _ in range(2):  # the second time nothing is copied or trained
        runs = trials_of(tmp_path, tmp_path / "e", 2, epochs=2)
        members = train_members(runs)
        monkeypatch.setattr(ensembles, "train", None)
    assert [member.manifest.training["epochs"] for member in members] == [2, 2]
    assert [read_manifest(folder / "model.safetensors").training["epochs"] for folder in folders] == [1, 1]
    monkeypatch.undo()
    monkeypatch.setattr(ensembles, "best_trials", lambda study, count, unfinished: folders[:count])
    more = train_members(trials_of(tmp_path, tmp_path / "e", 2, epochs=3))
    assert [member.manifest.training["epochs"] for member in more] == [3, 3]
    with pytest.raises(ValueError, match=r"was trained with stop\.epochs = 3 and is asked for with 2"):
        train_members(trials_of(tmp_path, tmp_path / "e", 2, epochs=2))
    with pytest.raises(ValueError, match="--epochs 0: trial 0000 was trained for 1; ask for more"):
        trials_of(tmp_path, tmp_path / "none", 2, epochs=0)
    assert not (tmp_path / "none").exists()


def test_branches(make_config: MakeConfig, tmp_path: Path) -> None:
    names = ("a", "b", "c")
    config = make_config(dataset=[{"name": name, "train": "train.extxyz"} for name in names], stop={"epochs": 1})
    path = train(config).checkpoint
    assert path is not None
    members = ensembles.branches_of(path, names[:2], "emt")
    manifest = join(members, tmp_path / "branches.safetensors")
    found, _ = load_checkpoint(tmp_path / "branches.safetensors")
    assert list(manifest.heads) == ["emt"]
    whole = read_member(path).potential
    graph = load_datasets(config)[0].train[0].graph
    with torch.no_grad():
        energies = [whole(graph)["energy"] if row == 0 else whole.only("b")(graph)["energy"] for row in (0, 1)]
        torch.testing.assert_close(found(graph)["energy"], torch.stack(energies).mean(0))
    for wrong in (("a",), ("a", "a")):
        with pytest.raises(ValueError, match="name two branches or more, each once"):
            ensembles.branches_of(path, wrong, "emt")
    with pytest.raises(ValueError, match="unknown head 'z'"):
        ensembles.branches_of(path, ("a", "z"), "emt")


def test_the_best_trials_of_a_study_go_on_to_their_ends(make_config: MakeConfig, tmp_path: Path) -> None:
    """One is finished, one a rule has paused, one has failed: the study is left as it is."""
    study = tmp_path / "study"
    (study / TRIALS).mkdir(parents=True)
    objectives = {"error": "relative", "minimise": ["error"]}
    (study / SETTINGS).write_text(json.dumps({"search": {"objectives": objectives}}))
    for number, until in enumerate((None, 1, 1)):
        config = make_config(f"study/{TRIALS}/{number:04d}", seed=number, stop={"epochs": 3})
        train(config, until_epoch=until)
        state = ("finished", "paused", "failed")[number]
        write_row(config.output, TrialRow(number=number, state=state, of_epochs=3))
    before = {path: path.read_bytes() for path in sorted(study.rglob("*")) if path.is_file()}
    with pytest.raises(ValueError, match="has 2 trials that can be trained on and 3 are wanted; let the search go on"):
        trials_of(study, tmp_path / "e", 3)
    with pytest.raises(ValueError, match="has 1 finished trials and 2 are wanted"):
        best_trials(study, 2)
    members = train_members(trials_of(study, tmp_path / "e", 2))
    assert [member.name for member in members] == ["trial_0000", "trial_0001"]
    assert [member.manifest.training["epochs"] for member in members] == [3, 3]
    whole = train(make_config("alone", seed=1, stop={"epochs": 3})).checkpoint
    assert whole is not None
    assert members[1].manifest.golden == read_manifest(whole).golden  # as if nobody had stopped it
    assert before == {path: path.read_bytes() for path in sorted(study.rglob("*")) if path.is_file()}
