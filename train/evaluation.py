"""Errors of a potential on labelled structures, beside the trivial predictors it has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from potentials.graph import AtomicGraph
from potentials.references import References
from train.config import LossConfig
from train.labelled import Labelled, batch_labelled
from train.losses import loss_sums, make_targets, total_weights

Evaluate = Callable[[AtomicGraph], dict[str, Tensor]]


@dataclass(frozen=True)
class Pairs:
    """Reference and prediction of one quantity, number by number.

    Attributes:
        reference, predicted: [M], eV per atom, eV/Å or eV/Å³.
        trivial: [M] what a predictor without a network says: E0 alone for energies, zero for forces and stress.
    """

    reference: Tensor
    predicted: Tensor
    trivial: Tensor


@dataclass
class Predictions:
    """Everything that was predicted of a set of structures, on the CPU, float64."""

    energy: list[Tensor] = field(default_factory=list)
    energy_reference: list[Tensor] = field(default_factory=list)
    energy_trivial: list[Tensor] = field(default_factory=list)
    atoms: list[Tensor] = field(default_factory=list)
    forces: list[Tensor] = field(default_factory=list)
    forces_reference: list[Tensor] = field(default_factory=list)
    stress: list[Tensor] = field(default_factory=list)
    stress_reference: list[Tensor] = field(default_factory=list)

    def add(self, batch: Labelled, results: Mapping[str, Tensor], references: References) -> None:
        """Keep the known labels of a batch and what was predicted for them."""
        graph, known = batch.graph, {name: mask.cpu() for name, mask in batch.known.items()}
        dataset_N = graph.dataset[graph.graph_index]
        site_N = references.e0_DZ[dataset_N, graph.numbers] + references.shift_D[dataset_N]
        trivial_G = torch.zeros(graph.n_graphs, dtype=torch.float64, device=site_N.device)
        trivial_G = trivial_G.index_add(0, graph.graph_index, site_N).cpu()
        atoms_G = torch.bincount(graph.graph_index, minlength=graph.n_graphs).cpu().double()
        mask = known["energy"]
        self.atoms.append(atoms_G[mask])
        self.energy.append(results["energy"].cpu()[mask])
        self.energy_reference.append(batch.labels["energy"].cpu()[mask])
        self.energy_trivial.append(trivial_G[mask])
        for name in ("forces", "stress"):
            getattr(self, name).append(results[name].cpu()[known[name]].reshape(-1))
            getattr(self, f"{name}_reference").append(batch.labels[name].cpu()[known[name]].reshape(-1))

    def pairs(self) -> dict[str, Pairs]:
        """Reference and prediction of energy per atom, forces and stress; those without a label are left out."""
        joined = {name: torch.cat(getattr(self, name)) for name in self.__dataclass_fields__}
        atoms = joined["atoms"]
        found = {
            "energy": Pairs(
                joined["energy_reference"] / atoms, joined["energy"] / atoms, joined["energy_trivial"] / atoms
            )
        }
        for name in ("forces", "stress"):
            reference = joined[f"{name}_reference"]
            found[name] = Pairs(reference, joined[name], torch.zeros_like(reference))
        return {name: pair for name, pair in found.items() if len(pair.reference)}

    def errors(self) -> dict[str, float]:
        """Mean absolute and root mean square errors; units in the names. `trivial_...` are those of no network."""
        units = {"energy": "eV_per_atom", "forces": "eV_per_A", "stress": "eV_per_A3"}
        errors: dict[str, float] = {}
        for name, pair in self.pairs().items():
            for prefix, predicted in (("", pair.predicted), ("trivial_", pair.trivial)):
                errors |= _mae_rmse(f"{prefix}{name}", units[name], predicted - pair.reference)
        if self.energy and len(total := torch.cat(self.energy)):
            errors |= _mae_rmse("total_energy", "eV", total - torch.cat(self.energy_reference))
        return errors


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
    max_atoms: int = 2000,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Predictions:
    """Predictions of all structures.

    Args:
        evaluate: a potential, without gradients, or a compiled one.
        references: of the potential, for the predictor by E0 alone.
        structures: with their graphs.
        max_atoms: atoms evaluated at once.
        progress: told how many structures are done.
    """
    predictions, done = Predictions(), 0
    for batch in batches(structures, max_atoms, references.e0_DZ.device):
        with torch.no_grad():
            predictions.add(batch, evaluate(batch.graph), references)
        done += batch.graph.n_graphs
        if progress is not None:
            progress("predicting", done, len(structures))
    return predictions


def batches(structures: Sequence[Labelled], max_atoms: int, device: torch.device) -> Iterable[Labelled]:
    """The structures in their order, as many at once as fit."""
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


@dataclass(frozen=True)
class Validation:
    """Loss over all validation structures, and errors by data set."""

    loss: float
    errors: dict[str, dict[str, float]]


def validate(
    evaluate: Evaluate,
    references: References,
    structures: Mapping[str, Sequence[Labelled]],
    config: LossConfig,
    weights: Sequence[float],
) -> Validation:
    """Loss (sums over everything, divided once) and errors of each data set by name; `weights` by index."""
    sums = torch.zeros(3, dtype=torch.float64)
    totals = torch.zeros(3, dtype=torch.float64)
    errors = {}
    for name, members in structures.items():
        predictions = Predictions()
        for batch in batches(members, 2000, references.e0_DZ.device):
            with torch.no_grad():
                results = evaluate(batch.graph)
            targets = make_targets(batch, weights)
            sums += loss_sums(results, targets, config).cpu()
            totals += total_weights(targets).cpu()
            predictions.add(batch, results, references)
        errors[name] = predictions.errors() if members else {}
    return Validation(float((sums / totals.clamp(min=1e-300)).sum()), errors)
