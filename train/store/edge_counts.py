"""How many edges the graph of each structure of a store has: counted once, kept beside the shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from potentials.batched_neighbours import batched_neighbours
from potentials.native.build import cache_folder
from potentials.neighbours import neighbour_list
from potentials.structures import Geometry
from train.group import ALONE, Group
from train.sieve import Progress
from train.store.interface import StoreLike
from train.store.manifest import ShardRecord

Array = NDArray[Any]

NO_GRAPH = -1
"""Stands for a structure that cannot have a graph: two atoms in one place, a direction that repeats by no vector."""

OF_GEOMETRIES = ("numbers", "positions", "cell", "pbc")
AT_ONCE = 1024


def edge_counts(store: StoreLike, cutoff: float, group: Group = ALONE, progress: Progress | None = None) -> list[Array]:
    """For each shard [S] directed edges of its structures, mapped into memory; `NO_GRAPH` where there is no graph.

    They are counted where they are not known yet, shard by shard, shared among the processes of a run, and kept in the
    folder of the store, or in the user's cache where that cannot be written to.

    Args:
        store: whose.
        cutoff: Å.
        group: processes that share the work.
        progress: told how many structures are done.
    """
    shards = list(enumerate(store.manifest.shards))
    for number, record in shards[group.rank :: group.size]:
        if kept_in(store.folder, record, cutoff) is not None:
            continue
        counts = np.concatenate([np.zeros(0, np.int32), *_counted(store, number, cutoff, progress)])
        _keep(store.folder, record, cutoff, counts.astype(np.int32))
    group.wait()
    found = []
    for _, record in shards:
        path = kept_in(store.folder, record, cutoff)
        assert path is not None, record
        found.append(np.load(path, mmap_mode="r"))
    return found


def kept_in(folder: Path, record: ShardRecord, cutoff: float) -> Path | None:
    """The file that has the counts of a shard, if there is one."""
    return next((path for path in _places(folder, record, cutoff) if path.exists()), None)


def _places(folder: Path, record: ShardRecord, cutoff: float) -> list[Path]:
    name = f"edges-{record.sha256[:16]}-{cutoff:g}A.npy"
    return [folder / name, cache_folder() / "edges" / name]


def _keep(folder: Path, record: ShardRecord, cutoff: float, counts: Array) -> None:
    beside_store, own = _places(folder, record, cutoff)
    try:
        _write(beside_store, counts)
    except OSError:
        own.parent.mkdir(parents=True, exist_ok=True)
        _write(own, counts)


def _write(path: Path, counts: Array) -> None:
    beside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")  # other runs may count the same shard now
    try:
        with beside.open("wb") as file:
            np.save(file, counts, allow_pickle=False)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _counted(store: StoreLike, shard: int, cutoff: float, progress: Progress | None) -> Iterator[Array]:
    begin, end = int(store.first[shard]), int(store.first[shard + 1])
    for first in range(begin, end, AT_ONCE):
        last = min(first + AT_ONCE, end)
        records = store.read(range(first, last), OF_GEOMETRIES)
        try:
            positions, cells, pbc = (records.arrays[name] for name in ("positions", "cell", "pbc"))
            yield np.diff(batched_neighbours(records.first_atom, positions, cells, pbc, cutoff).first_edge)
        except ValueError:
            yield np.array([_edges_of(records.geometry(number), cutoff) for number in range(len(records))])
        if progress:
            progress(f"counting edges of {store.folder.name}", last, len(store))


def _edges_of(geometry: Geometry, cutoff: float) -> int:
    try:
        return len(neighbour_list(geometry.positions, geometry.cell, geometry.pbc, cutoff).centre)
    except ValueError:
        return NO_GRAPH
