"""The loss: masked sums over known labels, divided by global weights.

For each quantity, Σ_i w_i ρ(error_i) / Σ_i w_i over all known labels i of the whole batch, whatever their data set,
whatever the number of ranks: w_i is the weight of the data set. A mean per data set or per rank would weigh a label by
how many others happened to lie beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from train.config import TermConfig
from train.labelled import Labelled
from train.tasks import Task


@dataclass(frozen=True)
class Targets:
    """Labels of a batch and the weight of each, zero where it is unknown.

    Attributes:
        labels: for each task, [G, ...] or [N, ...] in the unit of its quantity.
        weights: for each task, [G] or [N].
        atoms: [G] number of atoms, for errors per atom.
    """

    labels: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    atoms: Tensor

    def tensors(self) -> list[Tensor]:
        """All of them in a row, as compiled functions take them."""
        return [*self.labels, *self.weights, self.atoms]

    @staticmethod
    def of(tensors: Sequence[Tensor]) -> Targets:
        """The inverse of `tensors`."""
        count = len(tensors) // 2
        return Targets(tuple(tensors[:count]), tuple(tensors[count:-1]), tensors[-1])


def make_targets(labelled: Labelled, dataset_weights: Sequence[float], tasks: Sequence[Task]) -> Targets:
    """Labels and weights of a batch; `dataset_weights` by the index of the data set."""
    graph = labelled.graph
    weight_D = torch.tensor(dataset_weights, dtype=torch.float64, device=graph.dataset.device)
    weight_G = weight_D[graph.dataset]
    weight_of = {"graph": weight_G, "atom": weight_G[graph.graph_index]}
    return Targets(
        tuple(labelled.labels[task.label] for task in tasks),
        tuple(weight_of[task.quantity.level] * labelled.known[task.label] for task in tasks),
        torch.bincount(graph.graph_index, minlength=graph.n_graphs).double(),
    )


def total_weights(targets: Targets, tasks: Sequence[Task]) -> Tensor:
    """[T] weight of all known numbers of each task: what is summed over ranks, and divided by."""
    sums = [weight.sum() * task.quantity.components for weight, task in zip(targets.weights, tasks, strict=True)]
    return torch.stack(sums)


def penalty(error: Tensor, term: TermConfig) -> Tensor:
    """ρ(error) for each number. Huber is |error| - δ/2 beyond δ, so that δ does not change a term's weight."""
    size = error.abs()
    if term.kind == "l1":
        return size
    if term.kind == "l2":
        return size.square()
    return torch.where(size < term.delta, size.square() / (2 * term.delta), size - term.delta / 2)


def loss_sums(results: Mapping[str, Tensor], targets: Targets, tasks: Sequence[Task]) -> Tensor:
    """[T] weighted sums of penalties, each times the weight of its term; 0 for a task of weight 0."""
    sums = []
    for task, label, weight in zip(tasks, targets.labels, targets.weights, strict=True):
        if not task.term.weight:  # its result need not be there
            sums.append(targets.atoms.new_zeros(()))
            continue
        weight_of_each = weight.view(-1, *[1] * (label.dim() - 1))
        # where a label is unknown the result may be no number at all (stress of a cell without volume): leave it out
        error = torch.where(weight_of_each > 0, results[task.name] - label, torch.zeros_like(label))
        if task.per_atom:
            error = error / targets.atoms.clamp(min=1)
        sums.append((weight_of_each * penalty(error, task.term)).sum() * task.term.weight)
    return torch.stack(sums)
