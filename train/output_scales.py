"""Scale and shift of outputs, fitted to the training labels, so that networks put out numbers near 1."""

from __future__ import annotations

from collections.abc import Sequence

from potentials.potential import Potential
from potentials.quantities import Quantity
from train.data import Dataset
from train.summary import Moments
from train.tasks import Task


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
        found = {dataset.name: dataset.summary.moments.get(row.name, Moments()) for dataset in datasets}
        known = {name: moments for name, moments in found.items() if moments.count}
        if not known:
            raise ValueError(
                f"no training structure has a label of the output {row.name!r} ({row.trained_on!r}); name its key in"
                f" dataset.NAME.labels.{row.name}, or take the output out of the run file"
            )
        assert potential.outputs is not None
        if not any(task.name == row.name and task.term.weight for task in tasks):
            continue
        for name in found if config.shared else known:
            moments = sum(known.values(), Moments()) if config.shared else known[name]
            potential.outputs.output(row.name).set_scale(name, *fitted(moments, row))


def fitted(moments: Moments, row: Quantity) -> tuple[float, float]:
    """Scale and shift for labels (extensive ones are per atom): 1 where there is no deviation to go by."""
    # what turns with the structure has no mean, and charges have theirs from the total charge
    shift = 0.0 if row.shape or row.name == "charges" else moments.mean
    scale = moments.deviation(shift)
    return (scale if scale > 1e-6 * max(1.0, abs(shift)) else 1.0), shift
