"""`AtomicGraph`: the one thing that flows from the structures to the potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from potentials.quantities import Level

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class Field:
    """How one tensor of the graph batches.

    Attributes:
        level: one row per atom, edge or graph.
        indexes: level whose rows the values count, so that batching adds an offset.
        axis: the axis along which rows are stacked.
    """

    level: Level
    indexes: Level | None = None
    axis: int = 0


FIELDS: dict[str, Field] = {
    "positions": Field("atom"),
    "numbers": Field("atom"),
    "graph_index": Field("atom", indexes="graph"),
    "cell": Field("graph"),
    "pbc": Field("graph"),
    "edge_index": Field("edge", indexes="atom", axis=1),
    "edge_shift": Field("edge"),
    "edge_reverse": Field("edge", indexes="edge"),
    "charge": Field("graph"),
    "spin": Field("graph"),
    "dataset": Field("graph"),
}


@dataclass(frozen=True)
class AtomicGraph:
    """One or more structures as one graph; always batched, a single structure is a batch of one.

    N atoms, E directed edges, G graphs.

    Attributes:
        positions: [N, 3] float64, Å, not wrapped.
        numbers: [N] int64, atomic numbers.
        graph_index: [N] int64, ascending: the graph that each atom belongs to.
        cell: [G, 3, 3] float64, Å, rows are the lattice vectors as in ASE (zero rows where there is none).
        pbc: [G, 3] bool.
        edge_index: [2, E] int64; row 0 the neighbour, row 1 the centre (PyG's order), ascending by centre.
        edge_shift: [E, 3] float64, whole cells: neighbour image minus centre is
            ``positions[neighbour] - positions[centre] + edge_shift @ cell``.
        edge_reverse: [E] int64: the edge with neighbour and centre swapped and the shift negated.
        charge: [G] float64, total charge, units of e.
        spin: [G] float64, number of unpaired electrons.
        dataset: [G] int64, which branch of a multi-task potential answers.
    """

    positions: Tensor
    numbers: Tensor
    graph_index: Tensor
    cell: Tensor
    pbc: Tensor
    edge_index: Tensor
    edge_shift: Tensor
    edge_reverse: Tensor
    charge: Tensor
    spin: Tensor
    dataset: Tensor

    @property
    def n_atoms(self) -> int:
        """Number of atoms N, all graphs together."""
        return int(self.numbers.shape[0])

    @property
    def n_edges(self) -> int:
        """Number of directed edges E, all graphs together."""
        return int(self.edge_index.shape[1])

    @property
    def n_graphs(self) -> int:
        """Number of graphs G."""
        return int(self.cell.shape[0])

    def size(self, level: Level) -> int:
        """Rows at a level: atoms, edges or graphs."""
        return {"atom": self.n_atoms, "edge": self.n_edges, "graph": self.n_graphs}[level]

    def map(self, function: Callable[[Tensor], Tensor]) -> AtomicGraph:
        """The graph with `function` applied to every tensor."""
        return AtomicGraph(**{name: function(getattr(self, name)) for name in FIELDS})

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> AtomicGraph:
        """The graph on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> AtomicGraph:
        """The graph in page-locked memory, for asynchronous copies to a GPU."""
        return self.map(lambda tensor: tensor.pin_memory())

    def split(self) -> list[AtomicGraph]:
        """The graphs of the batch, one by one; `batch(graph.split())` is the graph."""
        graph_of_edge = self.graph_index[self.edge_index[1]]
        counts: dict[Level, list[int]] = {
            "atom": torch.bincount(self.graph_index, minlength=self.n_graphs).tolist(),
            "edge": torch.bincount(graph_of_edge, minlength=self.n_graphs).tolist(),
            "graph": [1] * self.n_graphs,
        }
        parts = {name: getattr(self, name).split(counts[field.level], dim=field.axis) for name, field in FIELDS.items()}
        starts = {level: _starts(sizes) for level, sizes in counts.items()}
        return [
            AtomicGraph(
                **{
                    name: parts[name][index] - starts[field.indexes][index] if field.indexes else parts[name][index]
                    for name, field in FIELDS.items()
                }
            )
            for index in range(self.n_graphs)
        ]

    def to_pyg(self) -> Data:
        """The graph as a `torch_geometric.data.Data`, with PyG's names beside ours (pos, z, batch)."""
        from torch_geometric.data import Data

        extra = {name: getattr(self, name) for name in FIELDS if name not in {"positions", "numbers", "graph_index"}}
        return Data(pos=self.positions, z=self.numbers, batch=self.graph_index, num_nodes=self.n_atoms, **extra)

    @staticmethod
    def from_pyg(data: Data) -> AtomicGraph:
        """The graph from PyG `Data` as `to_pyg` makes it.

        Raises:
            ValueError: a field is missing, or edges are not sorted by centre.
        """
        aliases = {"positions": "pos", "numbers": "z", "graph_index": "batch"}
        missing = [aliases.get(name, name) for name in FIELDS if getattr(data, aliases.get(name, name), None) is None]
        if missing:
            raise ValueError(f"PyG data lacks {', '.join(missing)}; AtomicGraph.to_pyg() shows what is needed")
        graph = AtomicGraph(**{name: getattr(data, aliases.get(name, name)) for name in FIELDS})
        if graph.n_edges and bool((graph.edge_index[1].diff() < 0).any()):
            raise ValueError("edge_index of the PyG data is not sorted by its second row (the centre); sort it first")
        return graph


def _starts(sizes: Sequence[int]) -> list[int]:
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    return starts


def batch(graphs: Sequence[AtomicGraph]) -> AtomicGraph:
    """Several graphs as one, in their order.

    Raises:
        ValueError: no graph was given.
    """
    if not graphs:
        raise ValueError("batch() was given no graphs; it needs at least one")
    if len(graphs) == 1:
        return graphs[0]
    levels: tuple[Level, ...] = ("atom", "edge", "graph")
    starts = {level: _starts([graph.size(level) for graph in graphs]) for level in levels}
    joined = {}
    for name, field in FIELDS.items():
        values = [getattr(graph, name) for graph in graphs]
        if field.indexes:
            values = [value + start for value, start in zip(values, starts[field.indexes], strict=False)]
        joined[name] = torch.cat(values, dim=field.axis)
    return AtomicGraph(**joined)


assert [field.name for field in fields(AtomicGraph)] == list(FIELDS), "every tensor of the graph declares its level"
