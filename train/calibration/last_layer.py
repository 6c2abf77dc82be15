"""Uncertainties for a single potential that has none, before it is calibrated."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from potentials.potential import Potential
from train.data import Dataset
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
    if find_spec("train.last_layer_fit") is None:
        raise ValueError("this version cannot fit uncertainties of a last layer; calibrate an ensemble")
    dataset = Dataset.of(head, potential.head_index(head), {"train": training})
    fitted: Potential = import_module("train.last_layer_fit").fit_last_layer(potential, [dataset], progress=progress)
    return fitted
