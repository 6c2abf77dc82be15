"""Weights that stay as they are, and weights that go slowly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from potentials.checkpoint import load_checkpoint
from train.config import RunConfig
from train.data import load_datasets
from train.labelled import batch_labelled
from train.loop import train
from train.progress import Reporter
from train.run import Run

MakeConfig = Callable[..., RunConfig]


def made(config: RunConfig) -> Run:
    return Run(config, load_datasets(config), Reporter())


def begun(make_config: MakeConfig, output: str = "second", **tables: Any) -> RunConfig:
    return make_config(output, **{"stop": {"epochs": 1}, **tables})


@pytest.mark.parametrize(("words", "frozen"), [
    (["backbone"], ["backbone."]),
    (["embeddings", "backbone.filters.0", "branches.branches.emt.2.bias"],
     ["backbone.embedding.", "backbone.filters.0.", "branches.branches.emt.2.bias"]),
    (["heads"], ["branches."]),
])  # fmt: skip
def test_frozen_weights_stay_bit_for_bit(
    words: list[str], frozen: list[str], make_config: MakeConfig, pretrained: str
) -> None:
    config = begun(make_config, fine_tune={"start_from": pretrained, "freeze": words})
    run = made(config)
    state = run.optimizer.state()
    result = train(config)
    before = load_checkpoint(pretrained)[0]
    after = load_checkpoint(config.output / "model.safetensors")[0].state_dict()
    assert result.position.best_epoch == 1
    for name, weight in before.named_parameters():
        stays = name.startswith(tuple(frozen))
        assert torch.equal(after[name], weight) == stays, name
        assert (f"average.{name}" in state) != stays
    saved = {name for name in _tensors(config.output / "state.safetensors") if name.startswith("optimizer.exp_avg.")}
    assert len(saved) == sum(not name.startswith(tuple(frozen)) for name, _ in before.named_parameters())


def _tensors(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


@pytest.mark.parametrize("forces", [0.0, 1.0])
def test_gradients_are_those_of_a_free_run_and_no_others(
    forces: float, make_config: MakeConfig, pretrained: str
) -> None:
    """Without forces nothing of a frozen backbone is kept for a pass back; with them, what positions need."""
    loss = {"forces": {"weight": forces}, "stress": {"weight": forces}}
    results, names, kept = [], [], []
    for words in ([], ["backbone"]):
        tuning = {"start_from": pretrained, "freeze": words}
        run = made(begun(make_config, f"{len(words)}", fine_tune=tuning, loss=loss))
        run.potential.backbone.register_forward_hook(lambda _m, _i, features: kept.append(features.requires_grad))
        results.append(run.step(batch_labelled([run.structures[number] for number in (0, 1)])))
        names.append([name for name, _ in run.learner.named_parameters()])
    assert kept == [True, bool(forces)]
    assert torch.equal(results[0].loss, results[1].loss)
    assert names[1] == [name for name in names[0] if name.startswith("branches.")]
    expected = dict(zip(names[0], results[0].gradients, strict=True))
    for name, gradient in zip(names[1], results[1].gradients, strict=True):
        assert torch.equal(gradient, expected[name])


def test_the_backbone_has_a_rate_of_its_own(make_config: MakeConfig, pretrained: str) -> None:
    """A first step of Adam is the learning rate in every component, but for rounding."""
    moves = {}
    for rate in (1.0, 0.25):
        optimizer = {"backbone_rate": rate, "weight_decay": 0.0, "warmup_fraction": 0.0, "clip_norm": None}
        run = made(begun(make_config, f"rate{rate}", fine_tune={"start_from": pretrained}, optimizer=optimizer))
        before = {name: weight.detach().clone() for name, weight in run.potential.named_parameters()}
        run.optimizer.step([torch.ones_like(weight) for weight in run.learner.parameters()], 0.0)
        moves[rate] = {
            name: (before[name] - weight.detach()).abs().max().item()
            for name, weight in run.potential.named_parameters()
        }
    for name, move in moves[1.0].items():
        factor = 0.25 if name.startswith("backbone.") else 1.0
        assert moves[0.25][name] == pytest.approx(factor * move, rel=1e-3)
        assert move == pytest.approx(2e-3, rel=1e-3)
