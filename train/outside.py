"""What the training structures of a head have: the uncertainty that hardly one of them exceeds, for each element.

The measure is `forces_uncertainty` of the last layer, not calibrated. Of each element, in each structure that has it,
the largest of its atoms counts; the limit is a quantile of these over the structures. So neither one element nor the
worst structures of another set the limit of all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import Tensor

from potentials.checkpoint import save_changed
from potentials.graph import AtomicGraph
from potentials.manifest import Manifest
from potentials.potential import Potential
from train.data import Dataset
from train.evaluation import Evaluate, batches
from train.group import ALONE, Group
from train.last_layer_fit import MAX_ATOMS, Progress

MOST_STRUCTURES = 2000
"""Of a training split that are looked at, evenly spread: ten of them are above the quantile."""

QUANTILE = 0.995
"""Of the largest uncertainties of an element in the structures that have it."""

FEW = 40
"""Structures with an element, below which its own say too little: what all elements have, in parts of their factors,
counts as well."""

Array = NDArray[np.float64]

Limits = dict[str, dict[str, float]]
"""eV/Å by head and element."""


def limits_of(
    potential: Potential,
    datasets: Sequence[Dataset],
    evaluate: Evaluate,
    group: Group = ALONE,
    progress: Progress | None = None,
) -> Limits:
    """The limits of every head that knows its uncertainty of forces.

    Args:
        potential: with a fitted last layer.
        datasets: those of its heads.
        evaluate: these weights, without gradients or compiled; its forces are looked at.
        group: processes that share the structures; all get the same.
        progress: told how many structures are done.
    """
    if potential.last_layer is None:
        return {}
    found: Limits = {}
    for dataset in datasets:
        row = potential.head_index(dataset.name)
        if "forces_uncertainty" not in potential.last_layer.known(row):
            continue
        factors = potential.last_layer.forces_factor_DZ[row].cpu().numpy()
        largest = _largest(potential, dataset, evaluate, group, progress)
        found[dataset.name] = limits(largest, {number: float(factors[number]) for number in largest})
    return found


def limits(largest: dict[int, Array], factors: dict[int, float]) -> dict[str, float]:
    """eV/Å by element.

    Args:
        largest: [S] eV/Å by atomic number, the largest uncertainty of the element in each structure that has it.
        factors: eV/Å by atomic number, what the uncertainties of the element are in parts of.
    """
    parts = np.concatenate([values / factors[number] for number, values in largest.items()])
    common = float(np.quantile(parts, QUANTILE))
    found = {}
    for number, values in sorted(largest.items()):
        own = float(np.quantile(values, QUANTILE))
        if len(values) < FEW:
            own = max(float(values.max()), common * factors[number])
        found[chemical_symbols[number]] = own
    return found


def uncertainties_of(potential: Potential, graph: AtomicGraph, evaluate: Evaluate) -> Array:
    """[N] eV/Å by the last layer of a potential, with the forces of another evaluation of the same weights."""
    assert potential.last_layer is not None
    with torch.no_grad():
        forces_N3 = evaluate(graph)["forces"]
        features_NF, inputs = potential.features_of(graph)
        hidden_NH = potential.branches.hidden(features_NF, inputs.dataset[inputs.graph_index])
        found: Array = potential.last_layer(hidden_NH, forces_N3, inputs)["forces_uncertainty"].cpu().numpy()
    return found


def _largest(
    potential: Potential, dataset: Dataset, evaluate: Evaluate, group: Group, progress: Progress | None
) -> dict[int, Array]:
    """[S] by atomic number, of some of the training structures, in one order whatever the processes."""
    chosen = np.unique(np.linspace(0, len(dataset.train) - 1, MOST_STRUCTURES).astype(np.int64))
    own = dataset.train.part(chosen[group.rank :: group.size])
    found: dict[int, list[float]] = defaultdict(list)
    done = 0
    for batch in batches(own, MAX_ATOMS, potential.device):
        uncertainty_N = uncertainties_of(potential, batch.graph, evaluate)
        numbers, owner = batch.graph.numbers.cpu().numpy(), batch.graph.graph_index.cpu().numpy()
        for number in np.unique(numbers).tolist():
            here = numbers == number
            largest_G = np.zeros(batch.graph.n_graphs)
            np.maximum.at(largest_G, owner[here], uncertainty_N[here])
            found[number] += largest_G[largest_G > 0].tolist()
        done += batch.graph.n_graphs
        if progress is not None:
            progress(f"uncertainty of {dataset.name}: what training structures have", done, len(own))
    told = [load(message) for message in group.share(save({str(n): np.array(v) for n, v in found.items()}))]
    numbers_of_all = sorted({int(name) for part in told for name in part})
    return {
        number: np.sort(np.concatenate([part[str(number)] for part in told if str(number) in part]))
        for number in numbers_of_all
    }


def known_of(dataset: Dataset, limits: Limits) -> dict[str, Any]:
    """What a record of its head says of the structures that it has been trained on."""
    repeating = {n: int(count) for n, count in enumerate(dataset.summary.repeating) if count}
    return {"repeating": repeating, "outside": limits.get(dataset.name, {})}


def note_training(
    path: Path | str,
    checkpoint: Path | str,
    potential: Potential,
    datasets: Sequence[Dataset],
    progress: Progress | None = None,
) -> None:
    """Write a checkpoint again with what it does not say of the structures it was trained on; its weights stay.

    Args:
        path: to write; it may be the checkpoint itself.
        checkpoint: of a training from before this was noted.
        potential: that it holds.
        datasets: what it was trained on.
        progress: told how many structures are done.
    """

    def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
        found: dict[str, Tensor] = potential(graph)
        return found

    found = limits_of(potential, datasets, evaluate, progress=progress)

    def noted(manifest: Manifest) -> Manifest:
        heads = manifest.heads
        own = {one.name: heads[one.name].model_copy(update=known_of(one, found)) for one in datasets}
        return manifest.model_copy(update={"heads": heads | own})

    save_changed(path, checkpoint, noted)
