"""The demo's two data sets, built from nothing: `molecules_gfn2` (GFN2-xTB) and `metals_emt` (ASE's EMT).

How the splits are kept apart: each split has walks of its own (`structures.Walk`: one trajectory, or one
set of displacements, with its own random numbers), and all frames of a walk stay in its split. A test frame
is therefore never the neighbour in time of a training frame; a test alloy has its own occupation of the
lattice and its own strain. Molecules and the alloys' elements do occur in all splits: what is measured is
new geometries of known substances.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from examples.demo.structures import LEVELS, Level, Walk, run_walk

FRAMES_A_WALK = 4
SPLITS = ("train", "valid", "test")

RunAll = Callable[[Iterable[Walk]], Iterator[list[Atoms]]]


@dataclass(frozen=True)
class Sizes:
    """Frames of each split, for each of the data sets."""

    train: int = 800
    valid: int = 80
    test: int = 120

    def __post_init__(self) -> None:
        for split in SPLITS:
            if getattr(self, split) < 1:
                raise ValueError(f"The split {split!r} is given {getattr(self, split)} frames; give it 1 or more.")


DEFAULT_SIZES = Sizes()


@dataclass(frozen=True)
class DataSet:
    """A data set on disk: one extxyz file a split, and the frames lost where no calculation converged."""

    name: str
    train: Path
    valid: Path
    test: Path
    dropped: int


def build(
    out: Path,
    sizes: Sizes = DEFAULT_SIZES,
    *,
    seed: int = 0,
    processes: int = 2,
    console: Console | None = None,
) -> dict[str, DataSet]:
    """Build both data sets in the folder `out`, with a progress bar each, and return them by name.

    The files are `<out>/<name>_<split>.extxyz`. ASE reads their energy (eV), forces (eV/Å) and, for the
    metals, stress (eV/Å³) back into each frame's calculator; `info` names each frame's group (its walk),
    parent and motion. The same `sizes` and `seed` give the same files, whatever `processes` is.

    Raises ValueError when the seed or `processes` is out of range, when tblite is missing, or when no
    calculation of a split converges.
    """
    if seed < 0:
        raise ValueError(f"The seed of the data sets is {seed}; give 0 or more.")
    if processes < 1:
        raise ValueError(f"The data sets cannot be built by {processes} processes; give 1 or more.")
    out.mkdir(parents=True, exist_ok=True)
    with workers(processes) as run_all, progress_bars(console) as progress:
        plans = {name: plan(level, sizes, seed) for name, level in LEVELS.items()}
        bars = {name: progress.add_task(name, total=sum(w.frames for w in plans[name])) for name in plans}
        built = {}
        for name, walks in plans.items():
            frames: dict[str, list[Atoms]] = {split: [] for split in SPLITS}
            for walk, labelled in zip(walks, run_all(walks), strict=True):
                frames[walk.split] += labelled
                progress.advance(bars[name], walk.frames)
            built[name] = save(out, name, frames, planned=sum(w.frames for w in walks))
    return built


def plan(level: Level, sizes: Sizes, seed: int) -> list[Walk]:
    """All walks of a data set: the parents in turn, another motion at each turn, a seed for each walk."""
    walks = []
    for i_split, split in enumerate(SPLITS):
        level_seed = (seed, list(LEVELS).index(level.name), i_split)
        parents = np.random.default_rng(level_seed).permutation(level.parents).tolist()
        size = getattr(sizes, split)
        for index, start in enumerate(range(0, size, FRAMES_A_WALK)):
            turn, place = divmod(index, len(parents))
            walks.append(
                Walk(
                    level=level.name,
                    split=split,
                    index=index,
                    parent=parents[place],
                    motion=level.motions[(turn + place) % len(level.motions)],
                    frames=min(FRAMES_A_WALK, size - start),
                    seed=(*level_seed, index),
                )
            )
    return walks


def save(out: Path, name: str, frames: dict[str, list[Atoms]], *, planned: int) -> DataSet:
    """Write one extxyz file a split, each beside its final name first: no file is ever there by half."""
    for split in SPLITS:
        if not frames[split]:
            raise ValueError(f"No calculation of {name}'s split {split!r} converged; take another seed or more frames.")
    paths = {split: out / f"{name}_{split}.extxyz" for split in SPLITS}
    for split, path in paths.items():
        beside = path.with_name(f".{path.name}.part")
        ase.io.write(beside, frames[split], format="extxyz")
        beside.replace(path)
    return DataSet(name, **paths, dropped=planned - sum(map(len, frames.values())))


@contextmanager
def workers(processes: int) -> Iterator[RunAll]:
    """Give a function that runs walks in a pool of processes, and hands their frames back in order."""
    # Spawned, not forked: the progress bar's thread and the libraries' thread pools do not survive a fork.
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=use_one_thread) as pool:
        try:
            yield lambda walks: pool.map(run_walk, walks, chunksize=4)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # on Ctrl-C: now, not after the last walk
            raise


def use_one_thread() -> None:
    """Bound OpenMP before tblite is loaded: its threads add up forces in an order that is not repeatable."""
    os.environ["OMP_NUM_THREADS"] = "1"


def progress_bars(console: Console | None) -> Progress:
    """One line a data set: its name, the bar, the frames done and the time left."""
    return Progress(
        TextColumn("labelling {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
