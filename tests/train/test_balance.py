"""Weights of tasks: by learnt uncertainties and by the norms of gradients; a resumed run has the same."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.io import read, write
from safetensors.torch import load_file
from torch import nn

from train import loop as loops
from train.balance import Balance
from train.config import LossConfig, OptimizerConfig, RunConfig
from train.data import load_datasets
from train.journal import read_journal
from train.loop import train
from train.optimizer import EXTRA_RATE, Optimizer
from train.progress import Reporter
from train.run import Run
from train.tasks import tasks_of

MakeConfig = Callable[..., RunConfig]
WEIGHTED = {"energy": {"weight": 2.0}, "forces": {"weight": 3.0}, "stress": {"weight": 0.5}}
WAYS = ("uncertainty", "gradient_norm")


@pytest.fixture
def with_moments(make_config: MakeConfig, tmp_path: Path) -> MakeConfig:
    """Runs on alloys with energy, forces, stress and moments, the weights of which are not fixed."""
    for name in ("train", "valid"):
        frames = read(tmp_path / f"{name}.extxyz", index=":")
        for atoms in frames:
            atoms.calc.results["magmoms"] = np.where(atoms.numbers == 29, 1.0, 0.2)
        write(tmp_path / f"{name}.extxyz", frames)

    def make(output: str, weighting: str, **tables: Any) -> RunConfig:
        backbone = {"cutoff": 4.0, "width": 8, "depth": 1, "radial_size": 6}
        potential = {"backbone": backbone, "output": [{"name": "magmoms", "width": 8}]}
        loss = {**WEIGHTED, "weighting": weighting, "balance_every": 3}
        return make_config(output, **{"potential": potential, "loss": loss, **tables})

    return make


def new_run(config: RunConfig) -> Run:
    return Run(config, load_datasets(config), Reporter())


def balance(weighting: str) -> Balance:
    config = LossConfig.model_validate({**WEIGHTED, "weighting": weighting})
    return Balance(config, tasks_of(config, ()), nn.Linear(1, 1))


def test_fixed_weights_have_no_factors_and_no_state(make_config: MakeConfig) -> None:
    run = new_run(make_config())
    assert run.balance.factors() is None
    assert run.balance.parameters == {}
    assert run.balance.state() == {}


def test_uncertainty_begins_at_the_weights() -> None:
    """exp(-s) / 2 times the bare loss is half the weighted one, at first."""
    factors = balance("uncertainty").factors()
    assert factors is not None
    assert factors.tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_gradients_of_log_variances_are_derivatives_of_the_objective(with_moments: MakeConfig) -> None:
    run = new_run(with_moments("a", "uncertainty"))
    batch, s = run.structures[0], run.balance.log_variance_T

    def objective() -> float:
        """Kendall's: Σ (exp(-s) L + s) / 2, from the bare losses."""
        bare = run.step(batch, 1 / run.balance.weight_T).terms
        return float((0.5 * (torch.exp(-s.detach()) * bare + s.detach())).sum())

    (gradient,) = run.balance.gradients(run.step(batch, run.balance.factors()))
    for row in range(len(s)):
        values = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                s[row] += step
            values.append(objective())
            with torch.no_grad():
                s[row] -= step
        assert (values[0] - values[1]) / 2e-4 == pytest.approx(float(gradient[row]), rel=1e-5, abs=1e-7)
    assert bool((gradient != 0).all())


def test_a_task_without_a_label_in_the_batch_leaves_its_log_variance_alone(with_moments: MakeConfig) -> None:
    run = new_run(with_moments("a", "uncertainty"))
    alloy = run.structures[0]
    alloy.known["magmoms"][:] = False
    (gradient,) = run.balance.gradients(run.step(alloy, run.balance.factors()))
    assert (gradient == 0).tolist() == [False, False, False, True]


def test_learnt_log_variances_are_those_of_the_losses() -> None:
    """With losses that stay, s goes to log L: then every task adds the same, half, to the loss."""
    own, module = balance("uncertainty"), nn.Linear(1, 1)
    config = OptimizerConfig.model_validate({"learning_rate": 2e-3, "warmup_fraction": 0.0, "final_fraction": 0.01})
    optimizer = Optimizer(module, config, own.parameters)
    losses = torch.tensor([0.3, 8.0, 1e-3], dtype=torch.float64)
    nothing = [torch.zeros_like(weight) for weight in module.parameters()]
    for number in range(3000):
        slope = 0.5 - 0.5 * torch.exp(-own.log_variance_T.detach()) * losses
        optimizer.step(nothing, number / 3000, [slope])
    assert own.log_variance_T.tolist() == pytest.approx(losses.log().tolist(), abs=0.05)


def test_extra_parameters_are_stepped_faster_and_not_clipped() -> None:
    module, extra = nn.Linear(1, 1), nn.Parameter(torch.zeros(2, dtype=torch.float64))
    config = OptimizerConfig.model_validate({"learning_rate": 1e-3, "warmup_fraction": 0.0, "clip_norm": 1e-3})
    optimizer = Optimizer(module, config, {"loss.log_variance": extra})
    gradients = [torch.ones_like(weight) for weight in module.parameters()]
    norm = optimizer.step(gradients, 0.0, [torch.tensor([1.0, -100.0], dtype=torch.float64)])
    assert norm == pytest.approx(2**0.5)
    # Adam's first step is the rate, whatever the gradient
    assert extra.tolist() == pytest.approx([-1e-3 * EXTRA_RATE, 1e-3 * EXTRA_RATE], rel=1e-6)
    assert "loss.log_variance" not in optimizer.averaged()
    state = optimizer.state()
    assert {f"{key}.loss.log_variance" for key in ("step", "exp_avg", "exp_avg_sq")} <= state.keys()


def test_terms_pull_on_the_backbone_in_the_ratio_of_their_weights(with_moments: MakeConfig) -> None:
    run = new_run(with_moments("a", "gradient_norm"))
    batch = run.structures[0]
    assert run.balance.factors() is not None
    assert run.balance.factors().tolist() == [1.0] * 4  # nothing is measured yet
    run.balance.measure(partial(run.step, batch), 1)
    assert not run.balance.norm_T.any()  # it is not time
    run.balance.measure(partial(run.step, batch), 3)
    factors = run.balance.factors()
    assert factors is not None

    norms = []
    for row in range(4):
        alone = torch.zeros_like(factors)
        alone[row] = factors[row]
        named = zip(run.optimizer.names, run.step(batch, alone).gradients, strict=True)
        parts = [gradient.double() for name, gradient in named if name.startswith("backbone.")]
        norms.append(float(torch.stack([part.square().sum() for part in parts]).sum().sqrt()))
    weights = run.balance.weight_T
    assert (np.array(norms) / norms[0]).tolist() == pytest.approx((weights / weights[0]).tolist(), rel=1e-4)
    # the mean is kept: no term is made larger than the others make room for
    bare = (run.balance.norm_T * weights).sum()
    assert sum(norms) == pytest.approx(float(bare), rel=1e-4)


def test_norms_are_running_means(with_moments: MakeConfig) -> None:
    run = new_run(with_moments("a", "gradient_norm"))
    first, second = run.structures[:2]
    run.balance.measure(partial(run.step, first), 0)
    one = run.balance.norm_T.clone()
    run.balance.norm_T.zero_()
    run.balance.measure(partial(run.step, second), 0)
    other = run.balance.norm_T.clone()
    run.balance.norm_T.copy_(one)
    run.balance.measure(partial(run.step, second), 3)
    assert torch.allclose(run.balance.norm_T, 0.9 * one + 0.1 * other, rtol=1e-12)
    assert not torch.allclose(one, other, rtol=1e-3)


@pytest.mark.parametrize("weighting", WAYS)
def test_a_run_learns_and_tells_its_weights(weighting: str, with_moments: MakeConfig) -> None:
    config = with_moments("a", weighting, stop={"epochs": 25}, optimizer={"learning_rate": 0.01, "ema_decay": 0.9})
    errors = train(config).errors["emt"]
    assert errors["forces_mae_eV_per_A"] < 0.7 * errors["trivial_forces_mae_eV_per_A"]
    assert errors["magmoms_mae_muB"] < 0.3 * errors["trivial_magmoms_mae_muB"]
    rows = read_journal(config.output / "journal.jsonl")
    assert rows[-1]["weights"].keys() == {"energy", "forces", "stress", "magmoms"}
    assert rows[0]["weights"] != rows[-1]["weights"]
    assert rows[-1]["train_loss"] > 0  # by the weights of the run file, as the validation loss


@pytest.mark.parametrize("weighting", WAYS)
def test_a_resumed_run_has_the_same_weights(weighting: str, with_moments: MakeConfig) -> None:
    whole = with_moments("whole", weighting)
    train(whole)
    stopped = with_moments("stopped", weighting)
    run = new_run(stopped)
    loops.make_folder(stopped.output)
    assert loops.loop(run, lambda: run.position.steps >= 7) == "interrupted"
    train(stopped, resume=True)
    for name in ("model.safetensors", "state.safetensors"):
        first, second = (load_file(config.output / name) for config in (whole, stopped))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[tensor], second[tensor]) for tensor in first), name
    assert any(name.startswith("balance.") for name in load_file(whole.output / "state.safetensors"))
