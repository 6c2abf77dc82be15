"""Structures of a store that are read, and get their graphs, when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.batched_neighbours import batched_neighbours
from potentials.graph import AtomicGraph
from potentials.quantities import QUANTITIES, TRAINABLE, Quantity
from train.columns import Columns
from train.labelled import Labelled
from train.reading_outputs import labelled
from train.store.edge_counts import OF_GEOMETRIES
from train.store.interface import StoreLike
from train.store.manifest import StoreManifest
from train.store.reader import Records
from train.structures import Structures

Array = NDArray[Any]


def arrays_for(manifest: StoreManifest, outputs: Sequence[Quantity]) -> list[str]:
    """Names of all arrays of a store that structures are made of, and looked at by."""
    rows = [*(QUANTITIES[name] for name in TRAINABLE), *labelled(outputs)]
    return [*OF_GEOMETRIES, "charge", "spin", "digest", *_of_labels(rows, manifest.quantities)]


def _of_labels(rows: Sequence[Quantity], there: Collection[str]) -> list[str]:
    return [f"{kind}.{row.name}" for row in rows if row.name in there for kind in ("known", "label")]


class Streamed(Structures):
    """All structures of a store; in memory is what was asked for last, whatever the number of structures.

    Args:
        store: opened.
        edges: of its shards, see `train.store.edge_counts`.
        cutoff: Å.
        dataset: index of the head.
        outputs: of the potential, whose labels are wanted beside energy, forces and stress.
    """

    def __init__(
        self, store: StoreLike, edges: Sequence[Array], cutoff: float, dataset: int, outputs: Sequence[Quantity] = ()
    ) -> None:
        self.store, self.edges, self.cutoff, self.dataset = store, list(edges), cutoff, dataset
        self.rows = [*(QUANTITIES[name] for name in TRAINABLE), *labelled(outputs)]
        there = store.manifest.quantities
        self._labels = _of_labels(self.rows, there)

    def __len__(self) -> int:
        return len(self.store)

    def take(self, numbers: Array) -> list[Labelled]:
        """See `Structures`."""
        return [self.batch(numbers[place : place + 1]) for place in range(len(numbers))]

    def batch(self, numbers: Array) -> Labelled:
        """See `Structures`."""
        records = self.store.read(numbers, [*OF_GEOMETRIES, "charge", "spin", *self._labels])
        graph = self._graph(records)
        labels, known = self._labels_of(records)
        exact = {name: torch.from_numpy(value.astype(np.float64)) for name, value in labels.items()}
        masks = {name: torch.from_numpy(value) for name, value in known.items()}
        return Labelled(graph, exact, masks, tuple(self.source(int(number)) for number in numbers))

    def sizes(self, numbers: Array) -> Array:
        """See `Structures`."""
        edges = np.empty(len(numbers), dtype=np.int64)
        shards = np.searchsorted(self.store.first, numbers, side="right") - 1
        for shard in np.unique(shards).tolist():
            here = shards == shard
            edges[here] = self.edges[shard][numbers[here] - self.store.first[shard]]
        return np.column_stack([self.store.sizes(numbers), edges])

    def source(self, number: int) -> str:
        """See `Structures`."""
        return f"{self.store.folder}:{number}"

    def columns(self, numbers: Array) -> Columns:
        """See `Structures`."""
        records = self.store.read(numbers, ["numbers", "charge", "spin", "pbc", *self._labels])
        arrays, counts = records.arrays, np.diff(records.first_atom)
        labels, known = self._labels_of(records)
        repeating = arrays["pbc"].astype(bool).sum(1)
        of_all = (arrays["numbers"].astype(np.int64), arrays["charge"], arrays["spin"], repeating)
        return Columns(counts, *of_all, labels, known)

    def digests(self, numbers: Array) -> Array:
        """See `Structures`."""
        return self.store.read(numbers, ["digest"]).arrays["digest"]

    def fingerprint(self) -> str:
        """See `Structures`; of the shards as they are, labels that are not learnt included."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.store.manifest.shards).encode()).hexdigest()

    def close(self) -> None:
        """See `Structures`."""
        self.store.close()

    def _graph(self, records: Records) -> AtomicGraph:
        arrays, first = records.arrays, records.first_atom
        found = batched_neighbours(first, arrays["positions"], arrays["cell"], arrays["pbc"], self.cutoff)
        return AtomicGraph(
            positions=torch.from_numpy(arrays["positions"].astype(np.float64)),
            numbers=torch.from_numpy(arrays["numbers"].astype(np.int64)),
            graph_index=torch.from_numpy(np.repeat(np.arange(len(records)), np.diff(first))),
            cell=torch.from_numpy(arrays["cell"].astype(np.float64)),
            pbc=torch.from_numpy(arrays["pbc"].astype(bool)),
            edge_index=torch.from_numpy(found.edge_index),
            edge_shift=torch.from_numpy(found.shift),
            edge_reverse=torch.from_numpy(found.reverse),
            charge=torch.from_numpy(arrays["charge"].astype(np.float64)),
            spin=torch.from_numpy(arrays["spin"].astype(np.float64)),
            dataset=torch.full((len(records),), self.dataset, dtype=torch.int64),
        )

    def _labels_of(self, records: Records) -> tuple[dict[str, Array], dict[str, Array]]:
        """Labels and whether they are known, of structures or atoms."""
        arrays, counts = records.arrays, np.diff(records.first_atom)
        labels, known = {}, {}
        for row in self.rows:
            size = int(records.first_atom[-1]) if row.level == "atom" else len(counts)
            has = arrays.get(f"known.{row.name}", np.zeros(len(counts))).astype(bool)
            known[row.name] = np.repeat(has, counts) if row.level == "atom" else has
            labels[row.name] = arrays.get(f"label.{row.name}", np.zeros((size, *row.shape)))
        return labels, known
