"""OC20 and OC22 as they are published: LMDBs of pickled graphs, and extended XYZ with a text beside it."""

import copyreg
import io
import lzma
import os
import pickle
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch

from potentials.quantities import OUTPUTS
from train.config import DatasetConfig
from train.frame import Frame
from train.reading import read_frames
from train.sources.registry import SOURCES
from train.store.convert import Conversion, convert
from train.store.manifest import read_manifest

with warnings.catch_warnings():
    # PyG scripts some of its own classes as it is imported, which torch 2.13 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.data import Data

RNG = np.random.default_rng(11)
CELL = np.array([[8.0, 0.0, 0.0], [1.0, 7.0, 0.0], [0.0, 0.0, 20.0]])
PLACES = RNG.uniform(0, 6, size=(3, 4, 3))
FORCES = RNG.normal(size=(3, 4, 3))
NUMBERS = [29, 29, 8, 1]
ENERGIES = [-1.25, 0.5, 3.75]


def frames(path: Path, layout: str, **settings: Any) -> list[Frame]:
    config = DatasetConfig(name="a", train=(str(path),), format=layout, **settings)  # type: ignore[arg-type]
    return read_frames(config, "train", outputs=list(OUTPUTS.values()))


def graph(number: int, **fields: Any) -> Data:
    """What fairchem's AtomsToGraphs and preprocess_ef.py put into a graph; fields that are None are left out."""
    given = {
        "cell": torch.tensor(CELL).view(1, 3, 3).float(),
        "pos": torch.tensor(PLACES[number]).float(),
        "atomic_numbers": torch.Tensor(NUMBERS),
        "natoms": 4,
        "y": ENERGIES[number],
        "force": torch.Tensor(FORCES[number]),
        "fixed": torch.tensor([1.0, 0.0, 0.0, 0.0]),
        "tags": torch.LongTensor([0, 1, 2, 2]),
        "sid": 1234 + number,
        "fid": number,
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
        "cell_offsets": torch.zeros(2, 3, dtype=torch.long),
        **fields,
    }
    return Data(**{name: value for name, value in given.items() if value is not None})


def pickled(data: Data, *, pyg: int = 2) -> bytes:
    """As the version of PyTorch Geometric writes it; version 1 kept the fields in the object, None where not set."""
    if pyg == 2:
        return pickle.dumps(data, protocol=-1)
    state = {**dict.fromkeys(("x", "edge_index", "edge_attr", "y", "pos", "normal", "face")), **data.to_dict()}
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    pickler.dispatch_table = {**copyreg.dispatch_table, Data: lambda _: (copyreg.__newobj__, (Data,), state)}
    pickler.dump(data)
    return buffer.getvalue()


def database(path: Path, values: Iterable[bytes], *, length: int | None = None) -> Path:
    with lmdb.open(str(path), map_size=2**24, subdir=False) as file, file.begin(write=True) as writing:
        for number, value in enumerate(values):
            writing.put(f"{number}".encode("ascii"), value)
        if length is not None:
            writing.put(b"length", pickle.dumps(length, protocol=-1))
    return path


def same(found: list[Frame], path: Path) -> None:
    assert [frame.source for frame in found] == [f"{path}:{number}" for number in range(3)]
    for number, frame in enumerate(found):
        assert frame.energy == ENERGIES[number]
        assert frame.forces is not None
        np.testing.assert_array_equal(frame.forces, FORCES[number].astype(np.float32))
        np.testing.assert_array_equal(frame.atoms.positions, PLACES[number].astype(np.float32))
        np.testing.assert_array_equal(frame.atoms.cell.array, CELL)
        assert frame.atoms.numbers.tolist() == NUMBERS
        assert frame.atoms.get_tags().tolist() == [0, 1, 2, 2]
        assert frame.atoms.pbc.all()
        assert [list(one.index) for one in frame.atoms.constraints] == [[0]]


@pytest.mark.parametrize("pyg", [1, 2])
def test_oc20_lmdb_of_old_and_new_pyg(pyg: int, tmp_path: Path) -> None:
    path = database(tmp_path / "data.0000.lmdb", [pickled(graph(n), pyg=pyg) for n in range(3)], length=3)
    same(frames(path, "oc20"), path)


def test_oc20_lmdb_of_newer_fairchem(tmp_path: Path) -> None:
    """`energy` and `forces`, numbers of one byte, a numpy energy; no length, and edges made on the fly."""
    graphs = [
        graph(
            number,
            y=None,
            force=None,
            edge_index=None,
            cell_offsets=None,
            energy=np.float64(ENERGIES[number]),
            forces=torch.tensor(FORCES[number], dtype=torch.float32),
            atomic_numbers=torch.tensor(NUMBERS, dtype=torch.uint8),
            fixed=torch.tensor([1, 0, 0, 0], dtype=torch.int),
        )
        for number in range(3)
    ]
    path = database(tmp_path / "data.0000.lmdb", map(pickled, graphs))
    same(frames(path, "oc20"), path)


def oc22(number: int, **fields: Any) -> Data:
    return graph(number, edge_index=None, cell_offsets=None, oc22=1, nads=1, id=f"0_{number}", **fields)


def test_oc22_lmdbs_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Total energies as tensors; `length` once counted the structures of all files, and is passed over."""
    for name, numbers in (("data.0001.lmdb", [2]), ("data.0000.lmdb", [0, 1])):
        graphs = [oc22(number, y=torch.tensor([ENERGIES[number]], dtype=torch.float64)) for number in numbers]
        database(tmp_path / name, map(pickled, graphs), length=3)
    found = frames(tmp_path / "*.lmdb", "oc22")
    assert [frame.energy for frame in found] == ENERGIES
    assert [Path(frame.source).name for frame in found] == ["data.0000.lmdb:0", "data.0000.lmdb:1", "data.0001.lmdb:0"]


def test_a_test_split_has_structures_without_labels(tmp_path: Path) -> None:
    path = database(tmp_path / "a.lmdb", [pickled(graph(0)), pickled(graph(1, y=None, force=None))])
    first, second = frames(path, "oc20")
    assert first.energy == -1.25
    assert (second.energy, second.forces) == (None, None)


def test_one_data_set_is_not_taken_for_the_other(tmp_path: Path) -> None:
    database(tmp_path / "oc20.lmdb", [pickled(graph(0))])
    database(tmp_path / "oc22.lmdb", [pickled(oc22(0))])
    with pytest.raises(ValueError, match=r'oc20\.lmdb.*structure 0 is not of this data set; give format = "oc20"'):
        frames(tmp_path / "oc20.lmdb", "oc22")
    with pytest.raises(ValueError, match=r'oc22\.lmdb.*give format = "oc22", which has total energies'):
        frames(tmp_path / "oc22.lmdb", "oc20")
    with pytest.raises(ValueError, match=r"oc20\.lmdb.*it does not tell the reference of its energies"):
        frames(tmp_path / "oc20.lmdb", "oc20_total")
    with pytest.raises(ValueError, match=r'oc20\.lmdb.*\.lmdb does not say what is in it; give format = "oc20" or'):
        frames(tmp_path / "oc20.lmdb", "auto")


class Touch:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_a_malicious_lmdb_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = database(tmp_path / "a.lmdb", [pickled(graph(0)), pickled(graph(1, sid=Touch()))])
    with pytest.raises(ValueError, match=r"a\.lmdb cannot be read beyond its first 1 frames: .* wants posix\.system"):
        frames(path, "oc20")
    pickle.loads(pickled(graph(1, sid=Touch())))  # noqa: S301 - ours: it would have run
    assert (tmp_path / "ran").exists()


def test_broken_lmdbs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.lmdb").write_text("nothing of the kind" * 1000)
    with pytest.raises(ValueError, match=r"text\.lmdb cannot be read beyond its first 0 frames"):
        frames(tmp_path / "text.lmdb", "oc20")
    path = database(tmp_path / "half.lmdb", [pickled(graph(0)), pickled(graph(1))[:-200]])
    with pytest.raises(ValueError, match=r"half\.lmdb cannot be read beyond its first 1 frames: the pickle is broken"):
        frames(path, "oc20")
    database(tmp_path / "gap.lmdb", [pickled(graph(0))])
    with lmdb.open(str(tmp_path / "gap.lmdb"), subdir=False) as file, file.begin(write=True) as writing:
        writing.put(b"7", pickled(graph(1)))
    with pytest.raises(ValueError, match=r"gap\.lmdb.*it has 2 structures, but none under the key 1"):
        frames(tmp_path / "gap.lmdb", "oc20")
    database(tmp_path / "less.lmdb", [pickled(graph(0, pos=None, cell=None))])
    with pytest.raises(ValueError, match=r"less\.lmdb.*a structure has no cell; it has atomic_numbers, "):
        frames(tmp_path / "less.lmdb", "oc20")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ValueError, match=r"half\.lmdb needs lmdb: pip install 'gfm-ase\[lmdb\]'"):
        frames(path, "oc20")


def release(folder: Path, *, packed: bool) -> Path:
    """`0.extxyz` and `0.txt`, as the release has them: total energies, and references in the text."""
    lattice, lines = " ".join(map(str, CELL.reshape(-1))), []
    for number in range(3):
        lines += [
            "4",
            f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:move_mask:L:1:tags:I:1:forces:R:3'
            f' energy={ENERGIES[number] - 200.5} free_energy={ENERGIES[number] - 200.5} pbc="T T T"',
        ]
        for atom, (symbol, tag) in enumerate(zip(("Cu", "Cu", "O", "H"), (0, 1, 2, 2), strict=True)):
            place, force = (" ".join(f"{one:.8f}" for one in row[number, atom]) for row in (PLACES, FORCES))
            lines.append(f"{symbol} {place} {'T' if atom else 'F'} {tag} {force}")
    path = folder / "0.extxyz"
    path.write_text("\n".join(lines) + "\n")
    (folder / "0.txt").write_text("".join(f"random{1234 + n},frame{n},-200.5\n" for n in range(3)))
    if not packed:
        return path
    for name in ("0.extxyz", "0.txt"):
        with lzma.open(folder / f"{name}.xz", "wb") as file:
            file.write((folder / name).read_bytes())
        (folder / name).unlink()
    return folder / "0.extxyz.xz"


@pytest.mark.parametrize("packed", [False, True])
def test_the_release_of_oc20(packed: bool, tmp_path: Path) -> None:
    path = release(tmp_path, packed=packed)
    found, total = frames(path, "oc20"), frames(path, "oc20_total")
    assert [frame.energy for frame in found] == ENERGIES
    assert [frame.energy for frame in total] == [energy - 200.5 for energy in ENERGIES]
    assert found[1].source == f"{path}:1 (random1235 frame1)"
    for number, frame in enumerate(found):
        assert frame.forces is not None
        np.testing.assert_allclose(frame.forces, FORCES[number], atol=1e-8)  # also of the atom that is fixed
        assert frame.forces[0].any()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("random1,frame0,-1.0\nrandom1,frame1,-1.0\n", r"it and 0\.txt differ in length: one of them ends after 2"),
        ("random1,frame0,-1.0\n" * 4, r"it and 0\.txt differ in length: one of them ends after 3"),
        ("random1,frame0,-1.0\nrandom1,frame1\n" * 2, r"line 2 of 0\.txt is 'random1,frame1' instead of system, frame"),
        (None, r"there is no 0\.txt or 0\.txt\.xz beside it"),
    ],
)
def test_a_text_that_does_not_belong_to_the_frames(text: str | None, says: str, tmp_path: Path) -> None:
    path = release(tmp_path, packed=False)
    (tmp_path / "0.txt").unlink()
    if text is not None:
        (tmp_path / "0.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"0\.extxyz cannot be read.*{says}"):
        frames(path, "oc20")


def test_other_files_are_not_of_oc20(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json.*it is neither an \.lmdb nor an \.extxyz"):
        frames(tmp_path / "a.json", "oc20")


def test_oc22_in_a_store(tmp_path: Path) -> None:
    """Counts, what is left out, licence and theory are in the manifest."""
    wild = oc22(2, force=torch.full((4, 3), 300.0))
    broken = oc22(2, force=torch.full((4, 3), torch.nan), y=float("inf"))
    values = [pickled(one) for one in (oc22(0), oc22(1), wild, broken, oc22(0))]
    path = database(tmp_path / "data.0000.lmdb", values)
    config = DatasetConfig(name="oc22", train=(str(path),), format="oc22", max_force=50.0, on_bad="drop")
    convert(Conversion(config, SOURCES["oc22"].about, tmp_path / "oc22.store", "drop"))
    manifest = read_manifest(tmp_path / "oc22.store")
    assert (manifest.structures, manifest.atoms) == (2, 8)
    assert manifest.left_out == {"force above max_force": 1, "bad label": 1, "duplicate": 1}
    assert (manifest.about.licence, manifest.about.theory) == ("CC-BY-4.0", "PBE and PBE+U, total energies")
    assert manifest.quantities["energy"].known == 2
