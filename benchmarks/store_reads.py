"""Structures a second out of a packed store, at random, cached: `python -m benchmarks.store_reads`."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from train.frame import Frame
from train.store.manifest import Description
from train.store.reader import Store
from train.store.writer import writing

NAMES = ("numbers", "positions", "cell", "pbc", "known.energy", "label.energy", "known.forces", "label.forces")


def fill(folder: Path, count: int, shards: int) -> int:
    """A store of structures of 4 to 60 atoms with energies and forces; its atoms."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(4, 61, count)
    with writing(folder, Description(name="random"), shard_atoms=int(sizes.sum() / shards) + 1) as writer:
        for number, size in enumerate(sizes):
            atoms = Atoms(numbers=rng.integers(1, 90, size), positions=rng.normal(size=(size, 3)), pbc=False)
            writer.add(Frame(atoms, f"random:{number}", 0.0, rng.normal(size=(size, 3)), None))
        writer.close_shard()
    return int(sizes.sum())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    console = Console()
    console.print(describe())
    table = Table("structures asked for at once", "structures/s", "MB/s")
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "a.store", given.structures, given.shards)
        store = Store(Path(folder) / "a.store")
        rng = np.random.default_rng(1)
        for at_once in (64, 512, 4096, 32_768):
            rates, sizes = [], []
            for _ in range(given.repeats + 1):  # the first one fills the cache
                order = rng.permutation(len(store))[: max(at_once, 32_768)]
                began, read = time.perf_counter(), 0
                for first in range(0, len(order), at_once):
                    records = store.read(order[first : first + at_once], NAMES)
                    read += sum(array.nbytes for array in records.arrays.values())
                seconds = time.perf_counter() - began
                rates.append(len(order) / seconds)
                sizes.append(read / seconds / 1e6)
            table.add_row(
                f"{at_once:,}", f"{statistics.median(rates[1:]):,.0f}", f"{statistics.median(sizes[1:]):,.0f}"
            )
    console.print(f"{given.structures:,} structures in {len(store.shards)} shards, energies and forces, float64")
    console.print(table)


if __name__ == "__main__":
    main()
