"""Which heads a process computes: all of them, or those of its data sets alone (multi-task parallelism).

With `parallel.tasks` the message passing is everybody's, and its gradients are summed over all processes; the branches
of a data set are computed, summed and stepped by the processes that have batches of it. The result is that of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from safetensors.torch import load, save
from torch import Tensor

from potentials.potential import Potential
from train.group import Group
from train.labelled import Labelled

BRANCH = re.compile(r"\.branches\.([^.]+)\.\d+\.")
"""Where the name of a weight has that of a head: `branches.branches.HEAD.0.weight`."""


class Division:
    """Nothing is divided: every process computes every head.

    Attributes:
        potential: what this process computes and steps; shares its weights with the whole one.
        own: indices of the data sets whose heads these are.
    """

    def __init__(self, potential: Potential, group: Group) -> None:
        self.potential, self.group = potential, group
        self.own = list(range(len(potential.heads)))

    def local(self, batch: Labelled) -> Labelled:
        """A batch as `potential` takes it."""
        return batch

    def groups(self, count: int) -> list[Group]:
        """Of each of so many parameters that are learnt the processes that compute it."""
        return [self.group] * count

    def sharers(self, count: int) -> list[tuple[Group, list[int]]]:
        """Processes that sum gradients among themselves, and the numbers of those that they sum.

        Args:
            count: of the gradients of this process.

        Returns:
            Heads first, as in a pass back, and data sets from the last to the first: an order that no two processes
            have otherwise.
        """
        groups = self.groups(count)
        return [
            (group, [number for number, other in enumerate(groups) if other is group])
            for group in reversed(dict.fromkeys(groups))
        ]

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Of the summed gradients of all weights, those of other processes included."""
        return torch.nn.utils.get_total_norm(list(gradients))

    def share(self, dataset: int) -> tuple[int, int] | None:
        """Which part of its structures, of how many, this process evaluates; none where it is none of its."""
        del dataset
        return self.group.rank, self.group.size

    def complete(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by name (weights, moments, ...) with those of heads that other processes have; on all processes."""
        return dict(tensors)


class Divided(Division):
    """Heads are divided.

    Args:
        potential: the whole one.
        group: all processes, all of which make their division at the same time.
        owners: of each data set the processes that have batches of it, in ascending order.
    """

    def __init__(self, potential: Potential, group: Group, owners: Sequence[Sequence[int]]) -> None:
        super().__init__(potential, group)
        self.owners = [list(ranks) for ranks in owners]
        parts = [group.part(ranks) for ranks in self.owners]
        self.own = [which for which, ranks in enumerate(self.owners) if group.rank in ranks]
        self.parts = {which: parts[which] for which in self.own}
        self.heads = potential.heads
        self.potential = sharing(potential, [self.heads[which] for which in self.own])
        self.row_D = torch.full((len(self.heads),), -1, dtype=torch.int64, device=potential.device)
        self.row_D[self.own] = torch.arange(len(self.own), device=potential.device)
        self._of = [self._dataset(name) for name, _ in self.potential.named_parameters()]

    def local(self, batch: Labelled) -> Labelled:
        """See `Division`."""
        return replace(batch, graph=replace(batch.graph, dataset=self.row_D[batch.graph.dataset]))

    def groups(self, count: int) -> list[Group]:
        """See `Division`."""
        assert count == len(self._of), "all weights of the heads of this process are learnt"
        return [self.group if of is None else self.parts[of] for of in self._of]

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """See `Division`."""
        squares = torch.stack([gradient.double().square().sum() for gradient in gradients])
        first = [of is None or self.owners[of][0] == self.group.rank for of in self._of]
        own = [one and of is not None for one, of in zip(first, self._of, strict=True)]
        of_heads = self.group.sum(squares[own].sum())
        return (squares[[of is None for of in self._of]].sum() + of_heads).sqrt().to(gradients[0].dtype)

    def share(self, dataset: int) -> tuple[int, int] | None:
        """See `Division`."""
        ranks = self.owners[dataset]
        return (ranks.index(self.group.rank), len(ranks)) if self.group.rank in ranks else None

    def complete(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Division`."""
        found = dict(tensors)
        for which, ranks in enumerate(self.owners):
            own = {name: value.contiguous() for name, value in tensors.items() if self._dataset(name) == which}
            told = self.group.broadcast(save(own) if self.group.rank == ranks[0] else b"", ranks[0])
            found |= {name: value.to(self.potential.device) for name, value in load(told).items()}
        return found

    def _dataset(self, name: str) -> int | None:
        """Whose head a weight belongs to; none of those that all have."""
        head = BRANCH.search(f".{name}")
        return self.heads.index(head[1]) if head and head[1] in self.heads else None


def sharing(potential: Potential, heads: Sequence[str]) -> Potential:
    """A potential of some of the branches, whose weights are those of the whole one, not copies."""
    part = potential.part(heads)
    whole = dict(potential.named_parameters())
    for name, _ in list(part.named_parameters()):
        module, _, own = name.rpartition(".")
        setattr(part.get_submodule(module), own, whole[name])
    return part
