"""Low-rank changes against LoRA as the paper writes it, and what comes of them: ordinary checkpoints."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from potentials.backbones import BACKBONES
from potentials.checkpoint import load_checkpoint
from potentials.derivatives import prepare
from potentials.potential import Potential, PotentialConfig
from potentials.testing import check_contract
from train.config import LoraConfig, LossConfig, RunConfig
from train.data import load_datasets
from train.journal import read_journal
from train.labelled import Labelled, batch_labelled
from train.learner import AdaptedStep, Learner
from train.loop import train
from train.lora import Factors, dense_weights
from train.losses import loss_sums, make_targets, total_weights
from train.progress import Reporter
from train.run import Run
from train.step import LossAndGradients
from train.tasks import Task, tasks_of

MakeConfig = Callable[..., RunConfig]
EMT = {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"}
ELSEWHERE = {"embedding", "first_skip", "factors"}
"""Parts of names of vectors that elements have."""

EPS = torch.finfo(torch.float64).eps


def small(backbone: str) -> Potential:
    config, _ = BACKBONES[backbone]
    settings = PotentialConfig(backbone=config(cutoff=4.0, width=8, depth=2, radial_size=6), heads=("emt",))
    potential = Potential(settings, seed=2).double()
    potential.references.set_head("emt", {"Cu": 0.1, "Al": 0.3, "Ag": 0.2}, scale=0.7)
    return potential


def learner_of(potential: Potential, *, begun: bool) -> Learner:
    """Changes of rank 3 of all dense weights of the backbone; with `begun` they are not nothing."""
    generator = torch.Generator().manual_seed(1)
    config = LoraConfig(rank=3, alpha=2.0)
    factors = {}
    for name, input_first in dense_weights(potential).items():
        if name.startswith("backbone."):
            factors[name] = Factors(potential.get_parameter(name), config, generator, input_first=input_first)
            if begun:
                up = factors[name].up.data
                up.copy_(0.1 * torch.randn(up.shape, generator=generator, dtype=up.dtype))
    for name, weight in potential.named_parameters():
        weight.requires_grad_(name in factors)
    return Learner(potential, factors)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_matrix_between_channels_is_found(backbone: str) -> None:
    """What is left are vectors, vectors of elements, and weights of single channels, named here one by one."""
    potential = small(backbone)
    dense = dense_weights(potential)
    left = [name for name, w in potential.named_parameters() if w.dim() > 1 and name not in dense]
    singles = ("scorers", "products.tables", "biases", "skips")
    strange = [name for name in left if not ELSEWHERE & set(name.split(".")) and not any(s in name for s in singles)]
    assert strange == []
    assert sum(name.startswith("backbone.") for name in dense) >= 4
    assert all(potential.get_parameter(name).dim() in {2, 3} for name in dense)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_a_beginning_changes_nothing_and_gradients_are_those_of_the_factors(
    backbone: str, make_config: MakeConfig
) -> None:
    """Against autograd through W0 + α/r B A, written here as the paper has it."""
    config = make_config(potential={"backbone": {"name": "painn", "cutoff": 4.0}})
    batch = batch_labelled(list(load_datasets(config)[0].train[:2]))
    potential = small(backbone)
    before = {name: value.clone() for name, value in potential.state_dict().items()}
    learner_of(potential, begun=False).merge()
    assert all(torch.equal(value, before[name]) for name, value in potential.state_dict().items())

    learner = learner_of(potential, begun=True)
    learner.merge()
    assert not torch.equal(potential(batch.graph)["energy"], _of(potential, before, batch.graph))
    tasks = tasks_of(LossConfig(), ())
    step = AdaptedStep(LossAndGradients(potential, tasks, [1.0], compiled=False), learner)
    result = step(batch)

    leaves = {name: p.detach().clone().requires_grad_() for name, p in learner.named_parameters()}
    with torch.enable_grad():
        dense = dense_weights(potential)
        weights = {}
        for name in learner.factors:
            down, up = leaves[f"{name}.lora_down"], leaves[f"{name}.lora_up"]
            change = torch.einsum("...or,...ri->...io" if dense[name] else "...or,...ri->...oi", up, down)
            weights[name] = before[name] + 2.0 / 3.0 * change
        expected = torch.autograd.grad(
            _loss(potential, tasks, weights, batch), list(leaves.values()), allow_unused=True
        )
    assert len(result.gradients) == len(leaves) == len(step.weights)
    for name, found, wanted in zip(leaves, result.gradients, expected, strict=True):
        # thousands of roundings, on top of those of the largest gradients
        torch.testing.assert_close(found, 0 * found if wanted is None else wanted, rtol=1e-7, atol=1e-9, msg=name)
    assert any(bool(gradient.any()) for gradient in result.gradients)


def _of(potential: Potential, state: dict[str, Tensor], graph: object) -> Tensor:
    energy: Tensor = torch.func.functional_call(potential, state, (graph,))["energy"]
    return energy


def _loss(potential: Potential, tasks: Sequence[Task], weights: dict[str, Tensor], batch: Labelled) -> Tensor:
    """The loss of a potential as a function of given weights."""
    results = torch.func.functional_call(potential, weights, (prepare(batch.graph, potential.dtype),))
    targets = make_targets(batch, (1.0,), tasks)
    loss: Tensor = (loss_sums(results, targets, tasks) / total_weights(targets, tasks)).sum()
    return loss


def test_a_merged_layer_is_two_ways_added_up() -> None:
    """x W0ᵀ + α/r (x Aᵀ) Bᵀ, as LoRA is computed where it is not merged."""
    generator = torch.Generator().manual_seed(3)
    layer = nn.Linear(6, 5, dtype=torch.float64)
    factors = Factors(layer.weight, LoraConfig(rank=2, alpha=3.0), generator, input_first=False)
    factors.up.data.normal_(generator=generator)
    x = torch.randn(7, 6, dtype=torch.float64, generator=generator)
    expected = layer(x) + 1.5 * (x @ factors.down.T) @ factors.up.T
    with torch.no_grad():
        layer.weight.copy_(factors.weight(factors.down, factors.up))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=100 * EPS * 10)
    assert torch.linalg.matrix_rank(layer.weight - factors.base) == 2
    assert Factors(layer.weight, LoraConfig(rank=99), generator, input_first=False).down.shape == (5, 6)


@pytest.mark.parametrize("backbone", ["painn", "ember", "nequip", "mfc", "gps"])
def test_a_merged_potential_holds_to_the_contract(backbone: str) -> None:
    potential = small(backbone)
    learner_of(potential, begun=True).merge()
    check_contract(potential.requires_grad_())


def tuned(make_config: MakeConfig, output: str = "second", **tables: object) -> RunConfig:
    given = {"start_from": str(tables.pop("checkpoint")), "lora": {"rank": 2, "alpha": 4.0}}
    return make_config(output, **{"stop": {"epochs": 2}, "fine_tune": given, **tables})


@pytest.fixture
def pretrained(make_config: MakeConfig) -> Path:
    return train(make_config("first", stop={"epochs": 2})).checkpoint


def test_a_run_learns_factors_and_leaves_an_ordinary_checkpoint(
    make_config: MakeConfig, pretrained: Path, write_molecules: Callable[[int], str]
) -> None:
    both = [EMT, {"name": "new", "train": write_molecules(6)}, {**EMT, "name": "copy"}]
    lora = {"start_from": str(pretrained), "heads": {"copy": "emt"}, "lora": {"rank": 2}, "freeze": ["backbone.gates"]}
    config = make_config("second", dataset=both, fine_tune=lora, stop={"epochs": 2})
    result = train(config)
    rows = read_journal(config.output / "journal.jsonl")
    first = read_journal(pretrained.parent / "journal.jsonl")
    best = min(first, key=lambda row: row["valid_loss"])
    assert rows[0]["valid"]["emt"] == best["valid"]["emt"]
    before, after = load_checkpoint(pretrained)[0], load_checkpoint(result.checkpoint)[0]
    weights = dict(before.named_parameters())
    for name, weight in after.named_parameters():
        if ".new." in name or ".copy." in name:
            continue
        changed = name.endswith("weight") and name.startswith("backbone.") and "embedding" not in name
        if not changed or "gates" in name:
            assert torch.equal(weight, weights[name]), name
        else:
            assert torch.linalg.matrix_rank(weight - weights[name], rtol=1e-3) == 2, name
    learnt = {name for name in load_file(config.output / "state.safetensors") if name.startswith("optimizer.exp_avg.")}
    kinds = {name.rpartition(".")[2] for name in learnt if ".backbone." in name}
    assert kinds == {"lora_down", "lora_up"}
    assert {name for name in learnt if ".emt." in name} == set()
    assert len([name for name in learnt if ".new." in name or ".copy." in name]) == 8


def test_a_resumed_run_is_the_same_to_the_bit(make_config: MakeConfig, pretrained: Path) -> None:
    whole = train(tuned(make_config, "whole", checkpoint=pretrained)).checkpoint
    train(tuned(make_config, "parts", checkpoint=pretrained, stop={"epochs": 2, "max_minutes": 1e-9}))
    state = load_file(whole.parent.parent / "parts" / "state.safetensors")
    base = load_checkpoint(pretrained)[0].state_dict()
    assert all(
        torch.equal(v, base[n[8:-5]]) for n, v in state.items() if n.startswith("learner.") and n.endswith(".base")
    )
    parts = train(tuned(make_config, "parts", checkpoint=pretrained), resume=True).checkpoint
    one, other = load_file(whole.parent / "state.safetensors"), load_file(parts.parent / "state.safetensors")
    assert one.keys() == other.keys()
    assert any(".lora_up" in name for name in one)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("tables", [{}, {"batch": {"max_atoms": 8, "per_step": 2}}])
def test_training_makes_it_better(make_config: MakeConfig, pretrained: Path, tables: dict[str, object]) -> None:
    config = tuned(make_config, checkpoint=pretrained, stop={"epochs": 8}, optimizer={"learning_rate": 1e-2}, **tables)
    train(config)
    rows = read_journal(config.output / "journal.jsonl")
    assert min(row["valid_loss"] for row in rows[1:]) < 0.9 * rows[0]["valid_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["painn"])
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
def test_the_compiled_step_is_the_eager_one(backbone: str, make_config: MakeConfig) -> None:
    """Frozen, and by factors; programs that are kept for one are not taken for the other."""
    settings = {"backbone": {"name": backbone, "cutoff": 4.0, "width": 8, "depth": 2, "radial_size": 6}}
    first = train(make_config("first", stop={"epochs": 1}, potential=settings)).checkpoint
    for number, more in enumerate(({}, {"freeze": ["backbone"]}, {"lora": {"rank": 2}})):
        results = {}
        for compiled in (False, True):
            tuning = {"start_from": str(first), **more}
            output = f"{number}{compiled}"
            config = make_config(output, potential=settings, fine_tune=tuning, compile=compiled)
            run = Run(config, load_datasets(config), Reporter())
            results[compiled] = run.step(batch_labelled(list(run.structures)))
        found, expected = results[True], results[False]
        assert len(found.gradients) == len(expected.gradients) == len(list(run.learner.parameters()))
        scale = max(float(gradient.abs().max()) for gradient in expected.gradients)
        for one, other in zip(found.gradients, expected.gradients, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-4 * scale)
