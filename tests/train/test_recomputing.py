"""Layers that are computed again in the pass back: the same gradients, and less that is kept."""

from typing import ClassVar

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

TERMS = {name: {"kind": "l2", "weight": 1.0} for name in ("energy", "forces", "stress")}


def make_potential(backbone: str, depth: int = 3, width: int = 8) -> Potential:
    config, _ = BACKBONES[backbone]
    given = config(cutoff=4.0, width=width, depth=depth, radial_size=6)
    return Potential(PotentialConfig(backbone=given, heads=("one", "other"), head_width=8), seed=2).double()


def labelled(atoms: Atoms, *, stress: bool, dataset: int) -> Labelled:
    generator = torch.Generator().manual_seed(len(atoms))
    forces = torch.randn(len(atoms), 3, generator=generator, dtype=torch.float64).numpy()
    frame = Frame(atoms, "here:0", -1.0, forces, atoms.cell.array / 1000 if stress else None)
    return label(frame, 4.0, dataset=dataset)


def mixed() -> Labelled:
    metal = bulk("Cu", cubic=True)
    metal.rattle(0.1, seed=1)
    return batch_labelled(
        [labelled(metal, stress=True, dataset=0), labelled(molecule("CH3OH"), stress=False, dataset=1)]
    )


def assert_same_gradients(potential: Potential, *, forces: bool) -> None:
    """With and without, in float64: what differs is the order of the sums of what comes back to a tensor."""
    terms = TERMS if forces else {**TERMS, "forces": {"weight": 0.0}, "stress": {"weight": 0.0}}
    tasks, batch = tasks_of(LossConfig.model_validate(terms), ()), mixed()
    plain = LossAndGradients(potential, tasks, (1.0, 1.0), compiled=False)(batch)
    step = LossAndGradients(potential, tasks, (1.0, 1.0), compiled=False, recompute=True)
    for _ in range(2):
        again = step(batch)
        assert again.loss.item() == pytest.approx(plain.loss.item(), rel=1e-12)
        largest = max(float(gradient.abs().max()) for gradient in plain.gradients)
        assert largest > 1e-3
        for (name, _), one, other in zip(potential.named_parameters(), again.gradients, plain.gradients, strict=True):
            assert torch.allclose(one, other, rtol=1e-10, atol=1e-10 * largest), name


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_gradients_are_the_same(backbone: str) -> None:
    assert_same_gradients(make_potential(backbone), forces=True)


def test_gradients_without_forces_are_the_same() -> None:
    assert_same_gradients(make_potential("painn"), forces=False)


def test_points_that_move_are_recomputed_too() -> None:
    config, _ = BACKBONES["egnn"]
    given = config.model_validate({"cutoff": 4.0, "width": 8, "depth": 3, "radial_size": 6, "update_positions": True})
    potential = Potential(PotentialConfig(backbone=given, heads=("one", "other"), head_width=8), seed=2).double()
    assert_same_gradients(potential, forces=True)


def test_weights_that_are_frozen_stay_without_gradient() -> None:
    potential = make_potential("schnet")
    potential.backbone.inputs[0].weight.requires_grad_(requires_grad=False)
    potential.backbone.recompute_layers()
    results = potential(mixed().graph)
    (results["energy"].sum() + results["forces"].square().sum()).backward()
    without = [name for name, weight in potential.named_parameters() if weight.grad is None]
    assert without == ["backbone.inputs.0.weight"]


class Kept:
    """A tensor that autograd keeps; `most` is the largest number of bytes so far, a storage counted once."""

    held: ClassVar[dict[int, list[int]]] = {}
    most: ClassVar[int] = 0

    def __init__(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self.place = tensor, storage.data_ptr()
        self.held.setdefault(self.place, []).append(storage.nbytes())
        Kept.most = max(Kept.most, sum(sizes[0] for sizes in self.held.values()))

    def __del__(self) -> None:
        self.held[self.place].pop()
        if not self.held[self.place]:
            del self.held[self.place]


def most_kept(step: LossAndGradients, batch: Labelled) -> int:
    """The largest number of bytes that is kept at one time in a step."""
    Kept.held.clear()
    Kept.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        step(batch)
    return Kept.most


@pytest.mark.parametrize("backbone", ["painn", "nequip", "mace"])
def test_less_is_kept(backbone: str) -> None:
    """Of six layers one at a time is kept whole, where autograd alone keeps all of them twice over."""
    potential, tasks = make_potential(backbone, depth=6, width=16), tasks_of(LossConfig.model_validate(TERMS), ())
    batch = batch_labelled([mixed()] * 8)
    weights = sum(weight.nbytes for weight in potential.parameters())
    kept = []
    for recompute in (False, True):
        step = LossAndGradients(potential, tasks, (1.0, 1.0), compiled=False, recompute=recompute)
        step(batch)
        kept.append(most_kept(step, batch) - weights)
    assert kept[1] < 0.5 * kept[0], kept
