"""Data sets in memory: splits, fingerprints, graphs, what is told about them."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potentials.backbones.schnet import SchNetConfig
from train.columns import digest_of
from train.config import DatasetConfig, PotentialTable, RunConfig
from train.data import label, load_datasets, union
from train.frame import Frame


def labelled_atoms(atoms: Atoms, seed: int = 0, **results: Any) -> Atoms:
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=seed)
    values = {"energy": -float(len(atoms)) - 0.01 * seed, "forces": np.full((len(atoms), 3), 0.1 * seed), **results}
    atoms.calc = SinglePointCalculator(atoms, **{name: value for name, value in values.items() if value is not None})
    return atoms


def run(folder: Path, *datasets: dict[str, Any], **settings: Any) -> RunConfig:
    tables = tuple(
        DatasetConfig(
            **{key: str(folder / value) if key in {"train", "valid", "test"} else value for key, value in d.items()}
        )
        for d in datasets
    )
    return RunConfig(output=folder / "out", dataset=tables, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "water.xyz", [labelled_atoms(molecule("H2O"), seed) for seed in range(20)])
    write(
        tmp_path / "copper.xyz", [labelled_atoms(bulk("Cu", cubic=True), seed, stress=np.ones(6)) for seed in range(10)]
    )
    write(tmp_path / "more.xyz", [labelled_atoms(molecule("H2O"), seed) for seed in range(30, 34)])
    return tmp_path


def sources(structures: list[Any]) -> list[str]:
    return [source for one in structures for source in one.source]


def test_two_data_sets_with_their_rows_and_splits(folder: Path) -> None:
    config = run(folder, {"name": "w", "train": "water.xyz", "test": "more.xyz"}, {"name": "c", "train": "copper.xyz"})
    water, copper = load_datasets(config)
    assert (water.name, water.index, copper.name, copper.index) == ("w", 0, "c", 1)
    assert water.counts == {"train": 18, "valid": 2, "test": 4}
    assert copper.counts == {"train": 9, "valid": 1, "test": 0}
    assert (water.elements("train"), copper.elements("valid"), copper.elements("test")) == (("H", "O"), ("Cu",), ())
    assert water.quantities == ("energy", "forces")
    assert copper.quantities == ("energy", "forces", "stress")
    assert (water.dropped, water.warnings) == ({}, [])
    assert sorted(sources([*water.train, *water.valid])) == sorted(f"{folder / 'water.xyz'}:{i}" for i in range(20))
    every = union([water, copper], "train")
    assert [int(one.graph.dataset) for one in every] == [0] * 18 + [1] * 9
    assert all(one.graph.n_edges > 0 for one in every)


def test_labels_are_those_of_the_frame(folder: Path) -> None:
    (copper,) = load_datasets(run(folder, {"name": "c", "train": "copper.xyz", "valid_fraction": 0.0}))
    last = copper.train[9]
    assert last.labels["energy"].item() == pytest.approx(-4.09)
    np.testing.assert_allclose(last.labels["forces"], np.full((4, 3), 0.9))
    np.testing.assert_allclose(last.labels["stress"], np.ones((1, 3, 3)))
    assert all(bool(mask.all()) for mask in last.known.values())


def test_the_cutoff_is_that_of_the_backbone(folder: Path) -> None:
    settings = {"name": "c", "train": "copper.xyz"}
    near = load_datasets(run(folder, settings, potential=PotentialTable(backbone=SchNetConfig(cutoff=3.0))))[0]
    far = load_datasets(run(folder, settings))[0]
    assert near.train[0].graph.n_edges < far.train[0].graph.n_edges


def test_the_random_split_depends_on_seed_and_name_alone(folder: Path) -> None:
    water = {"name": "w", "train": "water.xyz", "valid_fraction": 0.25}
    first = load_datasets(run(folder, water))[0]
    beside = load_datasets(run(folder, {"name": "c", "train": "copper.xyz"}, water))[1]
    assert sources(first.valid) == sources(beside.valid)
    assert len(first.valid) == 5
    others = [load_datasets(run(folder, water, seed=1))[0], load_datasets(run(folder, {**water, "name": "x"}))[0]]
    assert all(sources(other.valid) != sources(first.valid) for other in others)


def test_the_last_training_structure_of_an_element_is_not_held_back(tmp_path: Path) -> None:
    frames = [labelled_atoms(molecule("H2"), seed) for seed in range(9)] + [labelled_atoms(molecule("H2O"), 9)]
    write(tmp_path / "a.xyz", frames)
    for seed in range(5):
        (dataset,) = load_datasets(run(tmp_path, {"name": "a", "train": "a.xyz", "valid_fraction": 0.9}, seed=seed))
        assert dataset.elements("train") == ("H", "O")
    write(tmp_path / "one.xyz", frames[:1])
    with pytest.raises(ValueError, match="none of its 1 training structures can be held back for validation"):
        load_datasets(run(tmp_path, {"name": "a", "train": "one.xyz"}))
    (dataset,) = load_datasets(run(tmp_path, {"name": "a", "train": "one.xyz", "valid_fraction": 0.0}))
    assert dataset.counts == {"train": 1, "valid": 0, "test": 0}


def test_fingerprints_follow_the_content_and_not_the_place(folder: Path) -> None:
    water = {"name": "w", "train": "water.xyz", "valid": "more.xyz"}
    (first,) = load_datasets(run(folder, water))
    (folder / "copy").mkdir()
    for name in ("water.xyz", "more.xyz"):
        (folder / "copy" / name).write_text((folder / name).read_text())
    (again,) = load_datasets(run(folder / "copy", water))
    assert first.fingerprint == again.fingerprint
    assert len(set(first.fingerprint.values())) == 3
    changed = (folder / "copy/water.xyz").read_text().replace("energy=-3.19", "energy=-3.18")
    (folder / "copy/water.xyz").write_text(changed)
    (other,) = load_datasets(run(folder / "copy", water))
    assert other.fingerprint["train"] != first.fingerprint["train"]
    assert other.fingerprint["valid"] == first.fingerprint["valid"]


def test_an_unknown_label_and_a_zero_one_have_different_fingerprints(tmp_path: Path) -> None:
    for name, forces in (("a.xyz", np.zeros((3, 3))), ("b.xyz", None)):
        write(tmp_path / name, [labelled_atoms(molecule("H2O"), seed, forces=forces) for seed in range(2)])
    prints = {
        load_datasets(run(tmp_path, {"name": "w", "train": name, "valid_fraction": 0.0}))[0].fingerprint["train"]
        for name in ("a.xyz", "b.xyz")
    }
    assert len(prints) == 2


def test_structures_in_two_splits_are_told(folder: Path) -> None:
    write(folder / "leak.xyz", [labelled_atoms(molecule("H2O"), seed) for seed in (3, 5, 77)])
    (water,) = load_datasets(run(folder, {"name": "w", "train": "water.xyz", "valid": "more.xyz", "test": "leak.xyz"}))
    (line,) = water.warnings
    assert line.startswith("2 of 3 test structures are also in train; the first is ")
    assert line.endswith(f"leak.xyz:0, the same as {folder / 'water.xyz'}:3")


def test_geometries_differ_by_charge_and_not_by_labels() -> None:
    water = molecule("H2O")
    ion = water.copy()
    ion.info["charge"] = 1
    hashes = [
        digest_of(label(Frame(atoms, "", e, None, None), 3.0)) for atoms, e in ((water, 1.0), (water, 2.0), (ion, 1.0))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def coincident() -> Atoms:
    return Atoms("H2", [[0, 0, 0], [0, 0, 0]])


def no_cell() -> Atoms:
    return Atoms("H2", [[0, 0, 0], [0, 0, 1]], pbc=True)


def dummy() -> Atoms:
    return Atoms("HX", [[0, 0, 0], [0, 0, 1]])


def strange_charge() -> Atoms:
    return Atoms("H", info={"charge": "positive"})


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (coincident(), "atoms 0 and 1 are .* apart; two atoms cannot be in one place"),
        (no_cell(), "every direction that repeats needs a lattice vector"),
        (dummy(), "dummy atoms"),
        (strange_charge(), r"atoms.info\['charge'\] is 'positive'"),
        (Atoms("H", [[0, 0, np.nan]]), "positions must be finite"),
    ],
)
def test_a_bad_structure_raises_or_is_dropped_and_counted(tmp_path: Path, bad: Atoms, says: str) -> None:
    bad.calc = SinglePointCalculator(bad, energy=-1.0)
    write(tmp_path / "a.traj", [labelled_atoms(molecule("H2O"), 1), bad, labelled_atoms(molecule("H2O"), 2)])
    settings = {"name": "w", "train": "a.traj"}
    with pytest.raises(ValueError, match=rf"data set 'w', .*a\.traj:1: .*{says}"):
        load_datasets(run(tmp_path, settings))
    (dataset,) = load_datasets(run(tmp_path, {**settings, "on_bad": "drop"}))
    assert dataset.dropped == {"bad structure": 1}
    assert dataset.counts == {"train": 1, "valid": 1, "test": 0}
    assert dataset.warnings[0].startswith("1 frame left out (bad structure); the first is ")


def test_a_split_of_which_nothing_is_left(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'w': no frame of train is left; 4 frames left out \(force above max_force\)"
    ):
        load_datasets(run(folder, {"name": "w", "train": "more.xyz", "max_force": 1e-6}))


def test_charge_spin_and_partial_labels_arrive(tmp_path: Path) -> None:
    atoms = labelled_atoms(molecule("O2"), forces=None)
    atoms.info |= {"charge": -1, "spin": 1}
    write(tmp_path / "a.xyz", atoms)
    (dataset,) = load_datasets(run(tmp_path, {"name": "o", "train": "a.xyz", "valid_fraction": 0.0}))
    (one,) = dataset.train
    assert (one.graph.charge.item(), one.graph.spin.item()) == (-1.0, 1.0)
    assert [bool(one.known[name].any()) for name in ("energy", "forces", "stress")] == [True, False, False]
    assert not one.labels["forces"].any()


def test_an_isolated_atom_has_no_edges(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", labelled_atoms(Atoms("H")))
    (dataset,) = load_datasets(run(tmp_path, {"name": "h", "train": "a.xyz", "valid_fraction": 0.0}))
    assert (dataset.train[0].graph.n_atoms, dataset.train[0].graph.n_edges) == (1, 0)
    assert bool(dataset.train[0].known["energy"].all())


def test_progress_is_told(folder: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    load_datasets(run(folder, {"name": "w", "train": "water.xyz"}), lambda *what: told.append(what))
    assert told == [("graphs of w train", 20, 20)]


REAL = os.environ.get("GFM_ASE_DATA", "")


@pytest.mark.skipif(not REAL, reason="GFM_ASE_DATA names no folder of data sets")
def test_acetylacetone_is_read_quickly_and_whole() -> None:
    dataset = DatasetConfig(
        name="acac", train=(f"{REAL}/acac/train_300K.extxyz.gz",), test=(f"{REAL}/acac/test_dihedral.extxyz.gz",)
    )
    start = time.perf_counter()
    (acac,) = load_datasets(RunConfig(output=Path("out"), dataset=(dataset,)))
    elapsed = time.perf_counter() - start
    assert acac.counts == {"train": 450, "valid": 50, "test": 45}
    assert acac.elements("train") == ("H", "C", "O")
    assert {one.graph.n_atoms for one in acac.train} == {15}
    # the dihedral scan has energies only
    assert not any(bool(one.known["forces"].any()) for one in acac.test)
    # a molecule at rest: forces add up to nothing
    net = torch.stack([one.labels["forces"].sum(0) for one in acac.train])
    assert float(net.abs().max()) < 0.05
    assert elapsed < 10  # a second on an idle core; ASE's own way with compressed files takes longer by the square
