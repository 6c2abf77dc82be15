"""Uncertainties for a single potential that has none, before it is calibrated."""

from __future__ import annotations

from collections.abc import Callable

import torch

from potentials.potential import Potential
from train.data import Dataset
from train.last_layer_fit import fit_last_layer
from train.structures import Structures


def with_uncertainties(
    potential: Potential,
    head: str,
    training: Structures,
    *,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Potential:
    """The potential with uncertainties of one head by its last layer.

    Args:
        potential: of any number of heads.
        head: whose uncertainties.
        training: structures that the head was trained on.
        progress: told how many structures are done.

    Raises:
        ValueError: there are no training structures.
    """
    if not len(training):
        raise ValueError(
            "this potential gives no uncertainties; name the files it was trained on by --training, from which its last"
            " layer gets some, or calibrate an ensemble"
        )
    row = potential.head_index(head)
    fitted = fit_last_layer(potential, [Dataset.of(head, row, {"train": training})], progress=progress)
    if potential.last_layer is not None and fitted.last_layer is not None:  # what other heads know stays
        known = potential.last_layer.state_dict()
        with torch.no_grad():
            for name, value in fitted.last_layer.state_dict().items():
                known[name] = torch.cat([known[name][:row], value[row : row + 1], known[name][row + 1 :]])
        fitted.last_layer.load_state_dict(known, strict=True)
    return fitted
