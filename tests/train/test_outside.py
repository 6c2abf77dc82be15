"""What a training notes of its structures: the limits by hand, periodicity, and old checkpoints made to say it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers, chemical_symbols

from potentials.checkpoint import load_single, read_manifest, save_changed
from potentials.manifest import Manifest
from potentials.structures import graph_from_atoms
from tests.train.conftest import alloys
from train.config import RunConfig
from train.data import load_datasets
from train.loop import train
from train.outside import FEW, QUANTILE, limits, note_training

MakeConfig = Callable[..., RunConfig]


def test_limits_are_quantiles_of_each_element() -> None:
    rng = np.random.default_rng(0)
    many, few = rng.uniform(0, 1, 400), np.array([0.1, 0.3])
    many[:1] = 50.0  # one strange structure
    found = limits({29: many, 13: few}, {29: 2.0, 13: 4.0})
    assert found["Cu"] == np.quantile(many, QUANTILE)
    assert found["Cu"] < 1.01
    pooled = np.quantile(np.concatenate([many / 2, few / 4]), QUANTILE)
    assert found["Al"] == 4 * pooled > 0.3  # two structures say little of an element
    assert limits({13: np.array([0.1, 9.0]), 29: many}, {29: 2.0, 13: 4.0})["Al"] == 9.0
    assert len(few) < FEW < len(many)


@pytest.fixture
def run(make_config: MakeConfig, write_alloys: Callable[[int], None]) -> tuple[RunConfig, Path]:
    write_alloys(24)
    config = make_config(stop={"epochs": 1})
    checkpoint = train(config).checkpoint
    assert checkpoint is not None
    return config, checkpoint


def by_hand(checkpoint: Path, structures: list[Any]) -> dict[str, list[float]]:
    """Of each element and structure the largest uncertainty, one structure after another."""
    potential, _ = load_single(checkpoint)
    found: dict[str, list[float]] = {}
    for structure in structures:
        with torch.no_grad():
            given = potential(structure.graph)["forces_uncertainty"].numpy()
        numbers = structure.graph.numbers.numpy()
        for number in sorted(set(numbers.tolist())):
            found.setdefault(chemical_symbols[number], []).append(given[numbers == number].max())
    return found


def test_a_training_notes_both(run: tuple[RunConfig, Path]) -> None:
    config, checkpoint = run
    (dataset,) = load_datasets(config)
    record = read_manifest(checkpoint).heads[dataset.name]
    assert record.repeating == {3: len(dataset.train)}
    largest = by_hand(checkpoint, list(dataset.train))
    potential, _ = load_single(checkpoint)
    assert potential.last_layer is not None
    factor = {s: float(potential.last_layer.forces_factor_DZ[0, atomic_numbers[s]]) for s in largest}
    common = np.quantile(np.concatenate([np.array(v) / factor[s] for s, v in largest.items()]), QUANTILE)
    for symbol, values in largest.items():
        assert len(values) < FEW
        expected = max(*values, common * factor[symbol])
        assert record.outside[symbol] == pytest.approx(expected, rel=1e-4), symbol


def test_without_a_last_layer_there_are_none(make_config: MakeConfig, write_alloys: Callable[[int], None]) -> None:
    write_alloys(12)
    result = train(make_config(stop={"epochs": 1}, uncertainty={"last_layer": False}))
    assert result.checkpoint is not None
    (record,) = read_manifest(result.checkpoint).heads.values()
    assert record.outside == {}
    assert record.repeating


def test_a_checkpoint_of_before_is_made_to_say_it(run: tuple[RunConfig, Path], tmp_path: Path) -> None:
    config, checkpoint = run
    noted = read_manifest(checkpoint)
    (head,) = noted.heads

    def older(manifest: Manifest) -> Manifest:
        bare = manifest.heads[head].model_copy(update={"repeating": {}, "outside": {}})
        return manifest.model_copy(update={"heads": {head: bare}})

    old = tmp_path / "old.safetensors"
    save_changed(old, checkpoint, older)
    text = read_manifest(old).model_dump_json()
    assert "repeating" not in text
    assert "outside" not in text
    potential, _ = load_single(old)
    note_training(old, old, potential, load_datasets(config))
    again = read_manifest(old).heads[head]
    assert again.repeating == noted.heads[head].repeating
    for symbol, limit in noted.heads[head].outside.items():
        assert again.outside[symbol] == pytest.approx(limit, rel=1e-4)
    graph = graph_from_atoms(alloys(1)[0], potential.cutoff)
    before, after = load_single(checkpoint)[0](graph)["energy"], load_single(old)[0](graph)["energy"]
    assert torch.equal(before, after)
