"""The optimizer against the papers' formulas and torch's own."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS
from train.config import OptimizerConfig
from train.optimizer import Optimizer, learning_rate


def module() -> nn.ModuleDict:
    torch.manual_seed(3)
    return nn.ModuleDict(
        {"embedding": nn.Embedding(5, 3), "linear": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "out": nn.Linear(4, 1)}
    ).double()


def gradients(of: nn.Module, seed: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        scale * torch.randn(parameter.shape, dtype=torch.float64, generator=generator) for parameter in of.parameters()
    ]


def settings(**changes: object) -> OptimizerConfig:
    return OptimizerConfig.model_validate({"learning_rate": 0.01, "warmup_fraction": 0.0, **changes})


def test_adamw_by_hand() -> None:
    """Loshchilov and Hutter, algorithm 2, in plain arithmetic; matrices decay, and nothing else."""
    own = module()
    config = settings(weight_decay=0.1, betas=(0.8, 0.9), clip_norm=None, final_fraction=1.0)
    optimizer = Optimizer(own, config)
    expected = {name: parameter.detach().clone() for name, parameter in own.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    for step in range(1, 6):
        given = gradients(own, step)
        optimizer.step([value.clone() for value in given], 0.5)
        for name, gradient in zip(expected, given, strict=True):
            decay = 0.1 if name in {"linear.weight", "out.weight"} else 0.0
            first[name] = 0.8 * first[name] + 0.2 * gradient
            second[name] = 0.9 * second[name] + 0.1 * gradient**2
            corrected, size = first[name] / (1 - 0.8**step), (second[name] / (1 - 0.9**step)).sqrt()
            expected[name] = expected[name] * (1 - 0.01 * decay) - 0.01 * corrected / (size + 1e-8)
    for name, parameter in own.named_parameters():
        assert torch.allclose(parameter, expected[name], rtol=0, atol=1e-13), name


def test_it_is_torch_adamw() -> None:
    own, twin = module(), module()
    optimizer = Optimizer(own, settings(weight_decay=0.0, clip_norm=None, final_fraction=1.0))
    reference = torch.optim.AdamW(twin.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)
    for step in range(5):
        optimizer.step(gradients(own, step), 0.3)
        for parameter, gradient in zip(twin.parameters(), gradients(twin, step), strict=True):
            parameter.grad = gradient
        reference.step()
    for one, other in zip(own.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-14)


def test_decay_shrinks_matrices_alone() -> None:
    own = module()
    start = {name: parameter.detach().clone() for name, parameter in own.named_parameters()}
    optimizer = Optimizer(own, settings(weight_decay=0.5, final_fraction=1.0))
    optimizer.step([torch.zeros_like(parameter) for parameter in own.parameters()], 0.0)
    for name, parameter in own.named_parameters():
        factor = 1 - 0.01 * 0.5 if name in {"linear.weight", "out.weight"} else 1.0
        assert torch.allclose(parameter, factor * start[name], rtol=1e-15, atol=0), name


@pytest.mark.parametrize(
    ("progress", "part"),
    [
        (0.0, 1e-3),  # not nothing at all: a step of rate 0 would be wasted
        (0.05, 0.5),
        (0.1, 1.0),
        (0.1 + 0.9 / 3, 0.2 + 0.8 * 0.75),  # cos(π/3) = 1/2
        (0.55, 0.2 + 0.8 * 0.5),
        (1.0, 0.2),
    ],
)
def test_schedule(progress: float, part: float) -> None:
    config = settings(learning_rate=0.03, warmup_fraction=0.1, final_fraction=0.2)
    assert learning_rate(progress, config) == pytest.approx(0.03 * part, rel=1e-12)


def test_schedule_rises_then_falls_without_jumps() -> None:
    config = settings(warmup_fraction=0.1)
    rates = [learning_rate(step / 1000, config) for step in range(1001)]
    top = rates.index(max(rates))
    assert top == 100
    assert all(a < b for a, b in pairwise(rates[:101]))
    assert all(a > b for a, b in pairwise(rates[100:]))
    assert max(abs(a - b) for a, b in pairwise(rates)) < 0.011 * max(rates)


def test_clipping_scales_the_whole_gradient() -> None:
    """Adam forgets the scale of its first gradient, so the second step tells."""
    own, twin = module(), module()
    clipped = Optimizer(own, settings(clip_norm=0.5, final_fraction=1.0))
    free = Optimizer(twin, settings(clip_norm=None, final_fraction=1.0))
    for step, scale in enumerate((0.01, 10.0)):
        given = gradients(own, step, scale)
        norm = math.sqrt(sum(float(value.square().sum()) for value in given))
        assert clipped.step([value.clone() for value in given], 0.5) == pytest.approx(norm, rel=1e-12)
        factor = min(1.0, 0.5 / norm)
        assert (factor < 1.0) == (step == 1)
        free.step([factor * value for value in given], 0.5)
    for one, other in zip(own.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_average_by_hand() -> None:
    own = module()
    optimizer = Optimizer(own, settings(ema_decay=0.3))
    expected = {name: parameter.detach().clone() for name, parameter in own.named_parameters()}
    for step in range(1, 7):
        optimizer.step(gradients(own, step), step / 10)
        decay = min(0.3, (1 + step) / (10 + step))
        assert (decay < 0.3) == (step < 3)
        for name, parameter in own.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    averaged = optimizer.averaged()
    assert averaged.keys() == expected.keys()
    for name, value in averaged.items():
        assert torch.allclose(value, expected[name], rtol=0, atol=1e-14), name


def test_without_an_average_the_weights_themselves_are_evaluated() -> None:
    own = module()
    optimizer = Optimizer(own, settings(ema_decay=None))
    optimizer.step(gradients(own, 1), 0.5)
    for name, parameter in own.named_parameters():
        assert torch.equal(optimizer.averaged()[name], parameter)


def test_state_round_trip_goes_on_bit_for_bit() -> None:
    own, twin = module(), module()
    config = settings(weight_decay=0.1, warmup_fraction=0.3)
    whole, resumed = Optimizer(own, config), Optimizer(twin, config)
    for step in range(3):
        whole.step(gradients(own, step), step / 6)
    saved = {name: value.clone() for name, value in whole.state().items()}
    twin.load_state_dict({name: value.clone() for name, value in own.state_dict().items()})
    resumed.load_state(saved, 3)
    for step in range(3, 6):
        for optimizer, of in ((whole, own), (resumed, twin)):
            optimizer.step(gradients(of, step), step / 6)
    for one, other in zip(own.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
    for name, value in whole.state().items():
        assert torch.equal(value, resumed.state()[name]), name
    # what was loaded is not written into
    assert float(saved["step.linear.weight"]) == 3.0


def test_rows_without_elements_are_left_out_to_the_same_end() -> None:
    elements, left_out = torch.tensor([1, 6, 8]), torch.tensor([0, 7, 118])
    own, twin = module(), module()
    for one in (own, twin):
        torch.manual_seed(5)
        one["embedding"] = nn.Embedding(N_ELEMENTS, 3).double()
    before = own["embedding"].weight.detach().clone()
    config = settings(weight_decay=0.1, clip_norm=3.0)
    few, all_rows = Optimizer(own, config, elements=elements), Optimizer(twin, config)
    for step in range(4):
        if step == 2:  # as a resumed run does
            saved = {name: value.clone() for name, value in few.state().items()}
            few = Optimizer(own, config, elements=elements)
            few.load_state(saved, 2)
        given = gradients(own, step)
        given[0] = torch.zeros_like(given[0]).index_copy(0, elements, given[0][elements])
        norms = [one.step([value.clone() for value in given], 0.2) for one in (few, all_rows)]
        assert abs(norms[0] - norms[1]) < 1e-13 * norms[1]
    for name, parameter in own.named_parameters():
        torch.testing.assert_close(parameter, twin.get_parameter(name), rtol=0, atol=1e-14)
        torch.testing.assert_close(few.averaged()[name], all_rows.averaged()[name], rtol=0, atol=1e-14)
    assert torch.equal(own["embedding"].weight[left_out], before[left_out])
    assert not torch.equal(own["embedding"].weight[elements], before[elements])
    assert few.state()["exp_avg.embedding.weight"].shape == (3, 3)


def test_state_before_the_first_step() -> None:
    own = module()
    optimizer = Optimizer(own, settings())
    saved = optimizer.state()
    assert set(saved) == {f"average.{name}" for name, _ in own.named_parameters()}
    Optimizer(module(), settings()).load_state(saved, 0)
