"""Some structures of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from potentials.graph import FIELDS, AtomicGraph


def part_of(graph: AtomicGraph, first: int, last: int) -> AtomicGraph:
    """Structures `first` to `last` of a batch."""
    if first == 0 and last == graph.n_graphs:
        return graph
    levels = {"graph": (first, last), "atom": _rows(graph.graph_index, first, last)}
    levels["edge"] = _rows(graph.graph_index[graph.edge_index[1]], first, last)
    values = {}
    for name, field in FIELDS.items():
        begin, end = levels[field.level]
        value = getattr(graph, name).narrow(field.axis, begin, end - begin)
        values[name] = value - levels[field.indexes][0] if field.indexes else value
    return AtomicGraph(**values)


def _rows(owner: Tensor, first: int, last: int) -> tuple[int, int]:
    """Where the rows of structures `first` to `last` begin and end, of an ascending [N]."""
    begin, end = torch.searchsorted(owner, torch.tensor([first, last], device=owner.device)).tolist()
    return begin, end
