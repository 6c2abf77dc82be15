"""ASE-LMDB files as fairchem publishes them: OMat24, OMol25, Alexandria."""

import json
import zlib
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from potentials.quantities import OUTPUTS
from train.config import DatasetConfig
from train.frame import Frame
from train.reading import read_frames
from train.sources.registry import SOURCES
from train.store.convert import Conversion, convert
from train.store.manifest import read_manifest

STRESS = [0.01, 0.02, 0.03, 0.004, 0.005, 0.006]


def row(atoms: Atoms, **more: Any) -> dict[str, Any]:
    """What fairchem's LMDBDatabase writes of a structure."""
    return {
        "numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": atoms.cell.array,
        "pbc": atoms.pbc,
        "ctime": 24.8,
        "mtime": 24.8,
        "user": "someone",
        "unique_id": "0" * 32,
        "calculator": "unknown",
        "calculator_parameters": {},
        **more,
    }


def written(path: Path, rows: list[dict[str, Any]], **reserved: Any) -> Path:
    """Keys "1", "2", ..., and the reserved ones, each JSON packed by zlib."""
    with lmdb.open(str(path), map_size=2**24, subdir=False) as file, file.begin(write=True) as writing:
        entries = {str(number + 1): one for number, one in enumerate(rows)}
        for key, value in {**entries, "nextid": len(rows) + 1, **reserved}.items():
            writing.put(key.encode(), zlib.compress(json.dumps(value, default=np.ndarray.tolist).encode()))
    return path


def frames(path: Path, layout: str, **settings: Any) -> list[Frame]:
    config = DatasetConfig(name="a", train=(str(path),), format=layout, **settings)  # type: ignore[arg-type]
    return read_frames(config, "train", outputs=list(OUTPUTS.values()))


def crystal(energy: float) -> dict[str, Any]:
    atoms, forces = bulk("NaCl", "rocksalt", a=5.6), [[0.5, 0.0, -0.25], [-0.5, 0.0, 0.25]]
    return row(atoms, energy=energy, free_energy=energy - 1, forces=forces, stress=STRESS, data={"calc_id": 7})


@pytest.mark.parametrize("layout", ["omat24", "alexandria", "auto"])
def test_crystals_in_several_files(layout: str, tmp_path: Path) -> None:
    """Total energy, forces and stress in eV and Å with ASE's sign; metadata do not matter."""
    written(tmp_path / "data0001.aselmdb", [crystal(-3.0)])
    written(tmp_path / "data0000.aselmdb", [crystal(-1.0), crystal(-2.0)], metadata={"mean": 1.0}, deleted_ids=[])
    np.savez(tmp_path / "metadata.npz", natoms=[2, 2, 2])
    found = frames(tmp_path / "*.aselmdb", layout)
    assert [frame.energy for frame in found] == [-1.0, -2.0, -3.0]
    assert [Path(frame.source).name for frame in found][1:] == ["data0000.aselmdb:id=2", "data0001.aselmdb:id=1"]
    np.testing.assert_array_equal(found[2].forces, [[0.5, 0.0, -0.25], [-0.5, 0.0, 0.25]])
    np.testing.assert_allclose(found[2].stress, [[0.01, 0.006, 0.005], [0.006, 0.02, 0.004], [0.005, 0.004, 0.03]])
    assert found[0].atoms.info["calc_id"] == 7


def test_rows_that_were_deleted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.aselmdb", [crystal(-1.0), crystal(-2.0), crystal(-3.0)], deleted_ids=[2])
    with lmdb.open(str(path), subdir=False) as file, file.begin(write=True) as writing:
        writing.delete(b"2")
    assert [frame.energy for frame in frames(path, "omat24")] == [-1.0, -3.0]


def test_omol25(tmp_path: Path) -> None:
    """Charge and multiplicity are in `data`; the charges of atoms there are not taken for labels."""
    data = {"charge": -1, "spin": 2, "num_atoms": 3, "mulliken_charges": [-1.0, 0.0, 0.0], "source": "geom/orca6"}
    water = molecule("H2O")
    path = written(tmp_path / "data0000.aselmdb", [row(water, energy=-2079.5, forces=np.ones((3, 3)), data=data)])
    (frame,) = frames(path, "omol25")
    assert (frame.energy, frame.stress, frame.outputs) == (-2079.5, None, {})
    assert (frame.atoms.info["charge"], frame.atoms.info["spin"]) == (-1, 1)
    with pytest.raises(ValueError, match=r"is in the layout of omol25, .*; leave spin out"):
        frames(path, "omol25", spin="multiplicity")
    config = DatasetConfig(name="omol25", train=(str(path),), format="omol25")
    convert(Conversion(config, SOURCES["omol25"].about, tmp_path / "a.store"))
    about = read_manifest(tmp_path / "a.store").about
    assert (about.theory, about.licence) == ("ωB97M-V/def2-TZVPD, total energies", "CC-BY-4.0")


def test_a_folder_names_the_files_in_it(tmp_path: Path) -> None:
    written(tmp_path / "data0000.aselmdb", [crystal(-1.0)])
    with pytest.raises(ValueError, match=r"is a folder; name files, for example .*/\*\.aselmdb"):
        frames(tmp_path, "omat24")


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.aselmdb").write_text("nothing of the kind" * 1000)
    with pytest.raises(ValueError, match=r"a\.aselmdb cannot be read beyond its first 0 frames"):
        frames(tmp_path / "a.aselmdb", "omat24")
    path = written(tmp_path / "b.aselmdb", [crystal(-1.0), crystal(-2.0)])
    with lmdb.open(str(path), subdir=False) as file, file.begin(write=True) as writing:
        writing.put(b"2", b"not packed")
    with pytest.raises(ValueError, match=r"b\.aselmdb cannot be read beyond its first 1 frames"):
        frames(path, "omat24")
