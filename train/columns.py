"""`Columns`: elements and labels of many structures side by side, without positions or graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from train.geometry import geometry_digest
from train.labelled import Labelled

Array = NDArray[Any]

HASH_BYTES = 16


@dataclass(frozen=True)
class Columns:
    """S structures of N atoms together.

    Attributes:
        counts: [S] atoms of each.
        numbers: [N] atomic numbers.
        charge: [S] e.
        spin: [S] unpaired electrons.
        repeating: [S] directions that repeat.
        labels: [S, ...] or [N, ...] by name, zero where unknown; units as of `train.labelled.Labelled`.
        known: [S] or [N] by name, bool.
    """

    counts: Array
    numbers: Array
    charge: Array
    spin: Array
    repeating: Array
    labels: dict[str, Array]
    known: dict[str, Array]

    @staticmethod
    def of(structures: Sequence[Labelled]) -> Columns:
        """Those of structures in memory, of at least one."""
        graphs = [one.graph for one in structures]
        return Columns(
            counts=np.array([graph.n_atoms for graph in graphs], dtype=np.int64),
            numbers=np.concatenate([graph.numbers.numpy() for graph in graphs]),
            charge=np.array([graph.charge.item() for graph in graphs]),
            spin=np.array([graph.spin.item() for graph in graphs]),
            repeating=np.array([int(graph.pbc.sum()) for graph in graphs], dtype=np.int64),
            labels=_stacked([one.labels for one in structures]),
            known=_stacked([one.known for one in structures]),
        )

    @staticmethod
    def joined(parts: Sequence[Columns]) -> Columns:
        """Several, one after the other."""
        values: dict[str, Any] = {}
        for field in fields(Columns):
            own = [getattr(part, field.name) for part in parts]
            whole = own[0]
            if isinstance(whole, dict):
                values[field.name] = {name: np.concatenate([one[name] for one in own]) for name in whole}
            else:
                values[field.name] = np.concatenate(own)
        return Columns(**values)


def _stacked(values: Sequence[dict[str, Tensor]]) -> dict[str, Array]:
    return {name: np.concatenate([one[name].numpy() for one in values]) for name in values[0]}


def digest_of(structure: Labelled) -> bytes:
    """16 bytes of the geometry of a structure: those of a store are the same."""
    graph = structure.graph
    state = float(graph.charge[0]), float(graph.spin[0])
    places = graph.numbers.numpy(), graph.positions.numpy(), graph.cell.numpy(), graph.pbc.numpy()
    return geometry_digest(*places, state)[:HASH_BYTES]
