"""What a run begins with: weights that suit its structures or those of a checkpoint, references, and what is learnt."""

from __future__ import annotations

from collections.abc import Sequence

from potentials.backbones.base import CountingConfig
from potentials.potential import Potential, PotentialConfig
from train.config import RunConfig
from train.data import Dataset
from train.e0 import references_for
from train.fine_tuning import FineTuning
from train.group import Group
from train.learner import Learner
from train.output_scales import set_output_scales
from train.progress import Reporter
from train.tasks import Task


def with_neighbours(config: PotentialConfig, datasets: Sequence[Dataset]) -> PotentialConfig:
    """The configuration with the neighbours that atoms of the training splits have on average, where it asks for them.

    Backbones whose sums begin divided by this number would otherwise start with features too large or too small. Below
    one there is nothing to divide: the number is 1 at least.
    """
    backbone = config.backbone
    if not isinstance(backbone, CountingConfig) or backbone.average_neighbours is not None:
        return config
    atoms = sum(int(dataset.summary.atoms.sum()) for dataset in datasets)
    edges = sum(dataset.summary.edges for dataset in datasets)
    counted = backbone.model_copy(update={"average_neighbours": max(edges / atoms, 1.0)})
    return config.model_copy(update={"backbone": counted})


def begin(
    potential: Potential,
    config: RunConfig,
    datasets: Sequence[Dataset],
    tasks: Sequence[Task],
    told: tuple[Reporter, Group],
) -> Learner:
    """Give a potential its references, and what a checkpoint has of it.

    Args:
        potential: with random weights; stays where it is.
        config: of the run.
        datasets: those of its heads.
        tasks: terms of the loss.
        told: who hears of it, and the processes that begin alike.

    Returns:
        What is to be learnt of the potential.

    Raises:
        ValueError: references cannot be fitted; as `FineTuning`.
    """
    reporter, group = told
    tuning = None if config.fine_tune is None else FineTuning(config.fine_tune, potential)
    for dataset, table in zip(datasets, config.dataset, strict=True):
        if tuning is None or dataset.name not in tuning.origins:
            e0, scale, shift = references_for(dataset, table)
            potential.references.set_head(dataset.name, e0, scale=scale, shift=shift)
    set_output_scales(potential, datasets, tasks)
    if tuning is None:
        return Learner(potential)
    tuning.copy_weights()
    with reporter.reading() as progress:
        tuning.copy_references(datasets, config.dataset, (group, progress))
    learner = tuning.learner(config.seed)
    for line in tuning.report(datasets, learner):
        reporter.say(line)
    return learner
