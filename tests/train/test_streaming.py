"""Training from a store: structures that are read when they are needed give the same as those held in memory."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from tests.train.conftest import MakeConfig, alloys, molecules
from tests.train.test_ranks import MPIEXEC, assert_same, trained
from train.config import DatasetConfig, RunConfig
from train.data import load_datasets
from train.e0 import references_for
from train.frame import Frame
from train.group import ALONE
from train.loop import train
from train.store import edge_counts as edge_counts_module
from train.store.convert import Conversion, convert
from train.store.edge_counts import edge_counts, kept_in
from train.store.manifest import Description
from train.store.reader import Store
from train.store.writer import writing
from train.streaming import HELD_ATOMS, streams
from train.structures import Chosen, Held
from train.summary import Summary, summarise


def store_of(folder: Path, name: str, frames: list[Atoms], shard_atoms: int = 40) -> str:
    write(folder / f"{name}.extxyz", frames)
    config = DatasetConfig(name=name, train=(str(folder / f"{name}.extxyz"),))
    convert(Conversion(config, Description(name=name), folder / f"{name}.store", shard_atoms=shard_atoms))
    return f"{name}.store"


Make = Callable[..., RunConfig]


@pytest.fixture
def make(make_config: MakeConfig, tmp_path: Path) -> Make:
    """Alloys and molecules in stores of several shards; keyword arguments go into both data sets."""
    alloy, toy = store_of(tmp_path, "alloys", alloys(12)), store_of(tmp_path, "molecules", molecules(30))

    def configured(output: str = "run", tables: dict[str, Any] | None = None, **settings: Any) -> RunConfig:
        datasets = [{"name": "emt", "train": alloy}, {"name": "toy", "train": toy}]
        return make_config(output, dataset=[{**one, **settings} for one in datasets], **(tables or {}))

    return configured


def test_the_structures_are_the_same(make: Make) -> None:
    held, streamed = (load_datasets(make(in_memory=choice)) for choice in (True, False))
    for one, other in zip(held, streamed, strict=True):
        assert isinstance(one.train, Held)
        assert isinstance(other.train, Chosen)
        assert (one.counts, one.quantities, one.warnings) == (other.counts, other.quantities, other.warnings)
        for split in ("train", "valid"):
            numbers = np.arange(len(one.split(split)))
            assert np.array_equal(one.split(split).sizes(numbers), other.split(split).sizes(numbers))
            assert np.array_equal(one.split(split).digests(numbers), other.split(split).digests(numbers))
            for mine, its in zip(one.split(split), other.split(split), strict=True):
                assert mine.source == its.source
                for field in dataclasses.fields(mine.graph):
                    assert torch.equal(getattr(mine.graph, field.name), getattr(its.graph, field.name)), field.name
                for name in mine.labels:
                    assert torch.equal(mine.labels[name], its.labels[name])
                    assert torch.equal(mine.known[name], its.known[name])


def test_a_run_is_the_same_to_the_bit(make: Make) -> None:
    one, other = (train(make(str(choice), in_memory=choice)) for choice in (True, False))
    assert one.errors == other.errors
    assert one.position.best_loss == other.position.best_loss


def test_processes_share_a_store_in_their_memory(make: Make) -> None:
    """Two processes, each with a half of every store, learn what one learns from files."""
    batch = {"batch": {"max_atoms": 12, "per_step": 2}}
    alone = trained(make("alone", in_memory=False, tables=batch), 1)
    assert_same(alone, trained(make("shared", in_memory="shared", tables=batch), 2, by=MPIEXEC))


def test_summaries_add_up_and_travel(make: Make) -> None:
    """Blocks, processes and messages change nothing: neither counts nor the E0 that come of them."""
    dataset = load_datasets(make(in_memory=True))[1]
    whole = dataset.summary
    parts = [summarise(dataset.train.part(np.arange(first, len(dataset.train), 3))) for first in range(3)]
    together = Summary.told((parts[0] + parts[1]).message()) + parts[2]
    assert (together.structures, together.edges, together.known) == (whole.structures, whole.edges, whole.known)
    assert np.array_equal(together.atoms, whole.atoms)
    settings = make().dataset[1]
    other = dataclasses.replace(dataset, summaries={**dataset.summaries, "train": together})
    mine, its = references_for(dataset, settings), references_for(other, settings)
    assert its.e0 == pytest.approx(mine.e0, rel=1e-12)
    assert its.scale == pytest.approx(mine.scale, rel=1e-12)


def test_edges_are_counted_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / store_of(tmp_path, "alloys", alloys(30)))
    counts = edge_counts(store, 4.0)
    assert len(counts) == len(store.shards) > 1
    monkeypatch.setattr("train.store.edge_counts.batched_neighbours", None)
    again = edge_counts(store, 4.0)
    assert all(np.array_equal(one, other) for one, other in zip(counts, again, strict=True))
    with pytest.raises(TypeError):  # another cutoff: nothing is known of it
        edge_counts(store, 5.0)


def test_edges_are_kept_elsewhere_where_the_store_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / store_of(tmp_path, "alloys", alloys(4)))
    monkeypatch.setattr("train.store.edge_counts.cache_folder", lambda: tmp_path / "cache")
    own = tmp_path / "cache" / "edges"

    def refused(path: Path, counts: Any, write: Any = edge_counts_module._write) -> None:
        if path.parent != own:
            raise PermissionError(13, "read-only")
        write(path, counts)

    monkeypatch.setattr("train.store.edge_counts._write", refused)
    edge_counts(store, 4.0, ALONE)
    found = kept_in(store.folder, store.manifest.shards[0], 4.0)
    assert found is not None
    assert found.parent == own


def test_what_is_streamed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alloy, toy), (asked, _) = make().dataset, make(in_memory=False).dataset
    assert not streams(alloy, "train")
    assert streams(asked, "train")
    monkeypatch.setattr("train.streaming.HELD_ATOMS", 47)
    assert HELD_ATOMS == 500_000
    assert streams(alloy, "train")
    assert not streams(make(in_memory=True).dataset[0], "train")
    assert not streams(DatasetConfig(name="a", train=(str(tmp_path / "alloys.extxyz"),)), "train")
    assert not streams(toy, "test")
    with pytest.raises(ValueError, match=r"alloys\.extxyz is no store, and in_memory = false streams from"):
        streams(DatasetConfig(name="a", train=(str(tmp_path / "alloys.extxyz"),), in_memory=False), "train")


def test_structures_that_cannot_be_right_or_are_not_wanted(make_config: MakeConfig, tmp_path: Path) -> None:
    frames = alloys(6)
    frames[4].positions[1] = frames[4].positions[0]
    with writing(tmp_path / "bad.store", Description(name="bad")) as writer:  # convert would not take it
        for number, atoms in enumerate(frames):
            results = atoms.calc.results
            writer.add(Frame(atoms, f"f:{number}", results["energy"], results["forces"], None))
        writer.close_shard()
    settings = {"name": "a", "train": "bad.store", "in_memory": False, "valid_fraction": 0.0}
    with pytest.raises(ValueError, match=r"bad\.store:4: .*two atoms cannot be in one place"):
        load_datasets(make_config(dataset=[settings]))
    largest = sorted(float(np.linalg.norm(one.calc.results["forces"], axis=1).max()) for one in frames[:4])
    config = make_config(dataset=[{**settings, "on_bad": "drop", "max_force": 0.5 * (largest[2] + largest[3])}])
    (dataset,) = load_datasets(config)
    held = load_datasets(make_config(dataset=[{**config.dataset[0].model_dump(mode="json"), "in_memory": True}]))[0]
    assert dataset.dropped == held.dropped
    assert dataset.dropped["bad structure"] == 1
    assert dataset.dropped["force above max_force"] > 0
    assert [one.source for one in dataset.train] == [one.source for one in held.train]


def test_a_store_without_energies_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    frames = [molecule("H2O"), molecule("CO")]
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, dipole=np.ones(3))
    write(tmp_path / "f.extxyz", frames)
    config = DatasetConfig(name="f", train=(str(tmp_path / "f.extxyz"),))
    convert(Conversion(config, Description(name="f"), tmp_path / "f.store"))
    with pytest.raises(ValueError, match=r"f\.store has no energies to learn from; there is dipole"):
        load_datasets(make_config(dataset=[{"name": "a", "train": "f.store", "in_memory": False}]))
