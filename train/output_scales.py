"""Scale and shift of outputs, fitted to the training labels, so that networks put out numbers near 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.potential import Potential
from potentials.quantities import Quantity
from train.data import Dataset
from train.tasks import Task

Floats = NDArray[np.float64]


def set_output_scales(potential: Potential, datasets: Sequence[Dataset], tasks: Sequence[Task]) -> None:
    """Set scale and shift of every output from the training splits.

    An output with a head for each data set is fitted to each; one that is shared, to all labels together. A data set
    without a label of a separate output leaves it untrained there, as does a weight of 0 in the loss; a calculator does
    not offer what is untrained.

    Raises:
        ValueError: an output that no data set has a label of.
    """
    for config in potential.config.outputs:
        row = config.quantity
        labels = {dataset.name: _values(dataset, row) for dataset in datasets}
        known = {name: values for name, values in labels.items() if len(values)}
        if not known:
            raise ValueError(
                f"no training structure has a label of the output {row.name!r} ({row.trained_on!r}); name its key in"
                f" dataset.NAME.labels.{row.name}, or take the output out of the run file"
            )
        assert potential.outputs is not None
        if not any(task.name == row.name and task.term.weight for task in tasks):
            continue
        for name in labels if config.shared else known:
            values = np.concatenate(list(known.values())) if config.shared else known[name]
            potential.outputs.output(row.name).set_scale(name, *fitted(values, row))


def fitted(values: Floats, row: Quantity) -> tuple[float, float]:
    """Scale and shift for labels [M, ...] (extensive ones are per atom): 1 where there is no deviation to go by."""
    # what turns with the structure has no mean, and charges have theirs from the total charge
    shift = 0.0 if row.shape or row.name == "charges" else float(values.mean())
    scale = float(np.sqrt(np.mean((values - shift) ** 2)))
    return (scale if scale > 1e-6 * max(1.0, abs(shift)) else 1.0), shift


def _values(dataset: Dataset, row: Quantity) -> Floats:
    """[M, ...] known labels of the training split; extensive ones over the number of atoms."""
    found = [np.zeros((0, *row.shape))]
    for one in dataset.train:
        label = one.labels[row.trained_on][one.known[row.trained_on]]
        per_atom = one.graph.n_atoms if row.level == "graph" and row.extensive else 1
        if row.name == "charges":
            label = label - one.graph.charge / one.graph.n_atoms
        found.append(torch.div(label, per_atom).numpy())
    return np.concatenate(found)
