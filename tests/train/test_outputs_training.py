"""Outputs beyond the energy are learnt, several data sets at once, each with the labels that it has."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from rich.console import Console

from potentials.checkpoint import load_checkpoint
from train.config import RunConfig
from train.data import load_datasets
from train.loop import train
from train.progress import Reporter
from train.run import Run
from train.tasks import with_labels

MakeConfig = Callable[..., RunConfig]
NEGATIVITY = {1: 2.2, 6: 2.5, 8: 3.4}
BACKBONE = {"cutoff": 4.0, "width": 16, "depth": 1, "radial_size": 6}


def toy_charges(atoms: Atoms) -> np.ndarray:
    """Charge that flows along bonds with the difference in electronegativity: they add up to zero."""
    distance = atoms.get_all_distances() + 10 * np.eye(len(atoms))
    negativity = np.array([NEGATIVITY[z] for z in atoms.numbers])
    charges: np.ndarray = ((negativity - negativity[:, None]) * np.exp(-(distance**2))).sum(axis=1)
    return charges


def charged_molecules(count: int) -> list[Atoms]:
    frames = []
    for number in range(count):
        atoms = molecule(("H2O", "CH4", "CH3OH")[number % 3])
        atoms.rattle(0.05, seed=number)
        charges = toy_charges(atoms)
        results: dict[str, Any] = {"energy": -5.0 * len(atoms), "charges": charges, "dipole": charges @ atoms.positions}
        if number % 5 == 4:  # some labels are missing
            del results["dipole"]
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


@pytest.fixture
def two_data_sets(make_config: MakeConfig, tmp_path: Path) -> MakeConfig:
    """Alloys with toy moments of the copper atoms, and molecules with toy charges and dipoles."""
    for name in ("train", "valid"):
        frames = read(tmp_path / f"{name}.extxyz", index=":")
        for atoms in frames:
            atoms.calc.results["magmoms"] = np.where(atoms.numbers == 29, 1.0, 0.2)
        write(tmp_path / f"{name}.extxyz", frames)
    write(tmp_path / "molecules.extxyz", charged_molecules(24))

    def make(**tables: Any) -> RunConfig:
        content: dict[str, Any] = {
            "potential": {
                "backbone": BACKBONE,
                "output": [
                    {"name": "charges"},
                    {"name": "dipole"},
                    {"name": "magmoms", "shared": True},
                    {"name": "direct_forces"},
                ],
            },
            "dataset": [
                {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"},
                {"name": "toy", "train": "molecules.extxyz", "valid_fraction": 0.2},
            ],
            "batch": {"max_atoms": 32},
            "optimizer": {"learning_rate": 0.01, "ema_decay": 0.9},
            "stop": {"epochs": 40},
            "log": {"validate_every": 10},
        }
        return make_config(**{**content, **tables})

    return make


def test_several_outputs_of_several_data_sets_are_learnt_at_once(two_data_sets: MakeConfig) -> None:
    config = two_data_sets()
    result = train(config)
    emt, toy = result.errors["emt"], result.errors["toy"]
    for errors, name, unit, factor in (
        (toy, "charges", "e", 5),
        (toy, "dipole", "eA", 5),
        (emt, "magmoms", "muB", 5),
        (emt, "direct_forces", "eV_per_A", 2),
        (emt, "forces", "eV_per_A", 2),
    ):
        assert errors[f"{name}_mae_{unit}"] * factor < errors[f"trivial_{name}_mae_{unit}"], name
        assert errors[f"{name}_rmse_{unit}"] >= errors[f"{name}_mae_{unit}"]
    assert not any("charges" in key or "dipole" in key for key in emt)
    assert not any("forces" in key or "magmoms" in key for key in toy)
    assert json.loads((config.output / "errors.json").read_text()) == result.errors

    assert result.checkpoint is not None
    potential, manifest = load_checkpoint(result.checkpoint)
    # a shared head serves all data sets, a separate one those that had its labels
    assert set(potential.trained_outputs("emt")) == {"magmoms", "direct_forces"}
    assert set(potential.trained_outputs("toy")) == {"charges", "dipole", "magmoms"}
    assert manifest.heads["toy"].labels == ("energy", "charges", "dipole")
    assert manifest.golden[0].outputs.keys() == {"charges", "dipole", "magmoms", "direct_forces"}


def test_a_batch_without_a_label_gives_its_head_a_gradient_of_zero(two_data_sets: MakeConfig) -> None:
    config = two_data_sets()
    run = Run(config, load_datasets(config), Reporter())
    alloy = run.structures[0]
    assert not alloy.known["charges"].any()
    result = run.step(alloy)
    assert result.known.tolist() == [True, True, True, False, False, True, True]
    for name, gradient in zip(run.optimizer.names, result.gradients, strict=True):
        silent = ".charges." in name or ".dipole." in name or ".toy." in name
        assert bool(gradient.any()) != silent, name


def test_a_data_set_without_energies_teaches_outputs(two_data_sets: MakeConfig, tmp_path: Path) -> None:
    """Beside one with energies and alone; no derivatives are computed for nothing then."""
    frames = read(tmp_path / "molecules.extxyz", index=":")
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, charges=atoms.get_charges())
    write(tmp_path / "molecules.extxyz", frames)
    outputs = [{"name": "charges"}]
    toy = {"name": "toy", "train": "molecules.extxyz", "valid_fraction": 0.2}
    potential = {"backbone": BACKBONE, "output": outputs}
    run = Run(both := two_data_sets(potential=potential), load_datasets(both), Reporter())
    assert run.potential.references.e0("toy") == {"H": 0.0, "C": 0.0, "O": 0.0}
    assert "forces" in run.step(run.structures[0]).predicted

    alone = two_data_sets(potential=potential, dataset=[toy])
    console = Console(file=io.StringIO(), width=200)
    result = train(alone, console=console)
    assert "no energies: its head learns charges alone" in console.file.getvalue()
    run = Run(alone, load_datasets(alone), Reporter())
    assert run.step(run.structures[0]).predicted.keys() == {"energy", "charges"}
    errors = result.errors["toy"]
    assert errors["charges_mae_e"] * 5 < errors["trivial_charges_mae_e"]
    assert not any("energy" in name for name in errors)
    assert result.checkpoint is not None
    assert load_checkpoint(result.checkpoint)[1].heads["toy"].labels == ("charges",)


def test_nothing_to_learn(make_config: MakeConfig) -> None:
    tasks = make_config().tasks()
    assert [task.term.weight for task in with_labels(tasks, {"energy"})] == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="no training structure has a label of energy, forces, stress, and nothing"):
        with_labels(tasks, {"charges"})


def test_an_output_without_any_label(make_config: MakeConfig) -> None:
    config = make_config(potential={"output": [{"name": "dipole"}]})
    with pytest.raises(ValueError, match=r"no training structure has a label of the output 'dipole'"):
        Run(config, load_datasets(config), Reporter())


def test_an_output_of_weight_zero_stays_untrained(two_data_sets: MakeConfig) -> None:
    config = two_data_sets(loss={"outputs": {"magmoms": {"weight": 0.0}}})
    run = Run(config, load_datasets(config), Reporter())
    assert "magmoms" not in run.potential.trained_outputs("emt")
    gradients = dict(zip(run.optimizer.names, run.step(run.structures[0]).gradients, strict=True))
    assert not any(gradient.any() for name, gradient in gradients.items() if ".magmoms." in name)


def test_scales_are_those_of_the_labels(two_data_sets: MakeConfig) -> None:
    config = two_data_sets()
    datasets = load_datasets(config)
    outputs = Run(config, datasets, Reporter()).potential.outputs
    assert outputs is not None
    moments = np.concatenate([one.labels["magmoms"].numpy() for one in datasets[0].train])
    magmoms = outputs.output("magmoms")
    assert magmoms.shift_D.tolist() == pytest.approx([moments.mean()] * 2)
    assert magmoms.scale_D.tolist() == pytest.approx([moments.std()] * 2)
    charges = np.concatenate([one.labels["charges"].numpy() for one in datasets[1].train])
    assert outputs.output("charges").scale_D.tolist() == pytest.approx([1.0, np.sqrt((charges**2).mean())])
    assert not outputs.output("charges").shift_D.any()


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        (
            {"loss": {"outputs": {"gap": {"weight": 2.0}}}},
            r"loss\.outputs\.gap is no output .*; there is charges, dipole",
        ),
        (
            {"dataset": [{"name": "a", "train": "train.extxyz", "labels": {"gap": {"key": "g"}}}]},
            r"dataset\.a\.labels names 'gap', which is no output",
        ),
        ({"potential": {"output": [{"name": "charges"}, {"name": "charges"}]}}, "two outputs are called 'charges'"),
    ],
)
def test_a_run_file_that_contradicts_itself(tables: dict[str, Any], told: str, two_data_sets: MakeConfig) -> None:
    with pytest.raises(ValueError, match=told):
        two_data_sets(**tables)


def test_direct_forces_alone_need_no_derivatives_and_help_the_exact_ones(
    make_config: MakeConfig, two_data_sets: MakeConfig, tmp_path: Path
) -> None:
    """Pre-training on direct forces, then fine-tuning on forces that are derivatives of the energy."""
    settings = {"backbone": BACKBONE, "output": [{"name": "direct_forces"}]}
    common = {"optimizer": {"learning_rate": 0.01, "ema_decay": 0.9}, "batch": {"max_atoms": 16}}
    off = {"weight": 0.0}
    cheap = make_config("cheap", potential=settings, loss={"forces": off, "stress": off}, stop={"epochs": 60}, **common)
    run = Run(cheap, load_datasets(cheap), Reporter())
    assert run.step(run.structures[0]).predicted.keys() == {"energy", "direct_forces"}
    first = train(cheap)
    errors = first.errors["emt"]
    assert errors["direct_forces_mae_eV_per_A"] < 0.5 * errors["trivial_direct_forces_mae_eV_per_A"]

    after = {"stop": {"epochs": 10}, **common}
    tuned = {"start_from": str(first.checkpoint)}
    exact = train(make_config("exact", potential=settings, fine_tune=tuned, **after)).errors["emt"]
    cold = train(make_config("cold", potential=settings, **after)).errors["emt"]
    assert exact["forces_mae_eV_per_A"] < 0.8 * cold["forces_mae_eV_per_A"]


def test_start_from_another_potential(make_config: MakeConfig, two_data_sets: MakeConfig) -> None:
    first = make_config("first", stop={"epochs": 1}, potential={"backbone": BACKBONE, "charge_and_spin": True})
    checkpoint = str(train(first).checkpoint)

    def start(**table: Any) -> Run:
        tuning = {"start_from": checkpoint}
        config = make_config("second", potential={"backbone": BACKBONE, **table}, fine_tune=tuning)
        return Run(config, load_datasets(config), Reporter())

    run = start(charge_and_spin=True, output=[{"name": "magmoms"}])
    trained = load_checkpoint(checkpoint)[0].state_dict()
    for name, weight in run.potential.named_parameters():
        assert (name in trained) == ("outputs" not in name)
        assert name not in trained or torch.equal(weight, trained[name])
    for name, average in run.optimizer.averaged().items():
        assert torch.equal(average, run.potential.get_parameter(name))
    with pytest.raises(ValueError, match=r"sees charge and spin; set potential.charge_and_spin = true"):
        start()
    with pytest.raises(
        ValueError, match=r"has potential\.backbone\.width = 16 and the run file 8; they must be the same"
    ):
        start(backbone={**BACKBONE, "width": 8}, charge_and_spin=True)
