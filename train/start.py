"""Starting from the weights of another run: pre-training on one task or data set, fine-tuning on another."""

from __future__ import annotations

from pathlib import Path

import torch

from potentials.checkpoint import load_checkpoint
from potentials.potential import Potential


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
    different = [key for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)]
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
