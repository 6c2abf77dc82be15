"""Errors of a potential on labelled structures, beside the trivial predictors it has to beat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from potentials.graph import AtomicGraph
from potentials.quantities import TRAINABLE, Quantity
from potentials.references import References
from train.config import LossConfig
from train.group import ALONE, Group
from train.labelled import Labelled, batch_labelled
from train.losses import loss_sums, make_targets, total_weights
from train.structures import Structures
from train.tasks import Task, tasks_of

Evaluate = Callable[[AtomicGraph], dict[str, Tensor]]


UNIT_NAMES = {"eV/Å": "eV_per_A", "eV/Å³": "eV_per_A3", "e·Å": "eA", "μB": "muB"}
"""Units as they stand in the names of errors, where they are not words already."""


@dataclass(frozen=True)
class Pairs:
    """Reference and prediction of one quantity, number by number.

    Attributes:
        reference, predicted: [M], eV per atom, eV/Å, eV/Å³, or the unit of the output.
        trivial: [M] what a predictor without a network says: E0 alone for energies, zero for vectors and stress, the
            mean of the references for scalars.
        unit: as it stands in the names of errors.
    """

    reference: Tensor
    predicted: Tensor
    trivial: Tensor
    unit: str


class Predictions:
    """Everything that was predicted of a set of structures, on the CPU, float64.

    Args:
        outputs: quantities beyond energy, forces and stress.
    """

    def __init__(self, outputs: Sequence[Quantity] = ()) -> None:
        self.tasks = tasks_of(LossConfig(), outputs)
        self._energy_trivial: list[Tensor] = []
        self._atoms: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        self._reference: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        self._predicted: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}

    def add(self, batch: Labelled, results: Mapping[str, Tensor], references: References) -> None:
        """Keep the known labels of a batch and what was predicted for them."""
        graph, known = batch.graph, {name: mask.cpu() for name, mask in batch.known.items()}
        dataset_N = graph.dataset[graph.graph_index]
        site_N = references.e0_DZ[dataset_N, graph.numbers] + references.shift_D[dataset_N]
        trivial_G = torch.zeros(graph.n_graphs, dtype=torch.float64, device=site_N.device)
        trivial_G = trivial_G.index_add(0, graph.graph_index, site_N).cpu()
        atoms_G = torch.bincount(graph.graph_index, minlength=graph.n_graphs).cpu().double()
        self._energy_trivial.append((trivial_G / atoms_G)[known["energy"]])
        for task in self.tasks:
            mask = known[task.label]
            reference, predicted = batch.labels[task.label].cpu()[mask], results[task.name].cpu()[mask]
            if task.per_atom:
                self._atoms[task.name].append(atoms_G[mask])
                reference, predicted = reference / atoms_G[mask], predicted / atoms_G[mask]
            self._reference[task.name].append(reference.reshape(-1))
            self._predicted[task.name].append(predicted.reshape(-1))

    def message(self) -> bytes:
        """All of them, for `take`."""
        parts = {"reference": self._reference, "predicted": self._predicted, "atoms": self._atoms}
        tensors = {f"{part}.{name}": torch.cat(v) for part, of in parts.items() for name, v in of.items() if v}
        if self._energy_trivial:
            tensors["trivial"] = torch.cat(self._energy_trivial)
        return save(tensors)

    def take(self, message: bytes) -> None:
        """Add those of another part of the structures, as its `message` has them."""
        parts = {"reference": self._reference, "predicted": self._predicted, "atoms": self._atoms}
        for key, values in load(message).items():
            part, _, name = key.partition(".")
            (parts[part][name] if name else self._energy_trivial).append(values)

    def pairs(self) -> dict[str, Pairs]:
        """Reference and prediction of each quantity, extensive scalars per atom; none where there is no label."""
        found = {}
        for task in self.tasks:
            if not self._reference[task.name]:
                continue
            reference, predicted = torch.cat(self._reference[task.name]), torch.cat(self._predicted[task.name])
            trivial = torch.zeros_like(reference)
            if task.name == "energy":
                trivial = torch.cat(self._energy_trivial)
            elif not task.quantity.shape and len(reference):
                trivial = trivial + reference.mean()
            found[task.name] = Pairs(reference, predicted, trivial, _unit_name(task))
        return {name: pair for name, pair in found.items() if len(pair.reference)}

    def errors(self) -> dict[str, float]:
        """Mean absolute and root mean square errors; units in the names. `trivial_...` are those of no network."""
        errors: dict[str, float] = {}
        pairs = self.pairs()
        for name, pair in pairs.items():
            for prefix, predicted in (("", pair.predicted), ("trivial_", pair.trivial)):
                errors |= _mae_rmse(f"{prefix}{name}", pair.unit, predicted - pair.reference)
        if "energy" in pairs:
            atoms = torch.cat(self._atoms["energy"])
            errors |= _mae_rmse("total_energy", "eV", (pairs["energy"].predicted - pairs["energy"].reference) * atoms)
        return errors


def _unit_name(task: Task) -> str:
    unit = task.quantity.unit
    name = UNIT_NAMES.get(unit) or re.sub(r"\W+", "_", unit).strip("_") or "1"
    return f"{name}_per_atom" if task.per_atom else name


def _mae_rmse(name: str, unit: str, difference: Tensor) -> dict[str, float]:
    return {
        f"{name}_mae_{unit}": float(difference.abs().mean()),
        f"{name}_rmse_{unit}": float(difference.square().mean().sqrt()),
    }


def predict(
    evaluate: Evaluate,
    references: References,
    structures: Sequence[Labelled],
    *,
    outputs: Sequence[Quantity] = (),
    max_atoms: int = 2000,
    progress: Callable[[str, int, int | None], None] | None = None,
    also: Callable[[Labelled, Mapping[str, Tensor]], None] | None = None,
) -> Predictions:
    """Predictions of all structures.

    Args:
        evaluate: a potential, without gradients, or a compiled one.
        references: of the potential, for the predictor by E0 alone.
        structures: with their graphs.
        outputs: quantities beyond energy, forces and stress.
        max_atoms: atoms evaluated at once.
        progress: told how many structures are done.
        also: given every batch and what was predicted of it.
    """
    predictions, done = Predictions(outputs), 0
    for batch in batches(structures, max_atoms, references.e0_DZ.device):
        with torch.no_grad():
            results = evaluate(batch.graph)
        predictions.add(batch, results, references)
        if also is not None:
            also(batch, results)
        done += batch.graph.n_graphs
        if progress is not None:
            progress("predicting", done, len(structures))
    return predictions


def batches(structures: Sequence[Labelled], max_atoms: int, device: torch.device) -> Iterable[Labelled]:
    """The structures in their order, as many at once as fit."""
    if isinstance(structures, Structures):
        for numbers in structures.blocks():
            # a batch ends where its atoms would exceed the bound
            for group in _fitting(numbers, structures.sizes(numbers)[:, 0], max_atoms):
                yield structures.batch(group).to(device)
        return
    waiting: list[Labelled] = []
    count = 0
    for structure in structures:
        if waiting and count + structure.graph.n_atoms > max_atoms:
            yield batch_labelled(waiting).to(device)
            waiting, count = [], 0
        waiting.append(structure)
        count += structure.graph.n_atoms
    if waiting:
        yield batch_labelled(waiting).to(device)


def _fitting(numbers: NDArray[Any], atoms: NDArray[Any], max_atoms: int) -> Iterator[NDArray[Any]]:
    first, total = 0, 0
    for place, count in enumerate(atoms.tolist()):
        if place > first and total + count > max_atoms:
            yield numbers[first:place]
            first, total = place, 0
        total += count
    if first < len(numbers):
        yield numbers[first:]


@dataclass(frozen=True)
class Validation:
    """Loss over all validation structures, and errors by data set."""

    loss: float
    errors: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Judge:
    """How a validation counts.

    Attributes:
        tasks: terms of the loss.
        weights: of the data sets, by index.
        group: processes that share the structures.
        share: by the index of a data set, which part of its structures, of how many, is this process's, or none.
    """

    tasks: Sequence[Task]
    weights: Sequence[float]
    group: Group = ALONE
    share: Callable[[int], tuple[int, int] | None] = lambda _: (0, 1)


def validate(
    evaluate: Evaluate,
    references: References,
    structures: Mapping[str, Sequence[Labelled]],
    judge: Judge,
) -> Validation:
    """Loss (sums over everything, divided once) and errors of each data set by name, these on the first process.

    Terms count by the weights of the run file, whatever training makes of them: epochs can be compared.
    """
    tasks, group = judge.tasks, judge.group
    sums = torch.zeros(len(tasks), dtype=torch.float64)
    totals = torch.zeros(len(tasks), dtype=torch.float64)
    errors = {}
    for index, (name, members) in enumerate(structures.items()):
        part, parts = judge.share(index) or (0, 0)
        predictions = Predictions([task.quantity for task in tasks[len(TRAINABLE) :]])
        for batch in batches(members[part::parts] if parts else [], 2000, references.e0_DZ.device):
            with torch.no_grad():
                results = evaluate(batch.graph)
            targets = make_targets(batch, judge.weights, tasks)
            sums += loss_sums(results, targets, tasks).cpu()
            totals += total_weights(targets, tasks).cpu()
            predictions.add(batch, results, references)
        errors[name] = gathered(predictions, group).errors()
    sums, totals = group.sum(torch.stack([sums, totals]))
    return Validation(float((sums / totals.clamp(min=1e-300)).sum()), errors)


def gathered(predictions: Predictions, group: Group) -> Predictions:
    """Those of all processes, on the first; their own on the others."""
    if group.size > 1:
        for message in group.gather(predictions.message())[1:]:
            predictions.take(message)
    return predictions
