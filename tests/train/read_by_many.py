"""What `test_memory_store.py` starts: ranks that read a store in memory, and compare it with its files."""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from train.store.interface import StoreLike
from train.store.memory import MemoryStore, open_store
from train.store.reader import Records, Store

WORLD = MPI.COMM_WORLD
SOME = ["positions", "known.forces", "label.forces", "charge"]


def assert_same(one: Records, other: Records) -> None:
    """Bit by bit."""
    assert one.sources == other.sources
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in {**one.arrays, "first_atom": one.first_atom}.items():
        expected = other.first_atom if name == "first_atom" else other.arrays[name]
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape), name
        assert array.tobytes() == expected.tobytes(), name


def compare(store: StoreLike, files: Store, names: list[str] | None, seed: int) -> None:
    """What one rank reads, at random, twice, in order and nothing at all; ranks read different structures."""
    rng = np.random.default_rng(1000 * seed + WORLD.rank)
    count = len(files)
    assert len(store) == count
    np.testing.assert_array_equal(store.sizes(), files.sizes())
    orders = [rng.integers(0, count, size) for size in (1, 7, 200)]
    for indices in (*orders, np.arange(count), np.arange(count)[::-1], [], [count - 1, 0, count - 1]):
        assert_same(store.read(indices, names), files.read(indices, names or [*store.all_names(), "source"]))
        np.testing.assert_array_equal(store.sizes(indices), files.sizes()[np.asarray(indices, dtype=int)])
    assert store.source(count // 2) == files.source(count // 2)


def reads(folder: Path, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """All cases, one after the other."""
    files, found = Store(folder), []
    for seed, case in enumerate(cases):
        names, wanted = case.get("names"), case.get("wanted", case.get("names"))
        host = WORLD.rank % case["hosts"] if "hosts" in case else None
        with open_store(
            folder, in_memory=True, names=names, width=case.get("width"), host=host, verify=seed == 0
        ) as store:
            assert isinstance(store, MemoryStore)
            compare(store, files, wanted, seed)
            ranks = store._ranks
            found.append([ranks.parts, len(ranks.here), store._rows.nbytes, store._layout.row_bytes])
    return {"found": found}


def refusals(folder: Path) -> dict[str, Any]:
    """What each rank is told."""
    said = []
    for width in (3, 0):
        try:
            open_store(folder, in_memory=True, width=width)
        except ValueError as error:
            said.append(str(error))
    with open_store(folder, in_memory=True, names=["numbers"]) as store:
        for ask in (lambda: store.read([0, 10**6]), lambda: store.read([-1]), lambda: store.read([0], ["positions"])):
            try:
                ask()
            except (IndexError, ValueError) as error:
                said.append(f"{type(error).__name__}: {error}")
    try:
        store.read([0])
    except ValueError as error:
        said.append(str(error))
    return {"said": said}


def damaged(folder: Path) -> dict[str, Any]:
    """A store that only the first rank finds damaged, or that only the last one does not see."""
    said = []
    for where in (folder, folder if WORLD.rank < WORLD.size - 1 else folder / "nowhere"):
        try:
            open_store(where, in_memory=True, verify=where == folder)
        except ValueError as error:
            said.append(str(error))
    return {"said": said}


def beside(folder: Path) -> dict[str, Any]:
    """A thread reads ahead while the main one computes and the processes sum by gloo, where none answers for MPI."""
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[4]}
    dist.init_process_group("gloo", rank=WORLD.rank, world_size=WORLD.size)
    import torch

    files = Store(folder)
    rng = np.random.default_rng(WORLD.rank)
    batches = [rng.integers(0, len(files), 64) for _ in range(20)]
    with open_store(folder, in_memory=True, names=SOME, host=WORLD.rank) as store:
        pool = ThreadPoolExecutor(1)
        waiting = [pool.submit(store.read, indices, SOME) for indices in batches]
        for indices, records in zip(batches, waiting, strict=True):
            assert_same(records.result(), files.read(indices, SOME))
            total = torch.ones(1000) @ torch.ones(1000, 10)
            dist.all_reduce(total)
            # the first computes for longer: the others wait for it in gloo, and it for what they hold
            time.sleep(0.01 if WORLD.rank == 0 else 0)
        pool.shutdown()
    dist.destroy_process_group()
    return {}


def lost(folder: Path, how: str) -> dict[str, Any]:
    """One rank is gone while the others read on."""
    with open_store(folder, in_memory=True, names=["numbers"], host=WORLD.rank) as store:
        while True:
            for _ in range(20):
                store.read(np.random.default_rng().integers(0, len(store), 50))
            if WORLD.rank == 1 and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif WORLD.rank == 1:
                raise ValueError("this one has had enough")


def serialized(folder: Path) -> dict[str, Any]:
    """MPI that was started for one thread at a time."""
    said = []
    for host in (0, WORLD.rank):
        try:
            with open_store(folder, in_memory=True, host=host) as store:
                store.read([0])
                said.append("read")
        except ValueError as error:
            said.append(str(error))
    return {"said": said}


def main(what: str, folder: Path, output: Path) -> None:
    """Do it, and write what each rank found."""
    given = sys.argv[4:]
    if what == "reads":
        done = reads(folder, json.loads(given[0]))
    elif what == "lost":
        done = lost(folder, given[0])
    else:
        done = {"refusals": refusals, "damaged": damaged, "beside": beside, "serialized": serialized}[what](folder)
    (output / f"{WORLD.rank}.json").write_text(json.dumps(done), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
