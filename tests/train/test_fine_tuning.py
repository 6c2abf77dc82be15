"""Fine-tuning: a run begins with the errors of its checkpoint; heads, references, replay."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from rich.console import Console
from typer.testing import CliRunner

from gfm_ase.cli import app
from potentials.checkpoint import load_checkpoint
from train.config import RunConfig
from train.data import load_datasets
from train.evaluation import predict
from train.journal import read_journal
from train.loop import train
from train.progress import Reporter
from train.run import Run

MakeConfig = Callable[..., RunConfig]
Moved = Callable[[dict[str, float]], str]
REPLAYED = {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz", "repeat": 0.25}
EMT = {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"}


@pytest.fixture
def moved(tmp_path: Path) -> Moved:
    """Writes the alloys at another level of theory: an energy more for each element; the name of the file."""

    def make(by: dict[str, float]) -> str:
        for split in ("train", "valid"):
            frames = read(tmp_path / f"{split}.extxyz", ":")
            for atoms in frames:
                results = dict(atoms.calc.results)
                results["energy"] += sum(by[symbol] for symbol in atoms.get_chemical_symbols())
                atoms.calc = SinglePointCalculator(atoms, **results)
            write(tmp_path / f"moved_{split}.extxyz", frames)
        return "moved_train.extxyz"

    return make


def made(config: RunConfig) -> Run:
    return Run(config, load_datasets(config), Reporter())


def begun(make_config: MakeConfig, output: str = "second", **tables: Any) -> RunConfig:
    return make_config(output, **{"stop": {"epochs": 1}, **tables})


def evaluated(checkpoint: str, structures: Path, head: str = "emt") -> dict[str, float]:
    """What `gfm-ase evaluate` says."""
    file = structures.with_suffix(".json")
    command = ["evaluate", checkpoint, str(structures), "--head", head, "--json", str(file), "--device", "cpu"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found: dict[str, float] = json.loads(file.read_text())["emt"]
    return found


def test_step_0_has_the_errors_of_the_checkpoint(
    make_config: MakeConfig, pretrained: str, tmp_path: Path, write_molecules: Callable[[int], str]
) -> None:
    expected = evaluated(pretrained, tmp_path / "valid.extxyz")
    # a new data set beside it, another seed and other weights of the loss change nothing of the head that was
    both = [EMT, {"name": "new", "train": write_molecules(6), "valid_fraction": 0.34}]
    for output, tables in (("a", {"seed": 7}), ("b", {"dataset": both, "loss": {"forces": {"weight": 9.0}}})):
        config = begun(make_config, output, fine_tune={"start_from": pretrained}, **tables)
        train(config)
        rows = read_journal(config.output / "journal.jsonl")
        assert [row["epoch"] for row in rows] == [0, 1]
        start = rows[0]["valid"]["emt"]
        assert start.keys() <= expected.keys()  # beside errors there are what uncertainties are worth
        assert {"energy_mae_eV_per_atom", "forces_mae_eV_per_A"} <= start.keys()
        for name, value in start.items():
            assert value == pytest.approx(expected[name], rel=1e-12, abs=0), name
        assert rows[0]["train_loss"] is None
        assert rows[1]["valid"]["emt"] != start


def test_the_other_way_of_fitting_anew_would_be_seen(make_config: MakeConfig, pretrained: str, tmp_path: Path) -> None:
    """The bound of the test before can fail: E0 of fewer structures change the errors."""
    expected = evaluated(pretrained, tmp_path / "valid.extxyz")
    write(tmp_path / "few.extxyz", read(tmp_path / "train.extxyz", ":5"))
    few = {**EMT, "name": "few", "train": "few.extxyz"}
    tuning = {"start_from": pretrained, "heads": {"few": "emt"}}
    run = made(begun(make_config, dataset=[few], fine_tune=tuning))
    start = run.validate().errors["few"]
    assert abs(start["energy_mae_eV_per_atom"] - expected["energy_mae_eV_per_atom"]) > 1e-9
    assert start["forces_mae_eV_per_A"] == expected["forces_mae_eV_per_A"]


def test_a_run_that_makes_it_worse_leaves_what_it_began_with(make_config: MakeConfig, pretrained: str) -> None:
    config = begun(make_config, fine_tune={"start_from": pretrained}, optimizer={"learning_rate": 0.5})
    result = train(config)
    assert (result.position.best_epoch, result.position.worse) == (0, 1)
    before, after = (load_checkpoint(path)[0].state_dict() for path in (pretrained, str(result.checkpoint)))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_without_validation_data_the_beginning_is_not_judged(make_config: MakeConfig, pretrained: str) -> None:
    data = [{"name": "emt", "train": "train.extxyz", "valid_fraction": 0.0}]
    result = train(begun(make_config, dataset=data, fine_tune={"start_from": pretrained}))
    assert (result.position.best_epoch, result.position.worse) == (1, 0)


def test_a_head_at_another_level_of_theory_begins_with_what_it_knows(
    make_config: MakeConfig, pretrained: str, moved: Moved, tmp_path: Path
) -> None:
    """Energies that differ by constants of the elements alone: E0 take them up, and errors are those of before."""
    by = {"Cu": -1000.0, "Al": 30.0, "Ag": 2.0}
    data = [{"name": "dft", "train": moved(by), "valid": "moved_valid.extxyz"}]
    tuning = {"start_from": pretrained, "heads": {"dft": "emt"}}
    run = made(begun(make_config, dataset=data, fine_tune=tuning))
    source = load_checkpoint(pretrained)[0]
    # the means of errors by element on the training split, which are not zero, are taken up too
    own = made(begun(make_config, "own", dataset=[{**EMT, "name": "dft"}], fine_tune=tuning))
    for symbol, value in run.potential.references.e0("dft").items():
        assert value == pytest.approx(own.potential.references.e0("dft")[symbol] + by[symbol], abs=1e-8)
    assert run.potential.references.scale_D[0] == source.references.scale_D[0]
    start, before = run.validate().errors["dft"], own.validate().errors["dft"]
    assert start["energy_mae_eV_per_atom"] == pytest.approx(before["energy_mae_eV_per_atom"], abs=1e-8)
    assert start["forces_mae_eV_per_A"] == evaluated(pretrained, tmp_path / "valid.extxyz")["forces_mae_eV_per_A"]

    kept = made(begun(make_config, "kept", dataset=data, fine_tune={**tuning, "references": "keep"}))
    assert kept.potential.references.e0("dft") == source.references.e0("emt")
    assert kept.validate().errors["dft"]["energy_mae_eV_per_atom"] > 1.0

    given = [{**data[0], "e0": {"Cu": 1.0, "Al": 2.0, "Ag": 3.0}, "energy_unit": "Hartree"}]
    told = made(begun(make_config, "given", dataset=given, fine_tune=tuning)).potential.references.e0("dft")
    assert told["Al"] == pytest.approx(2 * 27.211386, rel=1e-6)


def test_heads_begin_from_heads(
    make_config: MakeConfig, pretrained: str, write_molecules: Callable[[int], str]
) -> None:
    data = [{"name": "new", "train": write_molecules(6)}, {**EMT, "name": "copy"}, EMT]
    out = io.StringIO()
    config = begun(make_config, dataset=data, fine_tune={"start_from": pretrained, "heads": {"copy": "emt"}})
    run = Run(config, load_datasets(config), Reporter(Console(file=out, width=300)))
    source = dict(load_checkpoint(pretrained)[0].named_parameters())
    random = dict(made(begun(make_config, "random", dataset=data)).potential.named_parameters())
    for name, weight in run.potential.named_parameters():
        if ".new." in name:
            assert torch.equal(weight, random[name]), name
        else:
            assert torch.equal(weight, source[name.replace(".copy.", ".emt.")]), name
    said = out.getvalue()
    assert "new: a new head with random weights" in said
    assert "copy: begins from emt, its E0 fitted" in said
    assert "emt: goes on as it is" in said
    assert "new to the checkpoint, begins at random: H C O" in said
    assert "4 tensors begin at random" in said


def test_what_is_left_out_is_told(make_config: MakeConfig, pretrained: str) -> None:
    out = io.StringIO()
    config = begun(make_config, dataset=[{**EMT, "name": "other"}], fine_tune={"start_from": pretrained})
    train(config, console=Console(file=out, width=300))
    assert "left out, for nothing here learns it: emt" in out.getvalue()
    assert "epoch    0  as it begins valid" in out.getvalue()


def test_a_run_that_failed_at_its_first_step_begins_again(make_config: MakeConfig, pretrained: str) -> None:
    config = begun(make_config, fine_tune={"start_from": pretrained})
    run = made(config)
    config.output.mkdir()
    run.record(run.validate(), 0.0)
    run.save()
    assert run.journal is not None
    run.journal.close()
    train(config, resume=True)
    assert [row["epoch"] for row in read_journal(config.output / "journal.jsonl")] == [0, 1]


@pytest.mark.slow
def test_without_replay_the_old_head_forgets(
    make_config: MakeConfig,
    write_alloys: Callable[[int], None],
    write_molecules: Callable[[int], str],
    tmp_path: Path,
) -> None:
    """Learnt: alloys. Learnt then: molecules. With alloys in the run file, too, their head keeps more of it."""
    write_alloys(32)
    fast = {"optimizer": {"learning_rate": 1e-2}}
    pretrained = str(train(make_config("first", stop={"epochs": 40}, **fast)).checkpoint)
    new = {"name": "new", "train": write_molecules(12), "valid_fraction": 0.2}
    files, errors = {}, {"before": evaluated(pretrained, tmp_path / "valid.extxyz")["forces_mae_eV_per_A"]}
    for output, datasets in (("alone", [new]), ("replay", [new, REPLAYED])):
        tables = {"stop": {"epochs": 20}, "dataset": datasets, "fine_tune": {"start_from": pretrained}, **fast}
        config = make_config(output, **tables)
        files[output] = train(config).checkpoint
    errors["replay"] = evaluated(str(files["replay"]), tmp_path / "valid.extxyz")["forces_mae_eV_per_A"]
    # what the old head says of the backbone that has learnt without it
    old, learnt = load_checkpoint(pretrained)[0], load_checkpoint(str(files["alone"]))[0]
    old.backbone.load_state_dict(learnt.backbone.state_dict())
    config = make_config()
    structures = list(load_datasets(config)[0].valid)
    errors["alone"] = predict(old, old.references, structures).errors()["forces_mae_eV_per_A"]
    assert errors["alone"] > 2.0 * errors["before"], errors
    assert errors["replay"] < 0.5 * errors["alone"], errors
