"""`Labelled`: structures with what is known about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potentials.graph import AtomicGraph, batch


@dataclass(frozen=True)
class Labelled:
    """One or more structures and their labels; N atoms, G structures.

    Attributes:
        graph: the structures.
        labels: energy [G] eV (total), forces [N, 3] eV/Å, stress [G, 3, 3] eV/Å³ and those of outputs in the shape and
            unit of the output; float64, 0 where unknown.
        known: energy [G], forces [N], stress [G], ...; bool, whether the label is one. Nothing else tells.
        source: for each structure where it comes from, `file:index`.
    """

    graph: AtomicGraph
    labels: dict[str, Tensor]
    known: dict[str, Tensor]
    source: tuple[str, ...]

    def map(self, function: Callable[[Tensor], Tensor]) -> Labelled:
        """The same with `function` applied to every tensor."""
        return Labelled(
            graph=self.graph.map(function),
            labels={name: function(label) for name, label in self.labels.items()},
            known={name: function(mask) for name, mask in self.known.items()},
            source=self.source,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Labelled:
        """The same on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Labelled:
        """The same in page-locked memory, for asynchronous copies to a GPU."""
        return self.map(lambda tensor: tensor.pin_memory())


def batch_labelled(structures: Sequence[Labelled]) -> Labelled:
    """Several as one, in their order.

    Raises:
        ValueError: none was given.
    """
    if not structures:
        raise ValueError("batch_labelled() was given no structures; it needs at least one")
    if len(structures) == 1:
        return structures[0]
    return Labelled(
        graph=batch([one.graph for one in structures]),
        labels={name: torch.cat([one.labels[name] for one in structures]) for name in structures[0].labels},
        known={name: torch.cat([one.known[name] for one in structures]) for name in structures[0].known},
        source=tuple(source for one in structures for source in one.source),
    )
