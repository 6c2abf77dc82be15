"""HydraGNN's ADIOS2 files, written here as its AdiosWriter writes them."""

import sys
from pathlib import Path
from typing import Any

import adios2.bindings as ad2
import numpy as np
import pytest
from numpy.typing import NDArray

from potentials.quantities import OUTPUTS
from train.config import DatasetConfig
from train.frame import Frame
from train.reading import read_frames
from train.sources import adios
from train.sources.registry import SOURCES
from train.store.convert import Conversion, convert
from train.store.manifest import read_manifest

Array = NDArray[Any]
RNG = np.random.default_rng(5)
SIZES = (3, 1, 4, 2)
COEFFICIENTS = RNG.normal(size=118) * 100


def written(path: Path, groups: dict[str, list[dict[str, Array]]], *, engine: str = "BP5", **attributes: Any) -> Path:
    """One variable a key, joined along the dimension that varies; counts and offsets beside it."""
    system = ad2.ADIOS()
    declared = system.DeclareIO(str(path))
    declared.SetEngine(engine)
    writer = declared.Open(str(path), ad2.Mode.Write)
    for group, structures in groups.items():
        declared.DefineAttribute(f"{group}/ndata", np.array(len(structures)))
        keys = sorted(structures[0])
        declared.DefineAttribute(f"{group}/keys", keys)
        for key in keys:
            values = [structure[key] for structure in structures]
            shapes = np.array([value.shape for value in values])
            varying = np.flatnonzero(shapes.min(axis=0) != shapes.max(axis=0))
            dimension = int(varying[0]) if len(varying) else 0
            counts = np.array([value.shape[dimension] for value in values])
            offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
            joined = np.ascontiguousarray(np.concatenate(values, axis=dimension))
            for name, array in (("", joined), ("/variable_count", counts), ("/variable_offset", offsets)):
                variable = declared.DefineVariable(
                    f"{group}/{key}{name}", array, array.shape, [0] * array.ndim, array.shape, ad2.ConstantDims
                )
                writer.Put(variable, array, ad2.Mode.Sync)
            declared.DefineAttribute(f"{group}/{key}/variable_dim", np.array(dimension))
    declared.DefineAttribute("total_ndata", np.array(sum(map(len, groups.values()))))
    for name, value in attributes.items():
        declared.DefineAttribute(name, value)
    writer.Close()
    return path


def structure(atoms: int, number: int) -> dict[str, Array]:
    """The fields that HydraGNN's examples give to a graph; odd ones are charged molecules, even ones crystals."""
    numbers = np.array([8, 1, 6, 79][:atoms], dtype=np.float32)[:, None]
    places = (RNG.normal(size=(atoms, 3)) * 3).astype(np.float32)
    forces = RNG.normal(size=(atoms, 3)).astype(np.float32)
    energy, crystal = np.array([-10.0 * atoms - number], dtype=np.float32), number % 2 == 0
    return {
        "natoms": np.array([atoms], dtype=np.int32),
        "atomic_numbers": numbers,
        "pos": places,
        "x": np.concatenate([numbers, places, forces], axis=1),
        "cell": (np.diag([9.0, 8.0, 7.0]) if crystal else np.eye(3)).astype(np.float32),
        "pbc": np.full(3, int(crystal), dtype=np.int32),
        "energy": energy,
        "energy_per_atom": energy / atoms,
        "y": energy,
        "forces": forces,
        "graph_attr": np.array([0, 0] if crystal else [-1, 2], dtype=np.float32),
        "edge_index": np.zeros((2, 2 * atoms), dtype=np.int64),
        "edge_shifts": np.zeros((2 * atoms, 3), dtype=np.float32),
        "chemical_composition": np.zeros((118, 1), dtype=np.float32),
    }


STRUCTURES = [structure(atoms, number) for number, atoms in enumerate(SIZES)]
GROUPS = {"trainset": STRUCTURES[:2], "valset": STRUCTURES[2:3], "testset": STRUCTURES[3:]}


def frames(path: Path, **settings: Any) -> list[Frame]:
    config = DatasetConfig(name="a", train=(str(path),), format="hydragnn", **settings)
    return read_frames(config, "train", outputs=list(OUTPUTS.values()))


@pytest.fixture
def bp(tmp_path: Path) -> Path:
    return written(
        tmp_path / "OC2020.bp", GROUPS, dataset_name="oc2020", pna_deg=np.arange(30), minmax_graph_feature=np.eye(2)
    )


def test_all_groups(bp: Path) -> None:
    found = frames(bp)
    names = ["trainset/0", "trainset/1", "valset/0", "testset/0"]
    assert [frame.source for frame in found] == [f"{bp}:{name}" for name in names]
    for number, (frame, given) in enumerate(zip(found, STRUCTURES, strict=True)):
        crystal = number % 2 == 0
        assert frame.energy == -10.0 * SIZES[number] - number
        np.testing.assert_array_equal(frame.forces, given["forces"])
        np.testing.assert_array_equal(frame.atoms.positions, given["pos"])
        np.testing.assert_array_equal(frame.atoms.cell.array, given["cell"])
        assert frame.atoms.numbers.tolist() == [8, 1, 6, 79][: SIZES[number]]
        assert frame.atoms.pbc.tolist() == [crystal] * 3
        assert (frame.atoms.info["charge"], frame.atoms.info["spin"]) == ((0.0, 0) if crystal else (-1.0, 1.0))


@pytest.mark.parametrize("engine", ["BP3", "BP4"])
def test_files_of_older_versions_of_adios2(engine: str, tmp_path: Path) -> None:
    """BP4, which was what it wrote before 2.9, is a folder as well; BP3 is a file."""
    path = written(tmp_path / "a.bp", GROUPS, engine=engine)
    assert path.is_file() == (engine == "BP3")
    assert [frame.energy for frame in frames(path)] == [-30, -11, -42, -23]
    assert [frame.energy for frame in frames(path / "valset")] == [-42]


def test_one_group_and_several_reads(bp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is named behind the file. HydraGNN's first examples wrote no cell, and numbers in x alone."""
    assert [frame.source for frame in frames(bp / "valset")] == [f"{bp / 'valset'}:0"]
    config = DatasetConfig(
        name="a", train=(str(bp / "trainset"),), valid=(str(bp / "valset"),), format="hydragnn", max_force=1e9
    )
    assert [len(read_frames(config, split)) for split in ("train", "valid")] == [2, 1]
    kept = ("x", "pos", "energy", "forces", "edge_index")
    old = [{key: one[key] for key in kept} for one in STRUCTURES]
    path = written(bp.parent / "old.bp", {"trainset": old})
    for at_once in (1, 3, 1024):
        monkeypatch.setattr(adios, "AT_ONCE", at_once)
        found = frames(path)
        assert [len(frame.atoms) for frame in found] == list(SIZES)
        np.testing.assert_array_equal(found[2].forces, STRUCTURES[2]["forces"])
        assert not any(frame.atoms.pbc.any() for frame in found)
        assert found[1].energy == -11.0


@pytest.mark.parametrize("which", ["energy", "energy_per_atom"])
def test_a_regression_is_put_back(which: str, tmp_path: Path) -> None:
    """HydraGNN takes coefficients · counts off the energy, or coefficients · shares off the energy per atom."""
    changed = []
    for one in STRUCTURES:
        counts = np.bincount(one["atomic_numbers"].ravel().astype(int), minlength=119)[1:]
        shares = counts if which == "energy" else counts / counts.sum()
        changed.append({**one, which: (one[which] - shares @ COEFFICIENTS).astype(np.float32)})
    path = written(tmp_path / "a.bp", {"trainset": changed}, energy_linear_regression_coeff=COEFFICIENTS)
    assert [frame.energy for frame in frames(path)] == pytest.approx([-30, -11, -42, -23], abs=1e-4)
    alone = [{key: value for key, value in one.items() if key == which or "energy" not in key} for one in changed]
    path = written(tmp_path / "b.bp", {"trainset": alone}, energy_linear_regression_coeff=COEFFICIENTS)
    assert [frame.energy for frame in frames(path)] == pytest.approx([-30, -11, -42, -23], abs=1e-3)


def test_what_contradicts_itself_is_named(bp: Path) -> None:
    wrong = [{**STRUCTURES[0], "energy_per_atom": np.array([-5.0], dtype=np.float32)}]
    path = written(bp.parent / "wrong.bp", {"trainset": wrong})
    with pytest.raises(
        ValueError, match=r"wrong\.bp.*energy -30\.0 eV and energy_per_atom -5\.0 eV of 3 atoms contradict"
    ):
        frames(path)
    path = written(bp.parent / "state.bp", {"trainset": [{**STRUCTURES[0], "graph_attr": np.ones(3)}]})
    with pytest.raises(ValueError, match=r"state\.bp.*graph_attr has 3 numbers; it must be charge and multiplicity"):
        frames(path)
    with pytest.raises(
        ValueError, match=r"OC2020\.bp/other.*it has no group other; there is trainset, valset, testset"
    ):
        frames(bp / "other")


def test_what_is_no_file_of_hydragnn(bp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = written(bp.parent / "empty.bp", {})
    with pytest.raises(ValueError, match=r"empty\.bp.*it has no group with the attribute ndata"):
        frames(empty)
    (bp.parent / "text.bp").write_text("nothing of the kind")
    with pytest.raises(
        ValueError, match=r"text\.bp cannot be read beyond its first 0 frames: adios2 cannot open it: <"
    ):
        frames(bp.parent / "text.bp")
    data = bp / "data.0"
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    says = r"OC2020\.bp.*it has \d+ bytes of data of the \d+ that its index tells; it is not whole"
    with pytest.raises(ValueError, match=says):
        frames(bp)
    with pytest.raises(ValueError, match=r"none\.bp is no file"):
        frames(bp.parent / "none.bp")
    with pytest.raises(ValueError, match=r'\.bp does not say what is in it; give format = "hydragnn"'):
        read_frames(DatasetConfig(name="a", train=(str(bp),)), "train")
    monkeypatch.setitem(sys.modules, "adios2", None)
    with pytest.raises(ValueError, match=r"OC2020\.bp needs adios2: pip install 'gfm-ase\[adios\]'"):
        frames(bp)


def test_into_a_store(bp: Path) -> None:
    config = DatasetConfig(name="oc", train=(str(bp),), format="hydragnn")
    convert(Conversion(config, SOURCES["hydragnn"].about, bp.parent / "oc.store"))
    manifest = read_manifest(bp.parent / "oc.store")
    assert (manifest.structures, manifest.atoms, manifest.about.theory) == (4, 10, "")
    assert manifest.elements == {1: 3, 6: 2, 8: 4, 79: 1}
