"""What a backbone is: atoms and edge vectors in, one invariant feature vector per atom out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from potentials.edges import EdgeGeometry, Edges
from potentials.radial_networks import RadialNetwork
from potentials.radial_tables import FEWEST_KNOTS
from potentials.recomputed import Around, Recomputed

N_ELEMENTS = 119
"""Rows of an element embedding: atomic numbers up to 118, and 0."""

PositiveInt = Annotated[int, Field(gt=0)]


class BackboneConfig(BaseModel):
    """Settings that every backbone has.

    Attributes:
        cutoff: Å; edges end here and everything goes to zero smoothly.
        width: features per atom.
        depth: number of message-passing layers.
        radial_size: number of radial basis functions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cutoff: Annotated[float, Field(gt=0.5, le=20.0)] = 5.0
    width: PositiveInt = 64
    depth: PositiveInt = 3
    radial_size: Annotated[int, Field(ge=2)] = 20


class CountingConfig(BackboneConfig):
    """Settings of backbones whose first weights go by the number of neighbours that sums are over.

    Attributes:
        average_neighbours: of an atom; without it, training counts those of its structures.
    """

    average_neighbours: Annotated[float, Field(gt=0)] | None = None

    @property
    def neighbours(self) -> float:
        """The number, or that of a dense crystal at 5 Å where nobody has counted."""
        return 40.0 if self.average_neighbours is None else self.average_neighbours


@dataclass(frozen=True)
class AtomInputs:
    """What a backbone is told of the atoms themselves; N atoms, G structures.

    Attributes:
        numbers: [N] atomic numbers.
        graph_index: [N] structure of each atom, ascending.
        starts: [G + 1] first atom of each structure.
        context: [N, width] added to the element embedding (charge and spin of the structure), or none.
    """

    numbers: Tensor
    graph_index: Tensor
    starts: Tensor
    context: Tensor | None


class Backbone(nn.Module, ABC):
    """Message passing. A subclass keeps to the physics contract by construction where it can.

    - Geometry enters by the distances and directions of edges alone: translations and lattice shifts cannot matter,
      and the derivatives with respect to them give forces and stress at once.
    - Every message carries a factor that vanishes smoothly at the cutoff.
    - Sums over neighbours, never means over counts that jump.

    Attributes:
        width: invariant features per atom that come out.
        is_local: whether an atom sees that alone which chains of neighbours lead to; so parts far apart add up.
    """

    width: int
    is_local: bool = True
    _recomputed: dict[int, Recomputed] | None = None
    _around: Around = nullcontext

    @abstractmethod
    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """[N] atoms and where their neighbours are to [N, width] invariant features."""

    def recompute_layers(self, recompute: bool = True, around: Around = nullcontext) -> None:
        """Whether to keep nothing of a layer but what goes into it, and to compute it again in each pass back.

        Args:
            recompute: as `nn.Module.train` takes its mode.
            around: makes the context that layers are computed in, the second time as the first.
        """
        self._recomputed, self._around = {} if recompute else None, around

    def apart(self, function: Callable[..., Any], number: int, *arguments: Any) -> Any:
        """`function(number, *arguments)`, which is one layer; every subclass computes its layers by this.

        Args:
            function: what it reads beside weights and constants of the module must be among its arguments.
            number: of the layer.
            arguments: tensors, tuples of them, and constants.
        """
        if self._recomputed is None or not torch.is_grad_enabled():
            return function(number, *arguments)
        if number not in self._recomputed:
            self._recomputed[number] = Recomputed(self, partial(function, number), self._around)
        return self._recomputed[number](*arguments)

    def tabulated(self, fewest: int = FEWEST_KNOTS) -> Self | None:
        """The same with radial functions read from tables: faster, without second derivatives.

        Args:
            fewest: knots of a table.

        Returns:
            None where the architecture has no `RadialNetwork` to tabulate.

        Raises:
            ValueError: tables would not be near enough.
        """
        networks = {name: part for name, part in self.named_modules() if isinstance(part, RadialNetwork)}
        if not networks:
            return None
        tables = copy.deepcopy(self)
        for name, network in networks.items():
            tables.set_submodule(name, network.tabulated(fewest))
        return tables


def embed(embedding: nn.Embedding, atoms: AtomInputs) -> Tensor:
    """[N] to [N, F]: the learnt vector of each element, plus the context."""
    features: Tensor = embedding(atoms.numbers)
    return features if atoms.context is None else features + atoms.context
