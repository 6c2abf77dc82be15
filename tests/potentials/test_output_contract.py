"""Outputs of every backbone hold their contract, in both dtypes; broken ones are seen."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

import potentials.outputs as outputs_module
from potentials.backbones import BACKBONES
from potentials.outputs import Surroundings, Vector
from potentials.potential import Potential, PotentialConfig
from potentials.testing import CONTRACT, OUTPUT_CONTRACT, PotentialUnderTest

OUTPUTS = [
    {"name": "dipole"},
    {"name": "charges", "shared": True},
    {"name": "magmoms"},
    {"name": "direct_forces"},
    {"name": "polarity", "level": "graph", "kind": "vector", "extensive": False},
    {"name": "gap", "level": "graph", "extensive": False, "shared": True},
    {"name": "volume", "level": "graph"},
    {"name": "field", "level": "atom", "kind": "vector"},
]


def build(name: str) -> Potential:
    backbone = BACKBONES[name][0](cutoff=4.0, width=8, depth=2, radial_size=6)
    settings = {"backbone": backbone, "heads": ("gfn2", "emt"), "head_width": 8, "charge_and_spin": True}
    outputs = [{"width": 8, **output} for output in OUTPUTS]
    return Potential(PotentialConfig.model_validate({**settings, "outputs": outputs}), seed=1)


@cache
def subject(name: str, dtype: torch.dtype) -> PotentialUnderTest:
    return PotentialUnderTest.of(build(name).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", OUTPUT_CONTRACT)
def test_output_contract(name: str, backbone: str, dtype: torch.dtype) -> None:
    OUTPUT_CONTRACT[name](subject(backbone, dtype))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_weight_of_an_output_is_idle(backbone: str) -> None:
    CONTRACT["weight_gradients"](subject(backbone, torch.float64))


def broken(name: str, **attributes: int) -> PotentialUnderTest:
    """A potential with one output whose pair weights are changed."""
    potential = build("schnet").double()
    assert potential.outputs is not None
    pairs = potential.outputs.output(name).pairs
    for attribute, value in attributes.items():
        setattr(pairs, attribute, value)
    return PotentialUnderTest.of(potential)


@pytest.mark.parametrize(("name", "match"), [("charges", "sum of charges"), ("direct_forces", "sum of direct forces")])
def test_a_total_that_is_not_kept_is_seen(name: str, match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        OUTPUT_CONTRACT["totals"](broken(name, symmetry=0))


def test_an_abrupt_cutoff_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    potential = build("schnet").double()
    # the Bessel functions vanish at the cutoff by themselves: their slope is what jumps
    monkeypatch.setattr(outputs_module, "polynomial_envelope", lambda distance, cutoff: torch.ones_like(distance))
    with pytest.raises(AssertionError, match="step of the slope of"):
        OUTPUT_CONTRACT["cutoff"](PotentialUnderTest.of(potential))


@pytest.mark.parametrize(
    ("check", "spoil", "match"),
    [
        ("symmetries", lambda values: values * torch.tensor([1.0, 1.0, 1.1]), "rotated: field"),
        ("symmetries", lambda values: values * torch.arange(len(values))[:, None], "renumbered: field"),
        ("cells", lambda values: values / len(values), "repeated .*: field"),
        ("batches", lambda values: values - values.mean(0), "of a batch: field"),
        ("isolated", lambda values: values + 0.1, "field of isolated"),
    ],
)
def test_a_wrong_output_is_seen(check: str, spoil: Callable[[Tensor], Tensor], match: str) -> None:
    potential = build("schnet").double()

    class Spoiled(Vector):
        def forward(self, around: Surroundings) -> dict[str, Tensor]:
            return {name: spoil(values) for name, values in super().forward(around).items()}

    assert potential.outputs is not None
    potential.outputs.output("field").__class__ = Spoiled
    with pytest.raises(AssertionError, match=match):
        OUTPUT_CONTRACT[check](PotentialUnderTest.of(potential))


def test_heads_that_are_alike_are_seen() -> None:
    potential = build("schnet").double()
    assert potential.outputs is not None
    branches = potential.outputs.output("magmoms").atoms.branches
    branches["emt"].load_state_dict(branches["gfn2"].state_dict())
    with pytest.raises(AssertionError, match="difference of magmoms between"):
        OUTPUT_CONTRACT["batches"](PotentialUnderTest.of(potential))


def test_an_idle_weight_of_an_output_is_seen() -> None:
    potential = build("schnet").double()
    assert potential.outputs is not None
    potential.outputs.output("magmoms").forgotten = torch.nn.Linear(2, 2).double()
    with pytest.raises(AssertionError, match=r"without effect.*forgotten"):
        CONTRACT["weight_gradients"](PotentialUnderTest.of(potential))


def test_there_is_nothing_to_test_without_outputs() -> None:
    potential = Potential(PotentialConfig(heads=("a",)))
    for check in OUTPUT_CONTRACT.values():
        with pytest.raises(AssertionError, match="no outputs"):
            check(PotentialUnderTest.of(potential))
