"""The step with outputs: gradients are derivatives of the loss, compiled or not, and factors multiply terms."""

import pytest
import torch
from ase.build import bulk, molecule

from potentials.backbones import BACKBONES
from potentials.output_config import OutputConfig
from potentials.potential import Potential, PotentialConfig
from train.config import LossConfig
from train.data import label
from train.frame import Frame
from train.labelled import Labelled, batch_labelled
from train.step import LossAndGradients
from train.tasks import Task, tasks_of

GIVEN = (
    {"name": "charges"},
    {"name": "dipole"},
    {"name": "magmoms", "shared": True},
    {"name": "direct_forces"},
    {"name": "gap", "level": "graph"},
)
OUTPUTS = tuple(OutputConfig.model_validate({"width": 8, **given}) for given in GIVEN)
ROWS = [output.quantity for output in OUTPUTS]
WEIGHTS = (1.0, 0.5)


def make_potential(backbone: str = "painn") -> Potential:
    small = BACKBONES[backbone][0](cutoff=4.0, width=8, depth=1, radial_size=6)
    config = PotentialConfig(backbone=small, heads=("emt", "xtb"), head_width=32, outputs=OUTPUTS)
    potential = Potential(config, seed=2)
    assert potential.outputs is not None
    for row, output in enumerate(OUTPUTS):
        for head in config.heads:
            potential.outputs.output(output.name).set_scale(head, 3.0 + row)
    return potential


def tasks(kind: str) -> tuple[Task, ...]:
    terms = {name: {"kind": kind, "weight": 1.0} for name in ("energy", "forces", "stress")}
    outputs = {row.name: {"kind": kind, "weight": 0.7} for row in ROWS}
    return tasks_of(LossConfig.model_validate({**terms, "outputs": outputs}), ROWS)


def labelled(what: str, *, dataset: int, seed: int) -> Labelled:
    """A crystal with moments and a stress, or a molecule with charges, a dipole and a gap."""
    atoms = bulk("Cu", cubic=True) if what == "Cu" else molecule(what)
    atoms.rattle(0.1, seed=seed)
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    if what == "Cu":
        stress, more = (numbers(3, 3) / 100).numpy(), {"magmoms": numbers(len(atoms)).numpy()}
    else:
        more = {"charges": numbers(len(atoms)).numpy(), "dipole": numbers(3).numpy(), "gap": numbers().numpy()}
        stress = None
    frame = Frame(atoms, f"here:{seed}", float(numbers()), numbers(len(atoms), 3).numpy(), stress, more)
    return label(frame, 4.0, dataset=dataset, outputs=ROWS)


def mixed() -> Labelled:
    return batch_labelled(
        [labelled("Cu", dataset=0, seed=1), labelled("H2O", dataset=1, seed=2), labelled("CH4", dataset=1, seed=3)]
    )


@pytest.mark.parametrize("backbone", ["painn", "schnet"])
def test_gradients_are_finite_differences_of_the_loss(backbone: str) -> None:
    potential = make_potential(backbone).double()
    step, batch = LossAndGradients(potential, tasks("l2"), WEIGHTS, compiled=False), mixed()
    result = step(batch)
    generator = torch.Generator().manual_seed(0)
    for (name, weight), gradient in zip(potential.named_parameters(), result.gradients, strict=True):
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        start, h, losses = weight.detach().clone(), 1e-4, {}
        for steps in (-2, -1, 1, 2):
            with torch.no_grad():
                weight.copy_(start + steps * h * direction)
            losses[steps] = step(batch).loss.item()
        with torch.no_grad():
            weight.copy_(start)
        slope = (losses[-2] - 8 * losses[-1] + 8 * losses[1] - losses[2]) / (12 * h)
        # bounds as in test_step.py, for a loss that is some times larger
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-6, abs=1e-7), name


def test_the_loss_by_hand() -> None:
    """One number of every output, from predictions and labels; a gap counts per atom, a dipole does not."""
    potential, batch = make_potential().double(), mixed()
    result = LossAndGradients(potential, tasks("l1"), WEIGHTS, compiled=False)(batch)
    said = {name: value.detach() for name, value in potential(batch.graph).items()}
    atoms = torch.tensor([4.0, 3.0, 5.0], dtype=torch.float64)
    for row, task in enumerate(tasks("l1")):
        error = (said[task.name] - batch.labels[task.label])[batch.known[task.label]].abs()
        if task.name in {"energy", "gap"}:
            error = error / atoms[batch.known[task.label]]
        data_set = (
            batch.graph.dataset if task.quantity.level == "graph" else batch.graph.dataset[batch.graph.graph_index]
        )
        weight = torch.tensor(WEIGHTS, dtype=torch.float64)[data_set[batch.known[task.label]]]
        weight = weight.view(-1, *[1] * (error.dim() - 1)).expand_as(error)
        expected = task.term.weight * float((weight * error).sum() / weight.sum())
        assert float(result.terms[row]) == pytest.approx(expected, rel=1e-12), task.name
    assert float(result.loss) == pytest.approx(float(result.terms.sum()), rel=1e-14)


def test_factors_multiply_terms_and_gradients() -> None:
    step, batch = LossAndGradients(make_potential().double(), tasks("l2"), WEIGHTS, compiled=False), mixed()
    factors = torch.linspace(0.5, 4.0, len(tasks("l2")), dtype=torch.float64)
    plain, scaled = step(batch), step(batch, factors)
    assert torch.allclose(scaled.terms, factors * plain.terms, rtol=1e-13, atol=0)
    alone = [step(batch, torch.eye(len(factors), dtype=torch.float64)[row]) for row in range(len(factors))]
    for number, gradient in enumerate(scaled.gradients):
        parts = [factor * one.gradients[number] for factor, one in zip(factors, alone, strict=True)]
        assert torch.allclose(gradient, torch.stack(parts).sum(0), rtol=0, atol=1e-10 * float(gradient.abs().max() + 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
def test_the_compiled_step_is_the_eager_step() -> None:
    torch._dynamo.reset()
    potential = make_potential()
    compiled = LossAndGradients(potential, tasks("l2"), WEIGHTS, compiled=True)
    eager = LossAndGradients(potential, tasks("l2"), WEIGHTS, compiled=False)
    factors = torch.linspace(0.5, 4.0, len(tasks("l2")), dtype=torch.float64)
    eps = 1000 * torch.finfo(torch.float32).eps
    for batch in (mixed(), labelled("Cu", dataset=0, seed=4), labelled("CH4", dataset=1, seed=5)):
        for given in (None, factors):
            found, expected = compiled(batch, given), eager(batch, given)
            assert torch.allclose(found.terms, expected.terms, rtol=eps, atol=1e-12)
            assert torch.equal(found.known, expected.known)
            scale = max(float(gradient.abs().max()) for gradient in expected.gradients)
            for one, other in zip(found.gradients, expected.gradients, strict=True):
                assert torch.allclose(one, other, rtol=0, atol=eps * scale)
            for name, value in expected.predicted.items():
                assert found.predicted[name].shape == value.shape, name
                assert torch.allclose(found.predicted[name], value, rtol=0, atol=1e-3, equal_nan=True), name
    torch._dynamo.reset()
