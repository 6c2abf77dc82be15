"""What weights a run begins with: random ones that suit its structures, or those of another run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from potentials.backbones.base import CountingConfig
from potentials.checkpoint import load_checkpoint
from potentials.potential import Potential, PotentialConfig
from train.data import Dataset


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


def start_from(potential: Potential, path: Path) -> list[str]:
    """Copy the weights of a checkpoint into a potential by name: the backbone, and heads and outputs of the same.

    References, scales and shifts are not copied: they are fitted to the data of this run.

    Returns:
        Names of the weights that the checkpoint does not have: these start at random.

    Raises:
        ValueError: it is no checkpoint, its backbone is another, or it sees charge and spin and this one does not.
    """
    source, _ = load_checkpoint(path)
    was, now = source.config.backbone.model_dump(), potential.config.backbone.model_dump()
    keys = sorted((was.keys() | now.keys()) - {"average_neighbours"})  # which random weights alone depend on
    different = [key for key in keys if was.get(key) != now.get(key)]
    if different:
        key = different[0]
        raise ValueError(
            f"potential.start_from: {path} has backbone.{key} = {was.get(key)!r} and the run file {now.get(key)!r};"
            " they must be the same"
        )
    if source.context is not None and potential.context is None:
        raise ValueError(f"potential.start_from: {path} sees charge and spin; set potential.charge_and_spin = true")
    given = dict(source.named_parameters())
    missing = []
    with torch.no_grad():
        for name, weight in potential.named_parameters():
            if name in given and given[name].shape == weight.shape:
                weight.copy_(given[name])
            else:
                missing.append(name)
    return missing
