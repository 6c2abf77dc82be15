"""The loss: masked sums over global weights."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from potentials.potential import Potential, PotentialConfig
from train.config import LossConfig
from train.config_tables import TermConfig
from train.data import label
from train.frame import Frame
from train.labelled import Labelled, batch_labelled
from train.losses import loss_sums, make_targets, penalty, total_weights
from train.tasks import tasks_of

CONFIG = LossConfig.model_validate({"energy": {"weight": 2.0}, "forces": {"weight": 3.0}, "stress": {"weight": 0.5}})
TASKS = tasks_of(CONFIG, ())


def one(atoms: Atoms, knows: str, *, dataset: int = 0, seed: int = 0) -> Labelled:
    """A structure with random labels; `knows` names the known ones by their letters e, f and s."""
    random = np.random.default_rng(seed)
    strain = random.normal(size=(3, 3))
    return label(
        Frame(
            atoms,
            f"here:{seed}",
            float(random.normal()) if "e" in knows else None,
            random.normal(size=(len(atoms), 3)) if "f" in knows else None,
            strain + strain.T if "s" in knows else None,
        ),
        4.0,
        dataset=dataset,
    )


def structures() -> list[Labelled]:
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=3)
    return [
        one(crystal, "efs"),
        one(molecule("H2O"), "ef", dataset=1, seed=1),
        one(molecule("CH4"), "e", dataset=1, seed=2),
        one(bulk("Cu") * (2, 1, 1), "fs", seed=3),
        one(molecule("CH3OH"), "f", dataset=1, seed=4),
        one(bulk("Al"), "es", seed=5),
    ]


def guess(batch: Labelled) -> dict[str, torch.Tensor]:
    """What some potential says: numbers that depend on the structure alone, NaN for the stress of molecules."""
    graph = batch.graph
    atoms = torch.bincount(graph.graph_index)
    stress = graph.cell.sin() + 0.1
    return {
        "energy": graph.cell.sum((1, 2)).cos() + atoms,
        "forces": graph.positions.sin(),
        "stress": torch.where((graph.pbc.any(1))[:, None, None], stress, torch.full_like(stress, torch.nan)),
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("l1", [0.0, 0.005, 0.1, 3.0]),
        ("l2", [0.0, 2.5e-5, 0.01, 9.0]),
        # e² / 2δ up to δ = 0.1, |e| - δ/2 beyond; the same slope and value where they meet
        ("huber", [0.0, 1.25e-4, 0.05, 2.95]),
    ],
)
def test_penalties(kind: str, expected: list[float]) -> None:
    term = TermConfig.model_validate({"kind": kind, "delta": 0.1})
    error = torch.tensor([0.0, -0.005, 0.1, -3.0], dtype=torch.float64)
    assert penalty(error, term).tolist() == pytest.approx(expected, abs=1e-15)


def test_huber_is_smooth_at_delta() -> None:
    term = TermConfig.model_validate({"kind": "huber", "delta": 0.1})
    error = torch.tensor([0.1 - 1e-9, 0.1 + 1e-9], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(penalty(error, term).sum(), error)
    assert slope.tolist() == pytest.approx([1.0, 1.0], abs=1e-7)


def test_sums_by_hand() -> None:
    """One structure after the other, in numpy, from the labels."""
    weights = (1.5, 0.25)
    huber = {"energy": 0.01, "forces": 0.05, "stress": 0.01}
    expected, total = dict.fromkeys(huber, 0.0), dict.fromkeys(huber, 0.0)
    for single in structures():
        said = guess(single)
        weight = weights[int(single.graph.dataset[0])]
        for name, delta in huber.items():
            if not bool(single.known[name].all()):
                continue
            error = np.abs((said[name] - single.labels[name]).numpy())
            error = error / single.graph.n_atoms if name == "energy" else error
            expected[name] += weight * np.where(error < delta, error**2 / (2 * delta), error - delta / 2).sum()
            total[name] += weight * error.size
    batch = batch_labelled(structures())
    targets = make_targets(batch, weights, TASKS)
    assert total_weights(targets, TASKS).tolist() == pytest.approx(list(total.values()), rel=1e-14)
    terms = [2.0 * expected["energy"], 3.0 * expected["forces"], 0.5 * expected["stress"]]
    assert loss_sums(guess(batch), targets, TASKS).tolist() == pytest.approx(terms, rel=1e-12)


def test_unknown_labels_do_not_count() -> None:
    batch = batch_labelled(structures())
    spoiled = Labelled(
        batch.graph,
        {name: label.clone() for name, label in batch.labels.items()},
        batch.known,
        batch.source,
    )
    for name, labels in spoiled.labels.items():
        assert not bool(spoiled.known[name].all())
        labels[~spoiled.known[name]] = 1e6
    weights = (1.0, 2.0)
    clean = loss_sums(guess(batch), make_targets(batch, weights, TASKS), TASKS)
    assert torch.equal(loss_sums(guess(batch), make_targets(spoiled, weights, TASKS), TASKS), clean)
    assert torch.equal(
        total_weights(make_targets(spoiled, weights, TASKS), TASKS),
        total_weights(make_targets(batch, weights, TASKS), TASKS),
    )
    assert bool(torch.isfinite(clean).all())  # molecules have no stress, not even a wrong one


def test_nothing_known_is_a_loss_of_zero() -> None:
    batch = batch_labelled([one(molecule("H2O"), ""), one(molecule("CH4"), "")])
    targets = make_targets(batch, (1.0,), TASKS)
    assert total_weights(targets, TASKS).tolist() == [0.0, 0.0, 0.0]
    assert loss_sums(guess(batch), targets, TASKS).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("parts", [[[0, 1, 2], [3, 4, 5]], [[5], [0, 4], [2, 1, 3]], [[0], [1], [2], [3], [4], [5]]])
def test_any_partition_gives_the_loss_and_gradient_of_the_whole(parts: list[list[int]]) -> None:
    """What ranks and accumulation rest on: sums and weights are added, and divided once."""
    potential = Potential(
        PotentialConfig.model_validate({"heads": ["a", "b"], "backbone": {"name": "painn", "width": 8, "depth": 1}})
    ).double()
    parameters = list(potential.parameters())
    members, weights = structures(), (1.5, 0.25)

    def sums_and_totals(batch: Labelled) -> tuple[torch.Tensor, torch.Tensor]:
        targets = make_targets(batch, weights, TASKS)
        return loss_sums(potential(batch.graph), targets, TASKS), total_weights(targets, TASKS)

    sums, totals = sums_and_totals(batch_labelled(members))
    whole = (sums / totals).sum()
    gradients = torch.autograd.grad(whole, parameters)

    found = [sums_and_totals(batch_labelled([members[index] for index in part])) for part in parts]
    together = torch.stack([total for _, total in found]).sum(0)
    assert together.tolist() == pytest.approx(totals.tolist(), rel=1e-14)
    losses = [(part / together).sum() for part, _ in found]
    assert torch.stack(losses).sum().item() == pytest.approx(whole.item(), rel=1e-12)
    pieces = [torch.autograd.grad(loss, parameters) for loss in losses]
    for wanted, *parts_of in zip(gradients, *pieces, strict=True):
        assert torch.allclose(sum(parts_of), wanted, rtol=0, atol=1e-11 * float(wanted.abs().max() + 1e-3))

    # a mean of the parts' own means is another number: the sums are what matters
    means = [(part / total.clamp(min=1e-300)).sum().item() for part, total in found]
    assert abs(np.mean(means) - whole.item()) > 1e-3 * whole.item()


def test_a_data_set_of_twice_the_weight_counts_as_if_it_were_there_twice() -> None:
    metal, water = structures()[0], structures()[1]

    def mean(batch: Labelled, weights: tuple[float, float]) -> torch.Tensor:
        targets = make_targets(batch, weights, TASKS)
        return loss_sums(guess(batch), targets, TASKS) / total_weights(targets, TASKS)

    twice = mean(batch_labelled([metal, water, water]), (1.0, 1.0))
    assert mean(batch_labelled([metal, water]), (1.0, 2.0)).tolist() == pytest.approx(twice.tolist(), rel=1e-13)
    assert mean(batch_labelled([metal, water]), (1.0, 1.0)).tolist() != pytest.approx(twice.tolist(), rel=1e-3)
