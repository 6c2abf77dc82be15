"""Weights that suit the structures of a run: sums over neighbours begin divided by the number that there are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from potentials.checkpoint import load_checkpoint
from train.config import RunConfig
from train.data import load_datasets
from train.loop import train
from train.progress import Reporter
from train.run import Run

MakeConfig = Callable[..., RunConfig]
SMALL = {"cutoff": 4.0, "width": 4, "depth": 1, "radial_size": 4, "radial_widths": [4]}


def made(config: RunConfig) -> Run:
    return Run(config, load_datasets(config), Reporter())


@pytest.mark.parametrize("name", ["mace", "nequip", "ember"])
def test_neighbours_are_counted_where_none_are_given(name: str, make_config: MakeConfig) -> None:
    backbone = {"name": name, **SMALL}
    counted = made(make_config(potential={"backbone": backbone}))
    graphs = [one.graph for one in counted.structures]
    edges, atoms = sum(graph.n_edges for graph in graphs), sum(graph.n_atoms for graph in graphs)
    assert counted.potential.config.backbone.average_neighbours == edges / atoms
    assert counted.averaged.config == counted.potential.config
    given = made(make_config(potential={"backbone": {**backbone, "average_neighbours": 3.0}}))
    assert given.potential.config.backbone.average_neighbours == 3.0
    weights = zip(counted.potential.parameters(), given.potential.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in weights)


def test_atoms_out_of_reach_of_each_other_make_no_weights_large(make_config: MakeConfig, tmp_path: Path) -> None:
    frames = read(tmp_path / "train.extxyz", index=":")
    for atoms in frames:
        results = atoms.calc.results
        atoms.set_cell(3 * atoms.cell, scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, **results)
    write(tmp_path / "train.extxyz", frames)
    run = made(make_config(potential={"backbone": {"name": "ember", **SMALL}}))
    assert run.potential.config.backbone.average_neighbours == 1.0


def test_fine_tuning_on_structures_with_other_neighbours(make_config: MakeConfig) -> None:
    backbone = {"name": "ember", "average_neighbours": 3.0, **SMALL}
    first = train(make_config("first", potential={"backbone": backbone}, stop={"epochs": 1}))
    del backbone["average_neighbours"]
    second = made(
        make_config("second", potential={"backbone": backbone}, fine_tune={"start_from": str(first.checkpoint)})
    )
    source = load_checkpoint(first.checkpoint)[0].state_dict()
    assert all(torch.equal(weight, source[name]) for name, weight in second.potential.named_parameters())
