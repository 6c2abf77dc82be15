"""The backbones that see distances alone learn forces."""

from collections.abc import Callable

import pytest

from train.config import RunConfig
from train.loop import train

EPOCHS = {"gin": 40, "sage": 40, "gat": 100, "pna": 40, "pna_plus": 40, "mfc": 40, "cgcnn": 150, "gps": 40}
"""Of 4 steps. Where distances only move gates and scores, the first of them are slow."""


@pytest.mark.parametrize("name", EPOCHS)
def test_it_learns_the_forces_of_eight_alloys(name: str, make_config: Callable[..., RunConfig]) -> None:
    """To a third of the error that no forces at all would have."""
    result = train(
        make_config(
            dataset=[{"name": "emt", "train": "train.extxyz", "valid": "train.extxyz"}],
            optimizer={"learning_rate": 0.02, "ema_decay": 0.9, "weight_decay": 0.0},
            potential={
                "backbone": {"name": name, "cutoff": 4.5, "width": 16, "depth": 2, "radial_size": 8},
                "head_width": 16,
            },
            stop={"epochs": EPOCHS[name]},
            log={"validate_every": EPOCHS[name]},
        )
    )
    errors = result.errors["emt"]
    assert errors["trivial_forces_mae_eV_per_A"] > 0.1
    assert errors["forces_mae_eV_per_A"] < errors["trivial_forces_mae_eV_per_A"] / 3
