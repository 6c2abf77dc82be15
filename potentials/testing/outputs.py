"""Outputs beyond the energy: how they turn, add up, and end at the cutoff."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike

from potentials.output_config import OutputConfig
from potentials.testing.locality import ROUNDING, crossing_atom
from potentials.testing.samples import ELEMENTS, cluster, crystal, lattice_of_four, lattice_of_one, slab
from potentials.testing.subject import Answer, Floats, PotentialUnderTest, require_close, require_vanishing
from potentials.testing.symmetry import random_rotation


@dataclass(frozen=True)
class _Bounds:
    """How far the outputs of a subject may be off: a part of the largest number of a probe, 1 at least."""

    value: float
    largest: float

    @staticmethod
    def of(subject: PotentialUnderTest) -> _Bounds:
        probe = subject.answer(cluster(subject.cutoff, 16, seed=7)).outputs
        largest = max([1.0, *(float(np.abs(probe[output.name]).max()) for output in _each(subject))])
        # a sum over 25 edges cancels: its terms are larger than it is
        return _Bounds(5 * subject.tolerances.value * largest, largest)


def _each(subject: PotentialUnderTest) -> tuple[OutputConfig, ...]:
    if not subject.potential.config.outputs:
        raise AssertionError("this potential has no outputs: nothing to test")
    return subject.potential.config.outputs


def _require_same(
    subject: PotentialUnderTest, what: str, got: Answer, wanted: Answer, matrix: Floats | None = None
) -> None:
    """Outputs of two answers agree; vectors are turned by `matrix`."""
    bound = _Bounds.of(subject).value
    for output in _each(subject):
        expected = wanted.outputs[output.name]
        if matrix is not None and output.kind == "vector":
            expected = expected @ matrix.T
        times = len(wanted.energies) if output.level == "graph" else 1
        require_close(f"{what}: {output.name}", got.outputs[output.name], expected, times * bound)


def _require_signal(subject: PotentialUnderTest, what: str, answer: Answer) -> None:
    for output in _each(subject):
        subject.require_signal(f"{output.name} of {what}", answer.outputs[output.name])


def _samples(cutoff: float) -> dict[str, Atoms]:
    return {"cluster": cluster(cutoff, 12), "crystal": crystal(cutoff), "slab": slab(cutoff)}


def symmetries(subject: PotentialUnderTest) -> None:
    """Moved as a whole, turned, mirrored or renumbered, scalars stay and vectors follow."""
    rotation = random_rotation()
    for name, atoms in _samples(subject.cutoff).items():
        before = subject.answer(atoms)
        _require_signal(subject, name, before)
        moved = atoms.copy()
        moved.positions += subject.cutoff * np.array([1.37, -2.11, 0.73])
        _require_same(subject, f"{name} translated", subject.answer(moved), before)
        for how, matrix in (("rotated", rotation), ("reflected", -rotation)):
            turned = atoms.copy()
            turned.set_cell(atoms.cell.array @ matrix.T)
            turned.positions = atoms.positions @ matrix.T
            _require_same(subject, f"{name} {how}", subject.answer(turned), before, matrix)
        order = np.random.default_rng(6).permutation(len(atoms))
        renumbered = subject.answer(atoms[order])
        for output in _each(subject):
            values = before.outputs[output.name]
            wanted = values[order] if output.level == "atom" else values
            bound = _Bounds.of(subject).value * (1 if output.level == "atom" else len(atoms))
            require_close(f"{name} renumbered: {output.name}", renumbered.outputs[output.name], wanted, bound)


def cells(subject: PotentialUnderTest) -> None:
    """Extensive outputs of n cells are n times that of one, others stay; lattice vectors change nothing."""
    bound = _Bounds.of(subject).value
    cutoff = subject.cutoff
    for name, atoms in {
        "4-atom cell": lattice_of_four(cutoff),
        "crystal": crystal(cutoff),
        "slab": slab(cutoff),
    }.items():
        atoms.info["charge"] = 1.0
        one = subject.answer(atoms)
        _require_signal(subject, name, one)
        for repeat in ((2, 1, 1), (1, 3, 1)):
            times, larger = max(repeat), atoms.repeat(repeat)
            larger.info["charge"] = float(times)
            many = subject.answer(larger)
            for output in _each(subject):
                value = one.outputs[output.name]
                if output.level == "atom":
                    wanted: Floats = np.tile(value, (times, *[1] * (value.ndim - 1)))
                else:
                    wanted = value * (times if output.extensive else 1)
                allowed = bound * (times * len(atoms) if output.level == "graph" else 1)
                require_close(f"{name} repeated {repeat}: {output.name}", many.outputs[output.name], wanted, allowed)
        shifted = atoms.copy()
        steps = np.random.default_rng(8).integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
        shifted.positions += steps @ atoms.cell.array
        _require_same(subject, f"{name}, atoms moved by lattice vectors", subject.answer(shifted), one)


def totals(subject: PotentialUnderTest) -> None:
    """Charges add up to the structure's charge, direct forces to zero, and with local backbones what is far apart."""
    bound = _Bounds.of(subject).value
    for name, atoms in _samples(subject.cutoff).items():
        for charge in (0.0, 1.0, -2.0):
            atoms.info["charge"] = charge
            answer = subject.answer(atoms)
            rounding = 1e-12 * len(atoms) * _Bounds.of(subject).largest
            if "charges" in answer.outputs:
                require_close(f"{name}: sum of charges (e)", answer.outputs["charges"].sum(), charge, rounding)
            if "direct_forces" in answer.outputs:
                net = answer.outputs["direct_forces"].sum(axis=0)
                require_close(f"{name}: sum of direct forces (eV/Å)", net, np.zeros(3), len(atoms) * bound)
    if not subject.potential.backbone.is_local:
        return
    first, second = cluster(subject.cutoff, 7), cluster(subject.cutoff, 12, seed=3)
    apart = second.copy()
    apart.positions += 10 * subject.cutoff
    together, one, other = subject.answers_of([first + apart, first, second])
    for output in _each(subject):
        parts = one.outputs[output.name], other.outputs[output.name]
        if output.level == "atom":
            wanted: ArrayLike = np.concatenate(parts)
        else:
            wanted = parts[0] + parts[1] if output.extensive else (7 * parts[0] + 12 * parts[1]) / 19
        allowed = bound * (19 if output.level == "graph" else 1)
        require_close(f"two clusters far apart: {output.name}", together.outputs[output.name], wanted, allowed)


def batches(subject: PotentialUnderTest) -> None:
    """A structure has the same outputs alone and in a batch; separate heads differ, shared ones do not."""
    cutoff, heads = subject.cutoff, subject.potential.heads
    structures = [cluster(cutoff, 3), crystal(cutoff), Atoms(numbers=[8], positions=np.zeros((1, 3))), slab(cutoff)]
    structures += [cluster(cutoff, 40, seed=1), lattice_of_one(cutoff)]
    named = zip(structures, itertools.cycle(heads), strict=False)
    graphs = [subject.graph(atoms, head=head) for atoms, head in named]
    for index, (graph, member) in enumerate(zip(graphs, subject.answers(graphs), strict=True)):
        _require_same(subject, f"member {index} of a batch", member, subject.answers([graph])[0])
    answers = {head: subject.answer(structures[4], head=head) for head in heads}
    for (first, a), (second, b) in itertools.combinations(answers.items(), 2):
        for output in _each(subject):
            difference = a.outputs[output.name] - b.outputs[output.name]
            if output.shared and output.name != "dipole":  # a dipole has charges in it, which need not be shared
                require_close(f"{output.name} of {first} and {second}", difference, 0 * difference, 0.0)
            elif not output.shared:
                subject.require_signal(f"difference of {output.name} between {first} and {second}", difference)


def cutoff(subject: PotentialUnderTest) -> None:
    """Among many atoms, one that enters another's cutoff makes no step in any output, nor in its slope."""
    subject = subject.in_float64()
    surroundings, atom, direction = crossing_atom(subject.cutoff)

    def at(*distances: float) -> list[Answer]:
        places = [surroundings.positions[atom] + direction * (subject.cutoff + distance) for distance in distances]
        return subject.answers_of([surroundings + Atoms(numbers=[6], positions=[place]) for place in places])

    noise = 10 * ROUNDING * _Bounds.of(subject).largest
    for output in _each(subject):
        steps, slopes = {}, {}
        for step in subject.cutoff * np.array([1e-2, 1e-3, 1e-4]):
            values = [answer.outputs[output.name] for answer in at(-2 * step, -step, step, 2 * step)]
            steps[step] = float(np.abs(values[2] - values[1]).max())
            slopes[step] = float(np.abs(values[3] - values[2] - (values[1] - values[0])).max()) / step
        subject.require_signal(f"change of {output.name} over 2 % of the cutoff", 100 * max(steps.values()))
        require_vanishing(f"step of {output.name} at the cutoff", steps, order=1, noise=noise)
        slope_noise = 4 * noise / min(slopes)
        require_vanishing(f"step of the slope of {output.name} at the cutoff", slopes, order=1, noise=slope_noise)


def isolated(subject: PotentialUnderTest) -> None:
    """Atoms without neighbours have no vectors and an even share of the charge, and training on them stays finite."""
    bound = _Bounds.of(subject).value
    far = Atoms(numbers=ELEMENTS, positions=3 * subject.cutoff * np.arange(12).reshape(4, 3), info={"charge": 2.0})
    single = Atoms(numbers=[6], positions=[[1.0, 2.0, 3.0]])
    member, _ = subject.answers_of([far, crystal(subject.cutoff)])
    for output in _each(subject):
        for answer in (subject.answer(far), member):
            values = answer.outputs[output.name]
            if output.kind == "vector":
                require_close(f"{output.name} of isolated atoms", values, 0 * values, 0.0)
            elif output.name == "charges":
                require_close("charges of isolated atoms (e)", values, np.full(4, 0.5), bound)
            elif not np.isfinite(values).all():
                raise AssertionError(f"{output.name} of isolated atoms is {values}")
    results = subject.potential(subject.graph(single))
    loss = torch.stack([results[output.name].square().sum() for output in _each(subject)]).sum()
    for gradient in torch.autograd.grad(loss, list(subject.potential.parameters()), allow_unused=True):
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            raise AssertionError("training outputs on an isolated atom gives gradients that are not finite")


OUTPUT_CONTRACT: dict[str, Callable[[PotentialUnderTest], None]] = {
    "symmetries": symmetries,
    "cells": cells,
    "totals": totals,
    "batches": batches,
    "cutoff": cutoff,
    "isolated": isolated,
}
"""Name to check, for potentials with outputs."""
