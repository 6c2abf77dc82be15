"""Products of matrices in bfloat16: what they round, and what they leave alone."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from potentials.backbones import BACKBONES
from potentials.potential import Potential, PotentialConfig
from tests.train.test_recomputing import TERMS, mixed
from train.config import LossConfig, RunConfig
from train.journal import read_journal
from train.loop import train
from train.precision import products_in
from train.step import LossAndGradients, StepResult
from train.tasks import tasks_of

MakeConfig = Callable[..., RunConfig]

HALF_UNIT = 2.0**-8
"""Largest relative error of rounding to bfloat16, which has 8 bits."""


def potential_of(backbone: str) -> Potential:
    config, _ = BACKBONES[backbone]
    given = config(cutoff=4.0, width=16, depth=2, radial_size=6)
    return Potential(PotentialConfig(backbone=given, heads=("one", "other"), head_width=16), seed=2)


def stepped(potential: Potential, precision: str, *, compiled: bool = False, recompute: bool = False) -> StepResult:
    tasks = tasks_of(LossConfig.model_validate(TERMS), ())
    options = {"compiled": compiled, "precision": precision, "recompute": recompute}
    return LossAndGradients(potential, tasks, (1.0, 1.0), **options)(mixed())  # type: ignore[arg-type]


def distance(one: StepResult, other: StepResult) -> float:
    """Relative, between gradients as one vector."""
    first, second = (torch.cat([gradient.flatten() for gradient in result.gradients]) for result in (one, other))
    return float((first - second).norm() / second.norm())


def test_a_product_rounds_its_factors_and_sums_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(50, 300, generator=generator), torch.randn(300, 20, generator=generator)
    exact = left.double() @ right.double()
    rounded = left.bfloat16().double() @ right.bfloat16().double()
    with products_in("bf16"):
        found = left @ right
        linear = nn.functional.linear(left, right.T, torch.ones(20))
        one_column = left @ right[:, :1]
        float64 = left.double() @ right.double()
        added = left + left
    assert found.dtype == linear.dtype == torch.float32
    # the result is rounded once; were sums in bfloat16, 300 terms would be off by many units
    assert torch.allclose(found.double(), rounded, rtol=1.01 * HALF_UNIT, atol=1e-4)
    assert not torch.allclose(found.double(), exact, rtol=1e-4, atol=1e-4)
    assert torch.equal(linear, found + 1)
    assert torch.equal(one_column, left @ right[:, :1])
    assert torch.equal(float64, exact)
    assert torch.equal(added, 2 * left)
    assert torch.equal(left @ right, left.matmul(right))


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_the_step_is_near_that_in_float32(backbone: str) -> None:
    """A chain of products with errors of 2⁻⁸ each: a few per cent after two derivatives, and not none."""
    potential = potential_of(backbone)
    exact, found = stepped(potential, "float32"), stepped(potential, "bf16")
    assert {gradient.dtype for gradient in found.gradients} == {torch.float32}
    assert {value.dtype for value in found.predicted.values()} == {torch.float64}
    assert 0 < abs(found.loss.item() / exact.loss.item() - 1) < 0.05
    assert HALF_UNIT / 10 < distance(found, exact) < 0.15


def test_recomputed_layers_round_alike() -> None:
    """A pass back leaves the mode behind, and must not compute a layer again in float32."""
    potential = potential_of("painn")
    plain, again = (stepped(potential, "bf16", recompute=recompute) for recompute in (False, True))
    exact = stepped(potential, "float32")
    # terms of forces and stress come from the first pass back
    assert torch.allclose(again.terms, plain.terms, rtol=1e-5)
    assert not torch.allclose(plain.terms, exact.terms, rtol=1e-3)
    # autograd adds some gradients before it makes them float32 again, and others after
    assert distance(again, plain) < HALF_UNIT


def test_a_training_comes_as_far(make_config: MakeConfig) -> None:
    """Judged in float32; the errors of a product, not those of a sum of many, so no more than a fifth apart."""
    losses = {}
    for precision in ("float32", "bf16"):
        config = make_config(precision, precision=precision, stop={"epochs": 30})
        train(config)
        losses[precision] = [float(row["valid_loss"]) for row in read_journal(config.output / "journal.jsonl")]
    assert losses["bf16"][0] != losses["float32"][0]
    assert min(losses["float32"]) < 0.5 * losses["float32"][0]
    assert min(losses["bf16"]) == pytest.approx(min(losses["float32"]), rel=0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
@pytest.mark.parametrize("backbone", ["painn", "mace", "schnet"])
def test_compiled_as_eager(backbone: str) -> None:
    """A compiler leaves out roundings between operations that it joins: as near to one another as to float32."""
    potential = potential_of(backbone)
    compiled, eager = stepped(potential, "bf16", compiled=True), stepped(potential, "bf16")
    exact = stepped(potential, "float32")
    assert distance(compiled, eager) < 0.05
    assert distance(compiled, exact) > HALF_UNIT / 10
