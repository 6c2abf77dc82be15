"""A whole run: it learns, judges, and stops for the right reasons."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ase.io import read, write
from rich.console import Console

from potentials.checkpoint import load_checkpoint
from potentials.programs import NotCompiledError
from train import loop as loops
from train.config import RunConfig, dump_config
from train.data import load_datasets
from train.evaluation import Validation, predict
from train.guard import TrainingError, check_finite
from train.journal import read_journal
from train.loop import train
from train.progress import Reporter
from train.run import Run
from train.state import load_state
from train.step import StepResult
from train.structures import Held
from train.warm_up import warm_up

MakeConfig = Callable[..., RunConfig]


def test_it_overfits_eight_structures(make_config: MakeConfig) -> None:
    """Forces of 1 eV/Å to begin with; more weights than labels: what remains is how far 150 epochs come."""
    dataset = [{"name": "emt", "train": "train.extxyz", "valid": "train.extxyz"}]
    optimizer = {"learning_rate": 0.02, "ema_decay": 0.9, "weight_decay": 0.0}
    potential = {"backbone": {"name": "painn", "cutoff": 4.5, "width": 16, "depth": 2, "radial_size": 8}}
    config = make_config(
        dataset=dataset,
        optimizer=optimizer,
        potential=potential,
        batch={"max_atoms": 16},
        stop={"epochs": 120},
        log={"validate_every": 120},
    )
    result = train(config)
    errors = result.errors["emt"]
    assert errors["trivial_forces_mae_eV_per_A"] > 0.1
    assert errors["forces_mae_eV_per_A"] < errors["trivial_forces_mae_eV_per_A"] / 10
    assert errors["energy_mae_eV_per_atom"] < errors["trivial_energy_mae_eV_per_atom"] / 4
    assert errors["stress_mae_eV_per_A3"] < errors["trivial_stress_mae_eV_per_A3"] / 4
    losses = [row["train_loss"] for row in read_journal(config.output / "journal.jsonl")]
    assert losses[-1] < 0.1


def test_the_checkpoint_is_the_best_averaged_weights_with_all_that_is_known(make_config: MakeConfig) -> None:
    config = make_config()
    result = train(config)
    potential, manifest = load_checkpoint(config.output / "model.safetensors")
    record = manifest.heads["emt"]
    assert record.elements == ("Al", "Cu", "Ag")
    assert record.labels == ("energy", "forces", "stress")
    assert record.structures == {"train": 8, "valid": 3, "test": 0}
    assert record.test_errors == result.errors["emt"]
    assert {len(print_) for print_ in record.fingerprints.values()} == {64}
    assert [golden.head for golden in manifest.golden] == ["emt", "emt"]
    assert manifest.training["reason"] == "epochs"
    assert manifest.training["config"] == dump_config(config)
    # the errors in the manifest are those of the weights in the file
    (dataset,) = load_datasets(config)
    again = predict(potential, potential.references, dataset.valid).errors()
    for name, value in again.items():
        assert value == pytest.approx(record.test_errors[name], rel=1e-4, abs=1e-7), name
    best = min(read_journal(config.output / "journal.jsonl"), key=lambda row: row["valid_loss"])
    assert manifest.training["best_epoch"] == best["epoch"] == result.position.best_epoch
    assert best["valid"]["emt"]["forces_mae_eV_per_A"] == pytest.approx(again["forces_mae_eV_per_A"], rel=1e-4)


def test_reference_energies_come_from_the_training_split_alone(make_config: MakeConfig, tmp_path: Path) -> None:
    strange = read(tmp_path / "valid.extxyz", index=":")
    for atoms in strange:
        atoms.calc.results["energy"] += 1000.0
    write(tmp_path / "strange.extxyz", strange)
    usual = train(make_config(stop={"epochs": 1}))
    config = make_config(
        "other", stop={"epochs": 1}, dataset=[{"name": "emt", "train": "train.extxyz", "valid": "strange.extxyz"}]
    )
    other = train(config)
    e0 = [load_checkpoint(result.checkpoint)[1].heads["emt"].e0 for result in (usual, other) if result.checkpoint]
    assert e0[0] == e0[1]


def test_two_data_sets_that_know_different_things(
    make_config: MakeConfig, write_molecules: Callable[[int], str]
) -> None:
    """One has stress, the other none, and forces of every other frame only."""
    names = ("emt", "mol")
    config = make_config(
        dataset=[
            {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"},
            {"name": "mol", "train": write_molecules(9), "valid_fraction": 0.2, "weight": 0.5},
        ],
        batch={"max_atoms": 12},
        stop={"epochs": 3},
    )
    result = train(config)
    assert tuple(result.errors) == names
    assert "stress_mae_eV_per_A3" in result.errors["emt"]
    assert "stress_mae_eV_per_A3" not in result.errors["mol"]
    potential, manifest = load_checkpoint(config.output / "model.safetensors")
    assert manifest.heads["mol"].labels == ("energy", "forces")
    assert potential.references.elements("mol") == ("H", "C", "O")
    assert potential.references.elements("emt") == ("Al", "Cu", "Ag")
    assert sorted(golden.head for golden in manifest.golden) == ["emt", "emt", "mol", "mol"]
    fresh = Run(config, load_datasets(config), loops.Reporter()).potential
    weights = dict(potential.named_parameters())
    moved = {name for name, weight in weights.items() if not torch.equal(weight, fresh.get_parameter(name))}
    assert all(any(f".{name}." in weight for weight in moved) for name in names)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(make_config: MakeConfig) -> None:
    results = [train(make_config(name, seed=seed, stop={"epochs": 2})) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    states = [load_checkpoint(result.checkpoint)[0].state_dict() for result in results if result.checkpoint]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_patience(make_config: MakeConfig) -> None:
    """A rate of nothing: no validation is better than the first one, up to rounding."""
    config = make_config(
        optimizer={"learning_rate": 1e-30, "weight_decay": 0.0, "ema_decay": "none"},
        stop={"epochs": 50, "patience": 3},
    )
    result = train(config)
    assert (result.reason, result.position.best_epoch, result.position.epoch) == ("patience", 1, 4)
    # going on with a run that has ended this way ends at once
    again = train(config, resume=True)
    assert (again.reason, again.position.epoch) == ("patience", 4)
    assert len(read_journal(config.output / "journal.jsonl")) == 4


def test_a_refused_compilation_is_told_and_does_without(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotCompiledError("its sums are of another kind")

    monkeypatch.setattr("train.step.LossAndGradients._compile", refuse)
    console = Console(file=io.StringIO(), width=200)
    result = train(make_config(compile=True, stop={"epochs": 1}), console=console)
    assert result.reason == "epochs"
    assert "not compiled, which is slower: its sums are of another kind" in console.file.getvalue()


def test_max_minutes_ends_with_a_checkpoint(make_config: MakeConfig) -> None:
    config = make_config(stop={"epochs": 10_000, "max_minutes": 0.01})
    result = train(config)
    assert result.reason == "max_minutes"
    assert 0.6 < result.position.seconds < 30
    assert result.position.steps >= 1
    assert load_checkpoint(config.output / "model.safetensors")[1].training["reason"] == "max_minutes"
    assert read_journal(config.output / "journal.jsonl")[-1]["step"] == result.position.steps


def test_without_validation_data_the_training_loss_judges(make_config: MakeConfig) -> None:
    config = make_config(dataset=[{"name": "emt", "train": "train.extxyz", "valid_fraction": 0.0}])
    out = io.StringIO()
    result = train(config, console=Console(file=out, width=200))
    rows = read_journal(config.output / "journal.jsonl")
    assert [row["valid_loss"] for row in rows] == [None] * 4
    best = min(rows, key=lambda row: row["train_loss"])
    assert result.position.best_epoch == best["epoch"]
    assert result.errors == {"emt": {}}
    assert load_checkpoint(config.output / "model.safetensors")[1].heads["emt"].test_errors == {}
    assert "valid 0" not in out.getvalue()
    assert "epoch    1  loss" in out.getvalue()


def test_validation_now_and_then(make_config: MakeConfig) -> None:
    config = make_config(stop={"epochs": 5}, log={"validate_every": 2})
    train(config)
    assert [row["epoch"] for row in read_journal(config.output / "journal.jsonl")] == [2, 4, 5]


def test_a_loss_that_is_no_number_stops_before_the_step(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A structure far off the rest; from the third step on its energy is not a number."""
    config = make_config(stop={"epochs": 1}, batch={"max_structures": 2})
    run = Run(config, load_datasets(config), loops.Reporter())
    loops.make_folder(config.output)
    real, before = run.step, {}

    def step(*given: object) -> StepResult:
        result = real(*given)
        if run.position.steps < 2:
            return result
        before.update({name: value.clone() for name, value in run.potential.state_dict().items()})
        energy = result.predicted["energy"].clone()
        energy[1] = torch.nan
        return replace(result, loss=energy.sum(), predicted={**result.predicted, "energy": energy})

    monkeypatch.setattr(run, "step", step)
    monkeypatch.setattr(loops, "Run", lambda *_: run)
    with pytest.raises(TrainingError) as stopped:
        train(config)
    guilty = run.structures[run.plan.epoch(0)[2][1]].source[0]
    told = str(stopped.value)
    assert "\n" not in told
    assert f"the loss is nan and the step was not taken: its predictions are not finite for {guilty};" in told
    assert "lower optimizer.learning_rate; the state before the step is saved" in told
    after = run.potential.state_dict()
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert run.optimizer.steps == 2
    saved = load_state(config.output / "state.safetensors")
    assert (saved.position.batches, saved.position.steps) == ([2], 2)
    assert all(torch.equal(value, before[name]) for name, value in saved.part("weights.").items())
    assert not (config.output / "model.safetensors").exists()


def test_a_gradient_that_is_no_number_names_the_batch(make_config: MakeConfig) -> None:
    config = make_config()
    run = Run(config, load_datasets(config), loops.Reporter())
    batch = run.structures[0]
    result = run.step(batch)
    gradients = [*result.gradients[:-1], torch.full_like(result.gradients[-1], torch.inf)]
    check_finite(result, batch)
    with pytest.raises(TrainingError, match=r"a gradient is not finite in the batch of .*train\.extxyz:0;"):
        check_finite(replace(result, gradients=gradients), batch)


def test_a_validation_loss_that_is_no_number(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "validate", lambda self: Validation(float("nan"), {"emt": {}}))
    config = make_config()
    with pytest.raises(TrainingError, match="validation loss of epoch 1 is nan; begin anew with a lower"):
        train(config)
    assert (config.output / "state.safetensors").exists()


def test_compiling_leaves_it_to_the_training_to_find_what_is_not_finite(make_config: MakeConfig) -> None:
    """Which saves the state before it says so."""
    config = make_config()
    run = Run(config, load_datasets(config), Reporter())
    run.compiled = True  # eagerly, for the time it takes
    broken = run.structures[0]
    broken = replace(broken, graph=replace(broken.graph, positions=broken.graph.positions * torch.nan))
    run.structures = run.plan.structures = Held([broken] * 8)
    warm_up(run)
    assert run.position.steps == 0
    with pytest.raises(TrainingError, match="the state before the step is saved"):
        run.train_epoch(lambda: None)
