"""Structures from files: every format, several files, and files that are broken or not there."""

import bz2
import gzip
import itertools
import lzma
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from train.config import DatasetConfig
from train.files import frames_of
from train.reading import read_frames

VOIGT = np.array([1.0, 2.0, 3.0, 0.4, 0.5, 0.6]) * 1e-2
MATRIX = np.array([[1.0, 0.6, 0.5], [0.6, 2.0, 0.4], [0.5, 0.4, 3.0]]) * 1e-2


def crystal(energy: float = -7.0) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.arange(6.0).reshape(2, 3), stress=VOIGT)
    return atoms


def config(*paths: Path, **settings: Any) -> DatasetConfig:
    return DatasetConfig(name="salt", train=tuple(str(path) for path in paths), **settings)


@pytest.mark.parametrize(
    "name",
    ["a.xyz", "a.extxyz", "a.extxyz.gz", "a.extxyz.bz2", "a.extxyz.xz", "a.traj", "a.db", "a.json", "a.aselmdb"],
)
def test_every_format_gives_the_same_labels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for packed, opened in ((".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open)):
        if name.endswith(packed):
            write(tmp_path / "plain.extxyz", [crystal(), crystal(energy=-8.0)])
            with opened(path, "wt") as stream:
                stream.write((tmp_path / "plain.extxyz").read_text())
    if name == "a.aselmdb":
        with connect(path, type="aselmdb") as database:
            for energy in (-7.0, -8.0):
                database.write(crystal(energy=energy))
    elif not path.exists():
        write(path, [crystal(), crystal(energy=-8.0)])
    frames = read_frames(config(path), "train")
    assert [frame.energy for frame in frames] == [-7.0, -8.0]
    for frame in frames:
        assert frame.forces is not None
        assert frame.stress is not None
        np.testing.assert_allclose(frame.forces, np.arange(6.0).reshape(2, 3))
        np.testing.assert_allclose(frame.stress, MATRIX)
    assert frames[1].source == (f"{path}:id=2" if name in {"a.db", "a.aselmdb"} else f"{path}:1")


def test_splits_of_one_data_set_and_globs_in_order(tmp_path: Path) -> None:
    for name, energy in (("b2", -2.0), ("b1", -1.0), ("t", -3.0)):
        write(tmp_path / f"{name}.xyz", crystal(energy=energy))
    settings = config(tmp_path).model_copy(update={"train": ("b*.xyz",), "test": ("t.xyz",)})
    assert [frame.energy for frame in read_frames(settings, "train", tmp_path)] == [-1.0, -2.0]
    assert [frame.energy for frame in read_frames(settings, "test", tmp_path)] == [-3.0]
    assert read_frames(settings, "valid", tmp_path) == []


def broken(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


FRAME = "1\nenergy=-1.0\nH 0 0 0\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (FRAME + "\n" + FRAME, r"beyond its first 1 frames: line 4 is '' instead of a number of atoms"),
        (FRAME + "2\nenergy=-1.0\nH 0 0 0\n", r"beyond its first 1 frames: the file ends in the middle of frame 1"),
        (FRAME + "-2\n\n", r"line 4 is '-2'"),
        ("1\nenergy=-1.0\nH 0 0 zero\n", r"cannot be read beyond its first 0 frames"),
        ("", "holds no structure"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.xyz.*{says}"):
        read_frames(config(broken(tmp_path / "a.xyz", text)), "train")


def test_blank_lines_at_the_end_are_no_mistake(tmp_path: Path) -> None:
    assert len(read_frames(config(broken(tmp_path / "a.xyz", FRAME + FRAME + "\n \n")), "train")) == 2


def test_an_empty_last_frame_is_not_overlooked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.xyz:1: the frame has no atoms"):
        read_frames(config(broken(tmp_path / "a.xyz", FRAME + "0\n\n")), "train")


def test_the_spin_of_omol25_is_a_multiplicity(tmp_path: Path) -> None:
    path = tmp_path / "omol.aselmdb"
    with connect(path, type="aselmdb") as database:
        database.write(crystal(), data={"charge": -1, "spin": 3})
    (frame,) = read_frames(config(path, spin="multiplicity"), "train")
    assert (frame.atoms.info["charge"], frame.atoms.info["spin"]) == (-1, 2)
    (frame,) = read_frames(config(path), "train")
    assert frame.atoms.info["spin"] == 3


def test_lmdb_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase_db_backends.aselmdb", None)
    (tmp_path / "a.aselmdb").touch()
    with pytest.raises(ValueError, match=r"a\.aselmdb needs ase-db-backends: pip install 'gfm-ase\[lmdb\]'"):
        read_frames(config(tmp_path / "a.aselmdb"), "train")


@pytest.mark.parametrize("name", ["a.traj", "a.db"])
def test_a_foreign_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} cannot be read"):
        read_frames(config(broken(tmp_path / name, "nothing of the kind" * 100)), "train")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data set 'salt', train: .*none\.xyz is no file"):
        read_frames(config(tmp_path / "none.xyz"), "train")
    with pytest.raises(ValueError, match=r"n\*\.xyz matches no file"):
        read_frames(config(tmp_path / "n*.xyz"), "train")
    with pytest.raises(ValueError, match="is a folder; name files"):
        read_frames(config(tmp_path), "train")
    write(tmp_path / "a.xyz", crystal())
    with pytest.raises(ValueError, match="given more than once"):
        read_frames(config(tmp_path / "a.xyz", tmp_path / "*.xyz"), "train")
    assert not (tmp_path / "none.db").exists()


def test_names_with_brackets_are_meant_literally(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    folder.mkdir()
    write(folder / "a.xyz", crystal())
    settings = config(tmp_path / "x").model_copy(update={"train": ("a*.xyz",)})
    assert len(read_frames(settings, "train", folder)) == 1
    assert len(read_frames(config(folder / "a.xyz"), "train")) == 1


def test_extended_xyz_is_read_as_a_stream(tmp_path: Path) -> None:
    """Of a file of some 3 MB, packed, a frame at a time is in memory."""
    with gzip.open(tmp_path / "a.extxyz.gz", "wt") as file:
        file.writelines(["40\nenergy=-1.0\n" + "H 0.12345678 0.12345678 0.12345678\n" * 40] * 2000)
    reading = frames_of(tmp_path / "a.extxyz.gz")
    next(reading)
    tracemalloc.start()
    count = 1 + sum(1 for _ in itertools.islice(reading, 300))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 301
    assert peak < 1e6
