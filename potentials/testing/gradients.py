"""Derivatives against finite differences: forces, stress, and the gradient of a loss of forces to the weights."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.graph import AtomicGraph, batch
from potentials.quantities import QUANTITIES, UNCERTAINTIES
from potentials.testing.samples import cluster, crystal, slab, symmetric_crystals
from potentials.testing.subject import Floats, PotentialUnderTest, require_close, require_vanishing

STEP = 5e-5
"""Cutoffs: step of the finite differences."""

STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Central difference of fourth order: step to weight."""


def _samples(subject: PotentialUnderTest) -> dict[str, Atoms]:
    return {"cluster": cluster(subject.cutoff, 6), "crystal": crystal(subject.cutoff), "slab": slab(subject.cutoff)}


def forces(subject: PotentialUnderTest) -> None:
    """Forces are minus the finite differences of the energy (network in float64)."""
    subject = subject.in_float64()
    step = STEP * subject.cutoff
    for name, atoms in _samples(subject).items():
        for head in subject.potential.heads:
            structures = []
            for atom, axis, steps in np.ndindex(len(atoms), 3, len(STENCIL)):
                moved = atoms.copy()
                moved.positions[atom, axis] += step * list(STENCIL)[steps]
                structures.append(moved)
            energies = np.array([answer.energy for answer in subject.answers_of(structures, head=head)])
            slopes = energies.reshape(len(atoms), 3, len(STENCIL)) @ np.array(list(STENCIL.values())) / step
            got = subject.answer(atoms, head=head).forces
            subject.require_signal(f"forces of the {name}", got)
            require_close(f"{name}: forces against differences (eV/Å)", got, -slopes, _bound(subject))


def stress(subject: PotentialUnderTest) -> None:
    """Stress is the finite difference of the energy in a symmetric strain, over the volume (network in float64)."""
    subject = subject.in_float64()
    for name, atoms in _samples(subject).items():
        slopes = np.zeros((3, 3))
        for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
            strain = np.zeros((3, 3))
            strain[i, j] += STEP / 2
            strain[j, i] += STEP / 2
            answers = subject.answers_of([_strained(atoms, steps * strain) for steps in STENCIL])
            slopes[i, j] = slopes[j, i] = (
                sum(weight * a.energy for weight, a in zip(STENCIL.values(), answers, strict=True)) / STEP
            )
        got = subject.answer(atoms)
        subject.require_signal(f"virial of the {name}", got.virial)
        bound = len(atoms) * subject.cutoff * _bound(subject)
        require_close(f"{name}: virial against differences (eV)", got.virial, slopes, bound)
        if atoms.cell.rank == 3:
            volume = atoms.cell.volume
            require_close(f"{name}: stress (eV/Å³)", got.stress, slopes / volume, bound / volume)


def _strained(atoms: Atoms, strain: Floats) -> Atoms:
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ (np.eye(3) + strain))
    strained.positions = atoms.positions @ (np.eye(3) + strain)
    return strained


def _bound(subject: PotentialUnderTest) -> float:
    return subject.tolerances.derivative * subject.energy_scale


def symmetric_sites(subject: PotentialUnderTest) -> None:
    """In crystals of high symmetry forces are zero, all derivatives finite, and forces near the site proportional."""
    for name, atoms in symmetric_crystals(subject.cutoff).items():
        answer = subject.answer(atoms)
        subject.require_signal(f"virial of {name}", answer.virial)
        require_close(f"{name}: forces by symmetry (eV/Å)", answer.forces, 0 * answer.forces, subject.value_bound)
        loss = _loss(subject.potential(subject.graph(atoms)), seed=1)
        for weight, gradient in _weight_gradients(subject, loss).items():
            if not bool(torch.isfinite(gradient).all()):
                raise AssertionError(f"{name}: gradient of a loss of forces and stress to {weight} is not finite")
        if len(atoms) > 1:
            _no_kink(subject.in_float64(), name, atoms)


def _no_kink(subject: PotentialUnderTest, name: str, atoms: Atoms) -> None:
    """Forces start from zero in proportion as an atom leaves its symmetric site."""
    sizes = {}
    for step in subject.cutoff * np.array([3e-2, 1e-4, 1e-5, 1e-6]):
        moved = atoms.copy()
        moved.positions[-1] += step * np.array([0.48, 0.6, 0.64])
        sizes[step] = float(np.abs(subject.answer(moved).forces).max())
    subject.require_signal(f"{name}: forces off the symmetric site", sizes.pop(max(sizes)))
    noise = 1e-12 * subject.energy_scale
    require_vanishing(f"{name}: forces near the symmetric site (eV/Å)", sizes, order=1, noise=noise)


def weight_gradients(subject: PotentialUnderTest) -> None:
    """Gradients of a loss of energy, forces and stress to all weights equal finite differences; no weight is idle."""
    subject = subject.in_float64()
    graph = _training_batch(subject)
    gradients = _weight_gradients(subject, _loss(subject.potential(graph), seed=2))
    # each output beside the energy has a unit and a size of its own, and is held against its own largest gradient
    part_of = {name: name.split(".")[2] if name.startswith("outputs.") else "energy" for name in gradients}
    sizes = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    largest = {part: max(sizes[name] for name in sizes if part_of[name] == part) for part in part_of.values()}
    scale = max(sizes.values())
    least = {part: (1e-9 if part == "energy" else 1e-6) * size for part, size in largest.items()}
    idle = [name for name, size in sizes.items() if not size > least[part_of[name]]]
    if idle:
        raise AssertionError(f"weights without effect on energy, forces, stress or outputs: {', '.join(idle)}")
    generator = torch.Generator().manual_seed(3)
    for name, gradient in gradients.items():
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64).to(gradient.device)
        direction = direction / direction.norm() + gradient / gradient.norm()
        step = 2e-4 * max(1e-2, float(subject.potential.get_parameter(name).detach().abs().mean()))
        losses = [_shifted(subject, graph, name, steps * step * direction) for steps in STENCIL]
        slope = float(np.dot(losses, list(STENCIL.values()))) / step
        bound = 100 * subject.tolerances.derivative * scale
        require_close(f"gradient of the loss along {name}", float((gradient * direction).sum()), slope, bound)


def _training_batch(subject: PotentialUnderTest) -> AtomicGraph:
    """A charged crystal with a spin, and a molecule without a cell, for every branch."""
    periodic, molecule = crystal(subject.cutoff, 4), cluster(subject.cutoff, 4)
    periodic.info = {"charge": 1.0, "spin": 2.0}
    molecule.info = {"charge": -1.0}
    heads = subject.potential.heads
    return batch([subject.graph(atoms, head=head) for head in heads for atoms in (periodic, molecule)])


def _loss(results: dict[str, Tensor], seed: int) -> Tensor:
    """A random linear function of energies and stresses, and of squared forces, which symmetry does not make idle.

    Outputs enter with their squares too; uncertainties do not, nothing is learnt by them.
    """
    generator = torch.Generator().manual_seed(seed)
    known = torch.isfinite(results["stress"])

    def mixed(values: Tensor) -> Tensor:
        return (values * torch.randn(values.shape, generator=generator, dtype=values.dtype).to(values.device)).sum()

    loss = mixed(results["energy"]) + mixed(results["forces"].square()) + mixed(results["stress"][known])
    more = [results[name] for name in results if name not in {*QUANTITIES, *UNCERTAINTIES, "virial"}]
    return loss + sum((mixed(values + values.square()) for values in more), torch.zeros_like(loss))


def _weight_gradients(subject: PotentialUnderTest, loss: Tensor) -> dict[str, Tensor]:
    weights = {name: weight for name, weight in subject.potential.named_parameters() if weight.requires_grad}
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    nothing = [torch.zeros_like(weight) for weight in weights.values()]
    return {
        name: zero if gradient is None else gradient
        for name, gradient, zero in zip(weights, found, nothing, strict=True)
    }


def _shifted(subject: PotentialUnderTest, graph: AtomicGraph, name: str, shift: Tensor) -> float:
    weight = subject.potential.get_parameter(name)
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(shift)
        loss = float(_loss(subject.potential(graph), seed=2))
        weight.copy_(before)
    return loss
