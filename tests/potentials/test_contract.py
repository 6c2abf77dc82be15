"""Every backbone holds the contract, in both dtypes."""

from functools import cache
from typing import Any

import pytest
import torch

from potentials.backbones import BACKBONES
from potentials.potential import Potential, PotentialConfig
from potentials.testing import CONTRACT, PotentialUnderTest

VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{name: (name, {}, {}) for name in BACKBONES},
    "egnn-moving": ("egnn", {"update_positions": True}, {}),
    "egnn-moving-charged": ("egnn", {"update_positions": True}, {"charge_and_spin": True}),
    "schnet-charged": ("schnet", {}, {"charge_and_spin": True}),
    "mace-scalars": ("mace", {"l_max": 2, "l_hidden": 0}, {"charge_and_spin": True}),
    "mace-degree-2": ("mace", {"l_hidden": 2, "depth": 3, "width": 4}, {}),
    "mace-pairs": ("mace", {"l_max": 2, "correlation": 2}, {}),
    "mace-sums": ("mace", {"correlation": 1}, {}),
    "ember-bounded": ("ember", {"bounded": True}, {}),
    "schnet-repulsive": ("schnet", {}, {"repulsion": True}),
    "nequip-charged": ("nequip", {"l_max": 1, "depth": 3}, {"charge_and_spin": True}),
    "nequip-both": ("nequip", {"l_max": 1, "depth": 4, "parities": "both"}, {}),
    "painn-charged": ("painn", {"depth": 3}, {"charge_and_spin": True}),
}

SLOW = {"mace-degree-2", "mace-pairs", "mace-sums", "nequip-both"}
"""Other couplings of the same blocks."""


def build(variant: str) -> Potential:
    name, settings, whole = VARIANTS[variant]
    backbone = BACKBONES[name][0](**{"cutoff": 4.0, "width": 8, "depth": 2, "radial_size": 6} | settings)
    return Potential(PotentialConfig(backbone=backbone, heads=("gfn2", "emt"), head_width=8, **whole), seed=1)


@cache
def subject(variant: str, dtype: torch.dtype) -> PotentialUnderTest:
    return PotentialUnderTest.of(build(variant).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("variant", [pytest.param(v, marks=pytest.mark.slow) if v in SLOW else v for v in VARIANTS])
@pytest.mark.parametrize("name", CONTRACT)
def test_contract(name: str, variant: str, dtype: torch.dtype) -> None:
    CONTRACT[name](subject(variant, dtype))
