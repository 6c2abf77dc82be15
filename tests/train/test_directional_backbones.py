"""The backbones that see directions learn forces."""

from collections.abc import Callable
from typing import Any

import pytest

from train.config import RunConfig
from train.loop import train

BACKBONES: dict[str, dict[str, Any]] = {
    "tensornet": {},
    "mace": {"l_max": 2, "average_neighbours": 30.0},
    "nequip": {"average_neighbours": 30.0},
    "dimenet": {"triplet_width": 8},
    "pna_eq": {},
}


@pytest.mark.parametrize("name", BACKBONES)
def test_it_learns_the_forces_of_eight_structures(name: str, make_config: Callable[..., RunConfig]) -> None:
    """40 epochs of 4 steps: enough for a third of the error that no forces at all would have."""
    backbone = {"name": name, "cutoff": 4.5, "width": 16, "depth": 1, "radial_size": 6, **BACKBONES[name]}
    result = train(
        make_config(
            dataset=[{"name": "emt", "train": "train.extxyz", "valid": "train.extxyz"}],
            optimizer={"learning_rate": 0.02, "ema_decay": 0.9, "weight_decay": 0.0},
            potential={"backbone": backbone, "head_width": 16},
            stop={"epochs": 40},
            log={"validate_every": 40},
        )
    )
    errors = result.errors["emt"]
    assert errors["trivial_forces_mae_eV_per_A"] > 0.1
    assert errors["forces_mae_eV_per_A"] < errors["trivial_forces_mae_eV_per_A"] / 3
