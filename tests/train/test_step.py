"""One step's mathematics: gradients are derivatives of the loss, compiled or not."""

import shutil

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from potentials.backbones import BACKBONES
from potentials.potential import Potential, PotentialConfig
from train.config import LossConfig
from train.data import label
from train.frame import Frame
from train.labelled import Labelled, batch_labelled
from train.step import LossAndGradients
from train.tasks import tasks_of

LOSS = tasks_of(LossConfig.model_validate({"forces": {"kind": "l2"}, "stress": {"weight": 1.0}}), ())
WEIGHTS = (1.0, 0.5)

ROUNDINGS = 1000
"""Operations in a chain, from the weights to a second derivative and back."""


def make_potential(backbone: str = "painn", depth: int = 2) -> Potential:
    config, _ = BACKBONES[backbone]
    small = config(cutoff=4.0, width=8, depth=depth, radial_size=6)
    potential = Potential(PotentialConfig(backbone=small, heads=("emt", "xtb"), head_width=32), seed=2)
    potential.references.set_head("emt", {"Cu": 0.1}, scale=0.7)
    potential.references.set_head("xtb", {"H": -0.3, "C": 0.2, "O": 0.5}, scale=1.2)
    return potential


def frame(atoms: Atoms, energy: float | None, *, stress: bool, seed: int) -> Frame:
    generator = torch.Generator().manual_seed(seed)
    forces = torch.randn(len(atoms), 3, generator=generator, dtype=torch.float64).numpy()
    return Frame(atoms, f"here:{seed}", energy, forces, (atoms.cell.array / 1000) if stress else None)


def metal(length: int = 1) -> Labelled:
    atoms = bulk("Cu", cubic=True) * (length, 1, 1)
    atoms.rattle(0.1, seed=length)
    return label(frame(atoms, 0.3, stress=True, seed=length), 4.0, dataset=0)


def organic(name: str, energy: float | None) -> Labelled:
    return label(frame(molecule(name), energy, stress=False, seed=7), 4.0, dataset=1)


def mixed() -> Labelled:
    return batch_labelled([metal(), organic("H2O", -1.0), metal(2), organic("CH4", None)])


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_gradients_are_finite_differences_of_the_loss(backbone: str) -> None:
    """Fourth order, float64: along a random direction in each tensor of weights."""
    potential = make_potential(backbone).double()
    # L2: Huber's second derivative jumps, and differences across the kink are of first order only
    terms = {name: {"kind": "l2", "weight": 1.0} for name in ("energy", "forces", "stress")}
    loss = tasks_of(LossConfig.model_validate(terms), ())
    step, batch = LossAndGradients(potential, loss, WEIGHTS, compiled=False), mixed()
    result = step(batch)
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for parameter, gradient in zip(potential.parameters(), result.gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        start, h, losses = parameter.detach().clone(), 1e-4, {}
        for steps in (-2, -1, 1, 2):
            with torch.no_grad():
                parameter.copy_(start + steps * h * direction)
            losses[steps] = step(batch).loss.item()
        with torch.no_grad():
            parameter.copy_(start)
        slope = (losses[-2] - 8 * losses[-1] + 8 * losses[1] - losses[2]) / (12 * h)
        analytic = (gradient * direction).sum().item()
        # rounding: 1e-16 · loss · ROUNDINGS / h is 1e-9; truncation: h⁴ = 1e-16 times a fifth derivative
        assert slope == pytest.approx(analytic, rel=1e-6, abs=1e-8)
        total += abs(analytic)
    assert total > 0.01


def test_result_is_in_the_order_of_the_parameters_and_float64_outside() -> None:
    potential = make_potential()
    batch = mixed()
    result = LossAndGradients(potential, LOSS, WEIGHTS, compiled=False)(batch)
    assert [gradient.shape for gradient in result.gradients] == [weight.shape for weight in potential.parameters()]
    assert {gradient.dtype for gradient in result.gradients} == {torch.float32}
    assert result.loss.dtype == torch.float64
    assert result.loss.shape == ()
    expected = potential(batch.graph)
    for name, value in result.predicted.items():
        assert not value.requires_grad
        assert torch.equal(torch.nan_to_num(value), torch.nan_to_num(expected[name].detach())), name
    assert all(weight.grad is None for weight in potential.parameters())


@pytest.mark.parametrize(("there", "absent"), [("emt", "xtb"), ("xtb", "emt")])
def test_a_branch_without_data_gets_a_gradient_of_exactly_zero(there: str, absent: str) -> None:
    potential = make_potential()
    batch = metal() if there == "emt" else organic("H2O", -1.0)
    result = LossAndGradients(potential, LOSS, WEIGHTS, compiled=False)(batch)
    gradients = dict(zip(dict(potential.named_parameters()), result.gradients, strict=True))
    branch = {name: value for name, value in gradients.items() if name.startswith("branches.")}
    assert len(branch) == 8
    for name, value in branch.items():
        if f".{absent}." in name:
            assert not value.any(), name
    # the last bias shifts energies: the branch that was asked has learnt something
    assert bool(branch[f"branches.branches.{there}.2.bias"].any())


def test_labels_that_are_unknown_give_no_gradient() -> None:
    potential = make_potential()
    step = LossAndGradients(potential, LOSS, WEIGHTS, compiled=False)
    silent = label(Frame(molecule("CH4"), "here:0", None, None, None), 4.0, dataset=1)
    assert all(not gradient.any() for gradient in step(silent).gradients)
    known = step(batch_labelled([metal(), organic("H2O", -1.0)]))
    with_silent = step(batch_labelled([metal(), silent, organic("H2O", -1.0)]))
    eps = torch.finfo(torch.float32).eps
    assert with_silent.loss.item() == pytest.approx(known.loss.item(), rel=ROUNDINGS * eps)
    for one, other in zip(with_silent.gradients, known.gradients, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=ROUNDINGS * eps * float(other.abs().max() + 1e-3))


@pytest.mark.parametrize(
    ("backbone", "depth"),
    [
        ("painn", 1),
        *(pytest.param(name, 2, marks=pytest.mark.slow) for name in ("painn", "schnet", "egnn", "mace", "nequip")),
    ],
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
def test_the_compiled_step_is_the_eager_step(backbone: str, depth: int) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    potential = make_potential(backbone, depth)
    compiled = LossAndGradients(potential, LOSS, WEIGHTS, compiled=True)
    eager = LossAndGradients(potential, LOSS, WEIGHTS, compiled=False)
    batches = {
        "one graph": metal(2),
        "mixed": mixed(),
        "one branch": batch_labelled([organic("H2O", -1.0), organic("CH4", None)]),
        "one atom": label(frame(bulk("Cu"), 0.1, stress=True, seed=1), 4.0),
    }
    eps = torch.finfo(torch.float32).eps
    for what, batch in batches.items():
        told: dict[int, torch.Tensor] = {}
        found, expected = compiled(batch, ready=told.__setitem__), eager(batch)
        assert all(told[number].equal(gradient) for number, gradient in enumerate(found.gradients)), what
        assert found.loss.item() == pytest.approx(expected.loss.item(), rel=ROUNDINGS * eps), what
        scale = max(float(gradient.abs().max()) for gradient in expected.gradients)
        for name, one, other in zip(
            dict(potential.named_parameters()), found.gradients, expected.gradients, strict=True
        ):
            assert one.shape == other.shape
            assert torch.allclose(one, other, rtol=0, atol=ROUNDINGS * eps * scale), (what, name)
        for name, value in expected.predicted.items():
            assert found.predicted[name].shape == value.shape
            assert torch.allclose(found.predicted[name], value, rtol=0, atol=1e-4, equal_nan=True), (what, name)
    absent = [
        gradient
        for name, gradient in zip(dict(potential.named_parameters()), compiled(metal()).gradients, strict=True)
        if ".xtb." in name
    ]
    assert len(absent) == 4
    assert all(not gradient.any() for gradient in absent)
    assert not torch._dynamo.utils.counters["stats"]  # nothing was compiled again for another size
    torch._dynamo.reset()


def test_a_compiled_step_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler"):
        LossAndGradients(make_potential(), LOSS, WEIGHTS, compiled=True)
