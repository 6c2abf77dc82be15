"""A store in the memory of several ranks gives what its files give, to the bit, wherever a structure lies."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from potentials.quantities import OUTPUTS
from train.frame import Frame
from train.launch import Launch
from train.store import spread
from train.store.edge_counts import edge_counts
from train.store.manifest import Description, StoreError
from train.store.memory import open_store
from train.store.reader import Store
from train.store.writer import writing
from train.streamed import Streamed

SCRIPT = Path(__file__).with_name("read_by_many.py")
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
GEOMETRY = ["numbers", "positions", "cell", "pbc"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def fill(folder: Path, count: int = 120) -> Path:
    """Structures of 1 to 14 atoms in shards of some 20, of which the first have no forces and few have a dipole."""
    rng = np.random.default_rng(0)
    with writing(folder, Description(name="random"), [OUTPUTS["dipole"]], shard_atoms=150) as writer:
        for number in range(count):
            size = int(rng.integers(1, 15))
            geometry = {"positions": rng.normal(size=(size, 3)), "cell": rng.normal(size=(3, 3))}
            atoms = Atoms(numbers=rng.integers(1, 90, size), pbc=number % 3 == 0, **geometry)
            atoms.info["charge"] = float(number % 2)
            forces = rng.normal(size=(size, 3)) if number > 70 and number % 4 else None
            outputs = {"dipole": rng.normal(size=3)} if 30 < number < 50 else {}
            frame = Frame(atoms, f"file{number // 50}:{number}", float(rng.normal()), forces, None, outputs)
            writer.add(frame)
        writer.close_shard()
    assert len(Store(folder).shards) > 3
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path / "a.store")


@pytest.fixture
def run(store: Path, tmp_path: Path) -> Run:
    """Start so many ranks that do one thing with the store."""

    def started(ranks: int, *what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
        command = [MPIEXEC, "-n", str(ranks), sys.executable, str(SCRIPT), what[0], str(store), str(tmp_path)]
        return subprocess.run(
            [*command, *what[1:]],
            env={**clean, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return started


def found(done: subprocess.CompletedProcess[str], folder: Path, ranks: int) -> list[Any]:
    """What each rank wrote."""
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(ranks)]


def test_four_ranks_read_what_the_files_hold(run: Run, tmp_path: Path) -> None:
    """On one host, and on several: `hosts` deals the ranks out to so many, and then they fetch from each other."""
    cases: list[dict[str, Any]] = [
        {},
        {"width": 1},
        {"width": 2},
        {"hosts": 4},
        {"hosts": 2},
        {"hosts": 2, "width": 2},
        {"hosts": 3, "names": GEOMETRY},
        {"hosts": 4, "names": ["charge", "label.dipole"]},
        {"hosts": 4, "names": ["numbers"]},
        {"hosts": 2, "names": ["source"]},
        {"hosts": 4, "wanted": ["source", "label.forces"]},
    ]
    by_rank = [rank["found"] for rank in found(run(4, "reads", json.dumps(cases)), tmp_path, 4)]
    whole = by_rank[0][0][2]
    for number, case in enumerate(cases):
        parts, here, held, row = np.transpose([rank[number] for rank in by_rank])
        width, hosts = case.get("width", 4), case.get("hosts", 1)
        assert parts.tolist() == [width] * 4
        hosts_of = [[q % hosts for q in range(r - r % width, r - r % width + width)] for r in range(4)]
        assert here.tolist() == [hosts_of[r].count(r % hosts) for r in range(4)]
        if "names" not in case:
            # parts are alike to a structure: at most 14 atoms, and rows of the structure itself
            assert np.abs(held - whole * here / parts).max() <= 40 * row[0] * here.max()
    assert max(rank[8][2] for rank in by_rank) < whole / 100


@pytest.mark.slow
def test_three_ranks(run: Run, tmp_path: Path) -> None:
    cases = [{}, {"width": 1}, {"hosts": 2}, {"hosts": 3}]
    found(run(3, "reads", json.dumps(cases)), tmp_path, 3)


def test_between_hosts_by_the_network(run: Run, tmp_path: Path) -> None:
    """MPICH is told that nobody is on its host: what is fetched goes through sockets."""
    cases = [{}, {"width": 1}, {"names": GEOMETRY}]
    ranks = found(run(2, "reads", json.dumps(cases), MPIR_CVAR_NOLOCAL="1"), tmp_path, 2)
    assert [rank["found"][0][:2] for rank in ranks] == [[2, 1], [2, 1]]


def test_reading_beside_computing(run: Run, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    found(run(2, "beside", port), tmp_path, 2)


def test_refusals_are_the_same_on_all_ranks(run: Run, tmp_path: Path) -> None:
    for rank in found(run(2, "refusals"), tmp_path, 2):
        wide, none, large, negative, unkept, closed = rank["said"]
        assert wide == "width is 3, and the 2 ranks cannot be cut into groups of that; choose 1, 2"
        assert none.startswith("width is 0")
        assert large.startswith("IndexError")
        assert large.endswith("has structures 0 to 119; 1000000 was asked for")
        assert negative.endswith("-1 was asked for")
        assert unkept.endswith("is not kept in memory; open the store with it among names")
        assert closed.endswith("is closed; open it again to read from it")


def test_what_one_rank_finds_wrong_all_are_told(run: Run, store: Path, tmp_path: Path) -> None:
    path = sorted(store.glob("shard-*"))[-1]
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    for rank in found(run(3, "damaged"), tmp_path, 3):
        shard, folder = rank["said"]
        assert shard.startswith(f"{path}: its content is not what was written (checksum)")
        assert folder.startswith(f"{store / 'nowhere'} is no store")


@pytest.mark.parametrize(("how", "said"), [("killed", "Killed (signal 9)"), ("raised", "this one has had enough")])
def test_a_rank_that_is_lost_ends_the_run(how: str, said: str, run: Run) -> None:
    done = run(2, "lost", how)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_mpi_for_one_thread_at_a_time(run: Run, tmp_path: Path) -> None:
    done = run(2, "serialized", MPI4PY_RC_THREAD_LEVEL="serialized")
    for rank in found(done, tmp_path, 2):
        within, between = rank["said"]
        assert within == "read"
        assert "started without MPI_THREAD_MULTIPLE" in between


def test_alone(store: Path) -> None:
    """One process needs no MPI."""
    files = Store(store)
    loaded: list[int] = []
    with open_store(store, in_memory=True, verify=True, progress=lambda _, done, __: loaded.append(done)) as memory:
        indices = np.random.default_rng(3).integers(0, len(files), 300)
        for some in (indices, indices[:5], []):
            one, other = memory.read(some), files.read(some)
            assert one.sources == other.sources
            for name, array in other.arrays.items():
                np.testing.assert_array_equal(one.arrays[name], array)
        np.testing.assert_array_equal(memory.sizes(), files.sizes())
        np.testing.assert_array_equal(memory.sizes(indices), files.sizes(indices))
    assert loaded[-1] == len(files)
    with pytest.raises(ValueError, match="width is 2, and the 1 ranks cannot be cut into groups of that; choose 1"):
        open_store(store, in_memory=True, width=2)
    with pytest.raises(ValueError, match="host is -1; it must be 0 or more"):
        open_store(store, in_memory=True, host=-1)


def test_training_streams_from_either(store: Path) -> None:
    with open_store(store, in_memory=True) as memory, open_store(store, in_memory=False) as files:
        one, other = (Streamed(opened, edge_counts(opened, 1.5), 1.5, 0) for opened in (memory, files))
        numbers = np.random.default_rng(5).integers(0, len(files), 40)
        np.testing.assert_array_equal(one.sizes(numbers), other.sizes(numbers))
        mine, its = one.batch(numbers), other.batch(numbers)
    assert torch.equal(mine.graph.positions, its.graph.positions)
    assert torch.equal(mine.graph.edge_index, its.graph.edge_index)
    assert mine.labels.keys() == its.labels.keys()
    for name, label in its.labels.items():
        assert torch.equal(mine.labels[name], label)
        assert torch.equal(mine.known[name], its.known[name])


def test_from_files(store: Path) -> None:
    with open_store(store, in_memory=False, names=GEOMETRY, verify=True) as files:
        assert isinstance(files, Store)
    with pytest.raises(ValueError, match="width and host are of stores in memory; leave them out"):
        open_store(store, in_memory=False, width=2)
    for in_memory in (True, False):
        with pytest.raises(ValueError, match=r"has no array 'label\.gap'; it has cell, pbc, .*, label\.dipole"):
            open_store(store, in_memory=in_memory, names=["numbers", "label.gap"])
    path = sorted(store.glob("shard-*"))[-1]
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"shard-.*: its content is not what was written"):
        open_store(store, in_memory=False, verify=True)
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        open_store(store, in_memory=True)


def test_without_mpi(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "find_launch", lambda: Launch("torchrun", 0, 2))
    with pytest.raises(ValueError, match=r"torchrun started 2 processes and MPI knows of 1: .* started by mpiexec"):
        open_store(store, in_memory=True)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ValueError, match=r"by MPI: install the extra mpi \(pip install 'gfm-ase\[mpi\]'\)"):
        open_store(store, in_memory=True)


def test_too_little_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert spread._too_little(1) is None
    with pytest.raises(StoreError, match=r"shm of a host has .* GB free, and its part of the store takes 1000000"):
        spread.Ranks().agree(spread._too_little(10**15))
    monkeypatch.setattr(spread, "SHARED_FOLDER", tmp_path / "nowhere")
    assert spread._too_little(10**15) is None
