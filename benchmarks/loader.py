"""Training from a store beside training from memory: `python -m benchmarks.loader --data FILE`.

The same run twice at the same time of day: structures held in memory with their graphs, and streamed from a store whose
pages the system is asked to forget (posix_fadvise) before every epoch. Then orders and batches of 10^8 structures.
"""

import argparse
import os
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from train.config import BatchConfig, RunConfig
from train.config_dataset import DatasetConfig
from train.data import load_datasets
from train.progress import Reporter
from train.run import Run
from train.sampling import BatchPlan
from train.shuffle import Order
from train.state import Tally
from train.store.convert import Conversion, convert
from train.store.manifest import Description
from train.structures import Held


def forget(folder: Path) -> None:
    """Ask the system to drop a store's files from its memory."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def run_of(store: Path, given: argparse.Namespace, *, in_memory: bool) -> Run:
    """A run on the store."""
    dataset = {"name": "a", "train": str(store), "in_memory": in_memory}
    tables: dict[str, Any] = {
        "output": str(store.parent / str(in_memory)),
        "compile": False,
        "potential": {"backbone": {"name": given.backbone, "width": given.width, "depth": given.depth}},
        "dataset": [dataset],
        "batch": {"max_atoms": given.max_atoms},
    }
    config = RunConfig.model_validate(tables)
    return Run(config, load_datasets(config), Reporter())


def speed(run: Run, structures: int) -> float:
    """Atoms a second of one epoch, or of as many structures of it."""
    position = run.position
    position.tally, position.batches = Tally(), []
    began = time.perf_counter()
    run.train_epoch(lambda: "enough" if position.tally.structures >= structures else None)
    position.epoch += 1
    return position.tally.atoms / (time.perf_counter() - began)


class Sizes(Held):
    """A hundred million structures by their sizes alone, mapped from a file."""

    def __init__(self, path: Path, count: int) -> None:
        super().__init__([])
        random = np.random.default_rng(0)
        whole = np.lib.format.open_memmap(path, mode="w+", dtype=np.int32, shape=(count, 2))
        for first in range(0, count, 10_000_000):
            rows = whole[first : first + 10_000_000]
            rows[:, 0] = np.exp(random.uniform(np.log(4), np.log(500), len(rows)))
            rows[:, 1] = rows[:, 0] * random.choice([12, 30, 60], len(rows))
        self._whole: NDArray[np.int32] = whole

    def __len__(self) -> int:
        return len(self._whole)

    def sizes(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """See `Structures`."""
        return self._whole[numbers].astype(np.int64)


def plan_speed(folder: Path, count: int) -> tuple[float, float]:
    """Structures a second that are put into batches, and seconds to the first batch."""
    sizes = Sizes(folder / "sizes.npy", count)
    plan = BatchPlan(sizes, Order([count], seed=0), BatchConfig(max_atoms=2000))
    began = time.perf_counter()
    batches = plan.stream(3, 0)
    first = next(batches)
    until_first = time.perf_counter() - began
    began = time.perf_counter()
    planned = sum(map(len, islice(batches, 2000))) + len(first)
    return planned / (time.perf_counter() - began), until_first


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="file of labelled structures")
    parser.add_argument("--key", action="append", default=[], help="of [[dataset]]: energy_key=REF_energy")
    parser.add_argument("--backbone", default="schnet")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--max-atoms", type=int, default=256)
    parser.add_argument("--structures", type=int, default=1000, help="of each timing")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--many", type=int, default=100_000_000)
    given = parser.parse_args()
    console = Console()
    console.print(describe())
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "a.store"
        keys = dict(key.split("=", 1) for key in given.key)
        config = DatasetConfig(name="a", train=(str(Path(given.data).absolute()),), on_bad="drop", **keys)
        convert(Conversion(config, Description(name="a"), store))
        held, streamed = (run_of(store, given, in_memory=choice) for choice in (True, False))
        found: dict[str, list[float]] = {"in memory": [], "streamed": []}
        for _ in range(given.repeats + 1):
            found["in memory"].append(speed(held, given.structures))
            forget(store)
            found["streamed"].append(speed(streamed, given.structures))
        table = Table("structures", "training atoms/s", "times in memory")
        medians = {name: statistics.median(values[1:]) for name, values in found.items()}
        for name, value in medians.items():
            table.add_row(name, f"{value:,.0f}", f"{value / medians['in memory']:.3f}")
        console.print(table)
        rate, until_first = plan_speed(Path(folder), given.many)
        console.print(f"{given.many:,} structures: first batch after {until_first:.2f} s, {rate:,.0f} a second batched")


if __name__ == "__main__":
    main()
