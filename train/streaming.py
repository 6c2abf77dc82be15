"""Splits that are streamed from stores instead of being held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potentials.neighbours import neighbour_list
from train.config import RunConfig
from train.config_dataset import DatasetConfig, check_own_units
from train.config_paths import files
from train.group import Group
from train.reading_outputs import labelled
from train.sieve import Progress, Sieve
from train.store.edge_counts import NO_GRAPH, OF_GEOMETRIES, edge_counts
from train.store.frames import check_outputs
from train.store.manifest import is_store, read_manifest
from train.store.memory import open_store
from train.streamed import Streamed, arrays_for
from train.structures import Joined, Structures

Array = NDArray[Any]

HELD_ATOMS = 500_000
"""Atoms of a split up to which it is held in memory unless the run file says otherwise: about a gigabyte of graphs."""


def streams(config: DatasetConfig, split: str) -> bool:
    """Whether a split is streamed: if it comes from stores alone, and is large or asked to be.

    Raises:
        ValueError: it is asked to be, and comes from files.
    """
    if config.in_memory is True or not getattr(config, split):
        return False
    paths = files(getattr(config, split), Path(), f"data set {config.name!r}, {split}")
    others = [path for path in paths if not is_store(path)]
    if config.in_memory is not None and others:
        given = '"shared"' if config.in_memory else "false"
        raise ValueError(
            f"data set {config.name!r}: {others[0]} is no store, and in_memory = {given} streams from stores alone;"
            " make one of it with gfm-ase data convert, or leave in_memory out"
        )
    if others:
        return False
    return config.in_memory is not None or sum(read_manifest(path).atoms for path in paths) > HELD_ATOMS


def streamed(
    config: DatasetConfig,
    split: str,
    run: RunConfig,
    sieve: Sieve,
    told: tuple[int, Progress | None, Group],
) -> Structures:
    """The structures of a split that `streams`.

    Args:
        config, split: which.
        run: cutoff and outputs of its potential.
        sieve: counts the structures left out.
        told: index of the data set, progress, and the processes that share the work.

    Raises:
        ValueError: a store is damaged, has nothing to learn from, or a structure without a graph (unless `on_bad` is
            "drop").
    """
    index, progress, group = told
    cutoff, outputs = run.potential.backbone.cutoff, [output.quantity for output in run.potential.output]
    parts: list[Structures] = []
    for path in files(getattr(config, split), Path(), f"data set {config.name!r}, {split}"):
        check_own_units(config, f"{path} is a store")
        manifest = read_manifest(path)
        check_outputs(path, manifest, outputs)
        learnt = {"energy", *(row.name for row in labelled(outputs))}
        if learnt.isdisjoint(manifest.quantities):
            there = ", ".join(manifest.quantities) or "no labels"
            raise ValueError(f"data set {config.name!r}: {path} has no energies to learn from; there is {there}")
        names = arrays_for(manifest, outputs)
        store = open_store(path, in_memory=config.in_memory == "shared", names=names, progress=progress)
        whole = Streamed(store, edge_counts(store, cutoff, group, progress), cutoff, index, outputs)
        left_out = _left_out(whole, config, sieve)
        everything = np.arange(len(whole)) if len(left_out) else None
        parts.append(whole if everything is None else whole.part(np.delete(everything, left_out)))
    return parts[0] if len(parts) == 1 else Joined(parts)


def _left_out(whole: Streamed, config: DatasetConfig, sieve: Sieve) -> Array:
    """Numbers of the structures without a graph, and of those with a force above `max_force`."""
    found = [np.zeros(0, np.int64)]
    for numbers in whole.blocks():
        without = numbers[whole.sizes(numbers)[:, 1] == NO_GRAPH]
        for number in without.tolist():
            sieve.reject(whole.source(number), "bad structure", _why_no_graph(whole, number))
        found.append(without)
        if config.max_force is not None:
            columns = whole.columns(numbers)
            largest = np.maximum.reduceat(
                np.linalg.norm(columns.labels["forces"], axis=1), np.cumsum(columns.counts) - columns.counts
            )
            beyond = np.setdiff1d(numbers[largest > config.max_force], without)
            for number in beyond.tolist():
                why = f"a force is larger than {config.max_force} eV/Å"
                sieve.leave_out(whole.source(number), "force above max_force", why)
            found.append(beyond)
    return np.concatenate(found)


def _why_no_graph(whole: Streamed, number: int) -> str:
    records = whole.store.read([number], OF_GEOMETRIES)
    geometry = records.geometry(0)
    try:
        neighbour_list(geometry.positions, geometry.cell, geometry.pbc, whole.cutoff)
    except ValueError as error:
        return str(error)
    return "no graph could be made of it"
