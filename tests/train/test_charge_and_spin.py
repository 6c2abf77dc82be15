"""Conditioning on charge and spin: there before the optimizer, trained, and needed where nothing else differs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potentials.checkpoint import load_checkpoint
from potentials.potential import Potential
from potentials.structures import graph_from_atoms
from train import run as runs
from train.config import OptimizerConfig, RunConfig
from train.data import load_datasets
from train.loop import train
from train.optimizer import Optimizer
from train.progress import Reporter
from train.run import Run

MakeConfig = Callable[..., RunConfig]
STATES = ((0.0, 0.0), (1.0, 1.0), (-1.0, 1.0), (0.0, 2.0))
LEVELS = {(0.0, 0.0): 0.0, (1.0, 1.0): 2.0, (-1.0, 1.0): -1.0, (0.0, 2.0): 1.0}
"""eV: what each charge and spin adds to the energy of the same geometry."""


def states_of_water(count: int) -> list[Atoms]:
    """The same geometries with each charge and spin, which alone tell their energies apart."""
    frames = []
    for number in range(count):
        for charge, spin in STATES:
            atoms = molecule("H2O")
            start = atoms.positions.copy()
            atoms.rattle(0.03, seed=number)
            energy = LEVELS[charge, spin] + 10.0 * float(((atoms.positions - start) ** 2).sum())
            atoms.info = {"charge": charge, "spin": spin}
            atoms.calc = SinglePointCalculator(atoms, energy=energy)
            frames.append(atoms)
    return frames


@pytest.fixture
def charged(make_config: MakeConfig, tmp_path: Path) -> MakeConfig:
    write(tmp_path / "water.extxyz", states_of_water(12))

    def make(*, charge_and_spin: bool, **tables: Any) -> RunConfig:
        backbone = {"cutoff": 4.0, "width": 16, "depth": 1, "radial_size": 6}
        potential = {"backbone": backbone, "charge_and_spin": charge_and_spin}
        # by file and not by chance: every geometry is in one split in all its states
        write(tmp_path / "more_water.extxyz", states_of_water(15)[48:])
        dataset = [{"name": "water", "train": "water.extxyz", "valid": "more_water.extxyz"}]
        return make_config(**{"potential": potential, "dataset": dataset, "batch": {"max_atoms": 24}, **tables})

    return make


def test_the_layers_are_there_before_the_optimizer(charged: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are those that the optimizer steps: the very tensors, each once."""
    seen: list[dict[str, torch.nn.Parameter]] = []

    class Watching(Optimizer):
        def __init__(self, module: Potential, config: OptimizerConfig, *given: Any) -> None:
            seen.append({name: p for name, p in module.named_parameters() if name.startswith("context.")})
            super().__init__(module, config, *given)

    monkeypatch.setattr(runs, "Optimizer", Watching)
    config = charged(charge_and_spin=True)
    run = Run(config, load_datasets(config), Reporter())
    stepped = [p for group in run.optimizer.adam.param_groups for p in group["params"]]
    (before,) = seen
    assert len(before) == 2
    for name, parameter in before.items():
        assert sum(parameter is other for other in stepped) == 1, name
        assert run.potential.get_parameter(name) is parameter
    assert len(stepped) == len(list(run.potential.parameters()))


def test_the_layers_change_in_training_on_charged_data_and_not_on_neutral(charged: MakeConfig) -> None:
    config = charged(charge_and_spin=True, optimizer={"weight_decay": 0.0})
    run = Run(config, load_datasets(config), Reporter())
    start = {name: p.detach().clone() for name, p in run.potential.named_parameters()}
    neutral = [one for one in run.structures if not one.graph.charge.any() and not one.graph.spin.any()]
    run.learn(neutral[:1])
    names = [name for name in start if name.startswith("context.")]
    assert all(torch.equal(run.potential.get_parameter(name), start[name]) for name in names)
    run.learn([next(one for one in run.structures if one.graph.charge.any())])
    assert all(not torch.equal(run.potential.get_parameter(name), start[name]) for name in names)


def test_what_only_the_charge_tells_apart_is_learnt_with_it_alone(charged: MakeConfig) -> None:
    """Without conditioning the best guess of the four levels is their mean: 1 eV off, a third of it per atom."""
    settings = {"optimizer": {"learning_rate": 0.01, "ema_decay": 0.9}, "stop": {"epochs": 60}}
    settings["log"] = {"validate_every": 60}
    result = train(charged(charge_and_spin=True, output="with", **settings))
    without = train(charged(charge_and_spin=False, output="without", **settings)).errors["water"]
    assert without["energy_mae_eV_per_atom"] > 0.3
    assert result.errors["water"]["energy_mae_eV_per_atom"] < 0.02

    assert result.checkpoint is not None
    potential, _ = load_checkpoint(result.checkpoint)
    atoms = molecule("H2O")
    said = {}
    for charge, spin in STATES:
        atoms.info = {"charge": charge, "spin": spin}
        results = potential(graph_from_atoms(atoms, potential.cutoff))
        said[charge, spin] = float(results["energy"][0].detach())
    assert said == pytest.approx(LEVELS, abs=0.15)
