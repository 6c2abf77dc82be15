"""Structures of a store that are read, and get their graphs, when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.neighbours import neighbour_list
from potentials.quantities import QUANTITIES, TRAINABLE, Quantity
from potentials.structures import StructureState, graph_of
from train.columns import Columns
from train.labelled import Labelled
from train.reading_outputs import labelled
from train.store.edge_counts import OF_GEOMETRIES
from train.store.reader import Records, Store
from train.structures import Structures

Array = NDArray[Any]


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
        self, store: Store, edges: Sequence[Array], cutoff: float, dataset: int, outputs: Sequence[Quantity] = ()
    ) -> None:
        self.store, self.edges, self.cutoff, self.dataset = store, list(edges), cutoff, dataset
        self.rows = [*(QUANTITIES[name] for name in TRAINABLE), *labelled(outputs)]
        there = store.manifest.quantities
        self._labels = [f"{kind}.{row.name}" for row in self.rows if row.name in there for kind in ("known", "label")]

    def __len__(self) -> int:
        return len(self.store)

    def take(self, numbers: Array) -> list[Labelled]:
        """See `Structures`."""
        records = self.store.read(numbers, [*OF_GEOMETRIES, "charge", "spin", *self._labels])
        return [self._made(records, place, int(number)) for place, number in enumerate(numbers)]

    def sizes(self, numbers: Array) -> Array:
        """See `Structures`."""
        found = np.empty((len(numbers), 2), dtype=np.int64)
        shards = np.searchsorted(self.store.first, numbers, side="right") - 1
        for shard in np.unique(shards).tolist():
            here = shards == shard
            rows = numbers[here] - self.store.first[shard]
            first = self.store.shards[shard]["first_atom"]
            found[here] = np.column_stack([first[rows + 1] - first[rows], self.edges[shard][rows]])
        return found

    def source(self, number: int) -> str:
        """See `Structures`."""
        return f"{self.store.folder}:{number}"

    def columns(self, numbers: Array) -> Columns:
        """See `Structures`."""
        records = self.store.read(numbers, ["numbers", "charge", "spin", *self._labels])
        arrays, counts = records.arrays, np.diff(records.first_atom)
        labels, known = {}, {}
        for row in self.rows:
            size = len(arrays["numbers"]) if row.level == "atom" else len(counts)
            has = arrays.get(f"known.{row.name}", np.zeros(len(counts))).astype(bool)
            known[row.name] = np.repeat(has, counts) if row.level == "atom" else has
            labels[row.name] = arrays.get(f"label.{row.name}", np.zeros((size, *row.shape)))
        of_all = (arrays["numbers"].astype(np.int64), arrays["charge"], arrays["spin"])
        return Columns(counts, *of_all, labels, known)

    def digests(self, numbers: Array) -> Array:
        """See `Structures`."""
        return self.store.read(numbers, ["digest"]).arrays["digest"]

    def fingerprint(self) -> str:
        """See `Structures`; of the shards as they are, labels that are not learnt included."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.store.manifest.shards).encode()).hexdigest()

    def _made(self, records: Records, place: int, number: int) -> Labelled:
        geometry = records.geometry(place)
        pairs = neighbour_list(geometry.positions, geometry.cell, geometry.pbc, self.cutoff)
        arrays = records.arrays
        state = StructureState(float(arrays["charge"][place]), float(arrays["spin"][place]))
        graph = graph_of(geometry, pairs, state, self.dataset)
        labels, known = {}, {}
        for row in self.rows:
            size, name = graph.size(row.level), f"label.{row.name}"
            has = name in arrays and bool(arrays[f"known.{row.name}"][place])
            value = np.zeros((size, *row.shape))
            if has:
                rows = records.rows(place) if row.level == "atom" else slice(place, place + 1)
                value = arrays[name][rows].astype(np.float64)
            known[row.name], labels[row.name] = torch.full((size,), has), torch.from_numpy(value)
        return Labelled(graph, labels, known, (self.source(number),))
