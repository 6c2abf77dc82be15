"""The packed store: what goes in comes out, in any order, by whoever reads while another writes."""

import dataclasses
import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potentials.output_config import OutputConfig
from potentials.quantities import OUTPUTS
from train.config import DatasetConfig
from train.frame import Frame
from train.reading import read_frames
from train.store.convert import Conversion, convert, merge
from train.store.frames import stored_frames
from train.store.manifest import Description, StoreError, read_manifest
from train.store.reader import Store
from train.store.statistics import content, describe, quantities
from train.store.writer import writing

ABOUT = Description(name="mixed", theory="none", licence="CC0")


def structures(count: int, seed: int = 0) -> list[Atoms]:
    """Molecules with a charge and a dipole, crystals with a stress; some labels are missing."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        atoms = bulk("NaCl", "rocksalt", a=5.6) if number % 3 == 0 else molecule(("H2O", "CH4")[number % 2])
        atoms.rattle(0.05, seed=seed * 1000 + number)
        results: dict[str, Any] = {"energy": rng.normal(), "forces": rng.normal(size=(len(atoms), 3))}
        if number % 3 == 0:
            results["stress"] = rng.normal(size=6)
        else:
            atoms.info["charge"] = 1.0
            results["dipole"] = rng.normal(size=3)
        if number % 4 == 1:
            del results["forces"]
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def made(folder: Path, frames: Sequence[Atoms], output: str = "a.store", **settings: Any) -> Store:
    write(folder / f"{output}.extxyz", frames)
    config = DatasetConfig(name="mixed", train=(str(folder / f"{output}.extxyz"),), **settings.pop("config", {}))
    convert(Conversion(config, ABOUT, folder / output, **settings))
    return Store(folder / output)


def same(one: Frame, other: Frame) -> None:
    assert one.atoms == other.atoms
    assert one.atoms.info.get("charge") == other.atoms.info.get("charge")
    assert (one.energy, one.outputs.keys()) == (other.energy, other.outputs.keys())
    for name in ("forces", "stress"):
        mine, its = getattr(one, name), getattr(other, name)
        assert (mine is None) == (its is None)
        if mine is not None:
            np.testing.assert_allclose(mine, its, rtol=1e-15)
    for name, value in one.outputs.items():
        np.testing.assert_array_equal(value, other.outputs[name])


@pytest.mark.parametrize("shard_atoms", [7, 10_000])
def test_what_goes_in_comes_out(shard_atoms: int, tmp_path: Path) -> None:
    """Training reads a store as it reads the file, whatever the shards."""
    store = made(tmp_path, structures(20), shard_atoms=shard_atoms)
    assert (len(store.shards) > 5) == (shard_atoms == 7)
    rows = list(OUTPUTS.values())
    of_file, of_store = (
        read_frames(DatasetConfig(name="a", train=(str(tmp_path / name),)), "train", outputs=rows)
        for name in ("a.store.extxyz", "a.store")
    )
    assert len(of_file) == len(of_store) == len(store) == 20
    for one, other in zip(of_file, of_store, strict=True):
        same(one, other)
    assert store.source(13) == str(tmp_path / "a.store.extxyz:13")


def test_any_order_and_twice(tmp_path: Path) -> None:
    frames = structures(30)
    store = made(tmp_path, frames, shard_atoms=20)
    wanted = np.random.default_rng(1).integers(0, 30, 50)
    records = store.read(wanted)
    assert len(records) == 50
    for number, index in enumerate(wanted):
        rows = slice(*records.first_atom[number : number + 2])
        np.testing.assert_array_equal(records.arrays["numbers"][rows], frames[index].numbers)
        np.testing.assert_allclose(records.arrays["positions"][rows], frames[index].positions, atol=1e-7)
        known = "forces" in frames[index].calc.results
        assert bool(records.arrays["known.forces"][number]) == known
        expected = frames[index].calc.results["forces"] if known else np.zeros((len(frames[index]), 3))
        np.testing.assert_allclose(records.arrays["label.forces"][rows], expected, atol=1e-7)
        assert records.sources[number].endswith(f":{index}")
    some = store.read(wanted, ["numbers", "label.stress"])
    assert (some.arrays.keys(), some.sources) == ({"numbers", "label.stress"}, ())
    assert len(store.read([])) == 0
    np.testing.assert_array_equal(store.sizes(), [len(atoms) for atoms in frames])
    with pytest.raises(IndexError, match="has structures 0 to 29; 30 was asked for"):
        store.read([3, 30])


def test_appending_is_not_seen_by_who_reads_already(tmp_path: Path) -> None:
    store = made(tmp_path, structures(6))
    again = made(tmp_path, structures(5, seed=1))
    assert (len(store), len(again)) == (6, 11)
    assert store.manifest.quantities["energy"].known == 6
    assert again.manifest.quantities["energy"].known == 11
    assert store.read(range(6)).arrays["label.energy"].shape == (6,)
    assert again.manifest.about == ABOUT


def test_duplicates_bad_frames_and_large_forces_are_counted(tmp_path: Path) -> None:
    frames = structures(6)
    twin, close, wild = frames[2].copy(), molecule("H2O"), molecule("H2O")
    twin.calc = frames[2].calc
    close.positions[1] = close.positions[0]
    close.calc = SinglePointCalculator(close, energy=1.0)
    wild.calc = SinglePointCalculator(wild, energy=1.0, forces=np.full((3, 3), 99.0))
    drop = {"duplicates": "drop", "config": {"on_bad": "drop", "max_force": 50.0}}
    store = made(tmp_path, [*frames, twin, close, wild], **drop)
    assert len(store) == 6
    assert store.manifest.left_out == {"duplicate": 1, "bad structure": 1, "force above max_force": 1}
    again = made(tmp_path, frames[:2] + structures(3, seed=4), **drop)
    assert (len(again), again.manifest.left_out["duplicate"]) == (9, 3)
    with pytest.raises(ValueError, match=r"two atoms|same place|distance"):
        made(tmp_path, [close], "b.store")


def test_merging(tmp_path: Path) -> None:
    first, second = made(tmp_path, structures(5), "a.store"), made(tmp_path, structures(4, seed=2), "b.store")
    manifest = merge([first.folder, second.folder], tmp_path / "c.store", ABOUT)
    store = Store(tmp_path / "c.store")
    assert (len(store), manifest.atoms) == (9, first.manifest.atoms + second.manifest.atoms)
    assert store.source(6) == second.source(1)
    same(list(stored_frames(store.folder))[6], list(stored_frames(second.folder))[1])
    assert list(store.check()) == [("shard-000000.safetensors", None), ("shard-000001.safetensors", None)]
    with pytest.raises(StoreError, match="is there already"):
        merge([first.folder], tmp_path / "c.store", ABOUT)


def test_statistics(tmp_path: Path) -> None:
    frames = structures(9)
    store = made(tmp_path, frames)
    lines = list(describe(store.folder))
    assert "9 structures in 1 shards, 30 atoms" in lines
    assert "periodic: 3" in lines
    rows = {row[0]: row for row in quantities(store.folder)}
    per_atom = [atoms.calc.results["energy"] / len(atoms) for atoms in frames]
    assert float(rows["energy"][3]) == pytest.approx(np.mean(per_atom), rel=1e-5)
    assert rows["energy"][1:3] == ("eV per atom", "9")
    forces = np.concatenate([a.calc.results["forces"].ravel() for a in frames if "forces" in a.calc.results])
    assert float(rows["forces"][4]) == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-5)


def test_a_store_is_in_units_of_its_own(tmp_path: Path) -> None:
    store = made(tmp_path, structures(4))
    config = DatasetConfig(name="a", train=(str(store.folder),), energy_unit="Hartree")
    with pytest.raises(ValueError, match=r"is a store, whose labels have their names .*; leave energy_unit out"):
        read_frames(config, "train")
    wrong = OutputConfig(name="gap", level="atom", unit="eV").quantity
    assert next(stored_frames(store.folder, [wrong])).outputs == {}
    as_length = dataclasses.replace(OUTPUTS["dipole"], unit="Å")
    with pytest.raises(StoreError, match=r"has dipole per graph, of shape \[3\], in 'e·Å'; the output is"):
        next(stored_frames(store.folder, [as_length]))


def test_damage_is_found(tmp_path: Path) -> None:
    store = made(tmp_path, structures(5))
    path = store.folder / "shard-000000.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    ((_, why),) = Store(store.folder).check()
    assert why is not None
    assert "checksum" in why
    path.write_bytes(content[:-8])
    with pytest.raises(StoreError, match="bytes and should have"):
        Store(store.folder)
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        Store(store.folder)


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is no store: it has no manifest\.json; gfm-ase data convert makes one"):
        Store(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": 2}))
    with pytest.raises(StoreError, match="not a manifest that this version reads"):
        read_manifest(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    with pytest.raises(ValueError, match="is there and is no store"):
        made(tmp_path, structures(3), "full")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        writing(tmp_path / "a.store", ABOUT),
        pytest.raises(ValueError, match="another process writes to"),
        writing(tmp_path / "a.store", ABOUT),
    ):
        pass


def _forever(folder: Path, begun: Any) -> None:
    frames = read_frames(DatasetConfig(name="a", train=(str(folder / "a.store.extxyz"),)), "train")
    with writing(folder / "b.store", ABOUT, shard_atoms=50) as writer:
        while True:
            for frame in frames:
                writer.add(frame)
            begun.set()


def test_a_writer_that_is_killed_leaves_whole_shards(tmp_path: Path) -> None:
    made(tmp_path, structures(30))
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    writer = context.Process(target=_forever, args=(tmp_path, begun))
    writer.start()
    assert begun.wait(60)
    seen = len(Store(tmp_path / "b.store"))  # another reads meanwhile
    writer.kill()
    writer.join()
    store = Store(tmp_path / "b.store")
    assert len(store) >= seen > 0
    assert all(why is None for _, why in store.check())
    assert len(list(stored_frames(store.folder))) == len(store)


def test_the_content_of_a_store_does_not_depend_on_where_its_files_lie(tmp_path: Path) -> None:
    frames = structures(4)
    (tmp_path / "elsewhere").mkdir()
    stores = [made(tmp_path, frames), made(tmp_path / "elsewhere", frames, "b.store")]
    frames[2].calc.results["energy"] += 1e-9
    changed = made(tmp_path, frames, "c.store")
    assert content(stores[0]) == content(stores[1]) != content(changed)
    assert f"content: {content(changed)}" in list(describe(changed.folder))


def test_excluded_geometries_and_all_but_one_of_so_many_stay_out(tmp_path: Path) -> None:
    frames = structures(7)
    held_back = [frames[1].copy(), frames[4].copy()]
    for atoms in held_back:
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)  # geometries count, labels do not
    write(tmp_path / "test.extxyz", held_back)
    store = made(tmp_path, frames, exclude=(str(tmp_path / "test.extxyz"),))
    assert store.manifest.left_out == {"excluded": 2}
    assert [store.source(number).rsplit(":", 1)[1] for number in range(5)] == ["0", "2", "3", "5", "6"]
    thinned = made(tmp_path, frames, "thinned.store", every=3)
    assert [thinned.source(number).rsplit(":", 1)[1] for number in range(3)] == ["0", "3", "6"]
