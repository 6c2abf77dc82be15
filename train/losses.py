"""The loss: masked sums over known labels, divided by global weights.

For each quantity, Σ_i w_i ρ(error_i) / Σ_i w_i over all known labels i of the whole batch, whatever their data set,
whatever the number of ranks: w_i is the weight of the data set. A mean per data set or per rank would weigh a label by
how many others happened to lie beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from potentials.quantities import TRAINABLE
from train.config import LossConfig, TermConfig
from train.labelled import Labelled


class Targets(NamedTuple):
    """Labels of a batch and the weight of each, zero where it is unknown.

    Attributes:
        energy: [G] eV. forces: [N, 3] eV/Å. stress: [G, 3, 3] eV/Å³.
        energy_weight: [G]. forces_weight: [N]. stress_weight: [G].
        atoms: [G] number of atoms, for energies per atom.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    energy_weight: Tensor
    forces_weight: Tensor
    stress_weight: Tensor
    atoms: Tensor


COMPONENTS = {"energy": 1, "forces": 3, "stress": 9}
"""Numbers that one weight stands for."""


def make_targets(labelled: Labelled, dataset_weights: Sequence[float]) -> Targets:
    """Labels and weights of a batch; `dataset_weights` by the index of the data set."""
    graph = labelled.graph
    weight_D = torch.tensor(dataset_weights, dtype=torch.float64, device=graph.dataset.device)
    weight_G = weight_D[graph.dataset]
    return Targets(
        labelled.labels["energy"],
        labelled.labels["forces"],
        labelled.labels["stress"],
        weight_G * labelled.known["energy"],
        weight_G[graph.graph_index] * labelled.known["forces"],
        weight_G * labelled.known["stress"],
        torch.bincount(graph.graph_index, minlength=graph.n_graphs).double(),
    )


def total_weights(targets: Targets) -> Tensor:
    """[3] weight of all known numbers of energy, forces and stress: what is summed over ranks, and divided by."""
    weights = (targets.energy_weight, targets.forces_weight, targets.stress_weight)
    return torch.stack([weight.sum() * COMPONENTS[name] for name, weight in zip(TRAINABLE, weights, strict=True)])


def penalty(error: Tensor, term: TermConfig) -> Tensor:
    """ρ(error) for each number. Huber is |error| - δ/2 beyond δ, so that δ does not change a term's weight."""
    size = error.abs()
    if term.kind == "l1":
        return size
    if term.kind == "l2":
        return size.square()
    return torch.where(size < term.delta, size.square() / (2 * term.delta), size - term.delta / 2)


def loss_sums(results: Mapping[str, Tensor], targets: Targets, config: LossConfig) -> Tensor:
    """[3] weighted sums of penalties of energy per atom, forces and stress, each times the weight of its term."""
    sums = []
    energy_error = (results["energy"] - targets.energy) / targets.atoms.clamp(min=1)
    sums.append((targets.energy_weight * penalty(energy_error, config.energy)).sum() * config.energy.weight)
    forces_error = results["forces"] - targets.forces
    forces_weight = targets.forces_weight[:, None]
    sums.append((forces_weight * penalty(forces_error, config.forces)).sum() * config.forces.weight)
    # where the stress is unknown it may be no number at all (a cell without volume): leave it out, not times zero
    known = (targets.stress_weight > 0)[:, None, None]
    stress_error = torch.where(known, results["stress"] - targets.stress, torch.zeros_like(targets.stress))
    stress_weight = targets.stress_weight[:, None, None]
    sums.append((stress_weight * penalty(stress_error, config.stress)).sum() * config.stress.weight)
    return torch.stack(sums)
