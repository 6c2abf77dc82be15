"""Structures a second out of a store in files and in the memory of ranks: `python -m benchmarks.memory_store`."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.store_reads import NAMES, fill
from train.store.interface import StoreLike
from train.store.memory import open_store

AT_ONCE = (64, 512, 4096)
WAYS = {
    "files, cached": {"in_memory": False},
    "memory of the host": {"in_memory": True},
    "other hosts, by MPI's shared memory": {"in_memory": True, "apart": True},
    "other hosts, by sockets": {"in_memory": True},
}


def rates(store: StoreLike, others: range, at_once: int, repeats: int) -> list[float]:
    """Structures a second of this rank, which asks for those among `others`."""
    rng, found = np.random.default_rng(os.getpid()), []
    count = min(max(at_once, 8192), len(others))
    for _ in range(repeats + 1):  # the first one warms up
        order = others.start + rng.permutation(len(others))[:count]
        began = time.perf_counter()
        for first in range(0, count, at_once):
            store.read(order[first : first + at_once], NAMES)
        found.append(count / (time.perf_counter() - began))
    return found[1:]


def one_rank(folder: Path, way: str, repeats: int) -> None:
    """Measure, and have the first rank print what all found."""
    from mpi4py import MPI

    world, settings = MPI.COMM_WORLD, dict(WAYS[way])
    host = world.rank if settings.pop("apart", False) else None
    with open_store(folder, names=NAMES, host=host, **settings) as store:  # type: ignore[arg-type]
        # between hosts: what the other half of the ranks has, for what a rank has itself is read by loads
        half = len(store) // 2
        away = range(half, len(store)) if world.rank < world.size / 2 else range(half)
        everything = range(len(store)) if way in {"files, cached", "memory of the host"} else away
        for at_once in AT_ONCE:
            world.Barrier()
            median = np.array([statistics.median(rates(store, everything, at_once, repeats))])
            world.Allreduce(MPI.IN_PLACE, median)
            if world.rank == 0:
                print(json.dumps([at_once, float(median[0]) / world.size]), flush=True)
            world.Barrier()


def measured(folder: Path, way: str, given: argparse.Namespace) -> dict[int, float]:
    """By structures asked for at once."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    command = [mpiexec, "-n", str(given.ranks), sys.executable, "-m", "benchmarks.memory_store"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if way == "other hosts, by sockets":
        environment["MPIR_CVAR_NOLOCAL"] = "1"  # MPICH takes each rank for a host of its own
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "--store", str(folder), "--way", way, "--repeats", str(given.repeats)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return {int(at_once): rate for at_once, rate in map(json.loads, done.stdout.splitlines())}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.store:
        one_rank(given.store, given.way, given.repeats)
        return
    console = Console()
    console.print(describe())
    found: dict[str, list[dict[int, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "a.store"
        fill(store, given.structures, given.shards)
        for _ in range(given.rounds):  # in turns: a machine is not equally fast all the time
            for way in WAYS:
                found[way].append(measured(store, way, given))
    table = Table("structures/s of each rank, from", *(f"{at_once:,} at once" for at_once in AT_ONCE))
    for way, rounds in found.items():
        table.add_row(way, *(f"{statistics.median(one[at_once] for one in rounds):,.0f}" for at_once in AT_ONCE))
    console.print(f"{given.structures:,} structures with energies and forces, {given.ranks} ranks reading at once")
    console.print(table)


if __name__ == "__main__":
    main()
