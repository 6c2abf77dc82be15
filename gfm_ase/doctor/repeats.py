"""The same question again: at once, after others, and in a batch."""

from __future__ import annotations

import numpy as np

from gfm_ase.doctor.findings import Finding, Skipped, Verdict
from gfm_ase.doctor.judging import Worst
from gfm_ase.doctor.subject import NOISE_FACTOR, Bounds, Subject, in_batch, moved, own_potential

NOISY_ENERGY, NOISY_FORCE = 1e-5, 1e-3
"""eV/atom, eV/Å: more noise than that is felt by relaxations and finite differences (phonons)."""


def determinism(subject: Subject) -> Finding:
    """The same structure asked twice, with nothing between, gives the same bits."""
    worst = Worst("the same bits; a warning up to 0.01 meV/atom, 1 meV/Å: sums in an order that varies")
    for name, atoms in subject.structures.items():
        first, second = subject.answer(atoms), subject.answer(atoms)
        worst.add_answers(f"{name} asked again", second, first, Bounds(0.0, 0.0))
    return worst.finding("the same bits again", "another answer to the same question")


def state(subject: Subject) -> Finding:
    """A calculator that has just answered others answers as a fresh one: nothing of them is left in it."""
    worst = Worst("rounding, as for invariances: neighbour lists kept from before may order sums otherwise")
    structures = list(subject.structures.items())
    fresh = {name: subject.answer(atoms) for name, atoms in structures}
    bounds_of = {name: subject.bounds(atoms, fresh[name]) for name, atoms in structures}
    if len(structures) == 1:  # the same atoms, squeezed: the likeliest to be taken for the same
        other = structures[0][1].copy()
        other.positions *= 0.97
        other.cell[:] *= 0.97
        structures.append(("", other))
    for name, atoms in [*structures, *reversed(structures)]:
        stirred = moved(atoms, np.random.default_rng(subject.seed + 5).normal(0, 0.05, atoms.positions.shape))
        after_another = subject.answer(atoms, fresh=False)
        subject.answer(stirred, fresh=False)
        after_itself = subject.answer(atoms, fresh=False)
        if name:
            bounds = bounds_of[name]
            worst.add_answers(f"{name} after another", after_another, fresh[name], bounds)
            worst.add_answers(f"{name} after itself, stirred", after_itself, fresh[name], bounds)
    return worst.finding("the same whatever was asked before", "remembers what was asked before")


def batch(subject: Subject) -> Finding:
    """Structures in one batch have the energies and forces that they have alone."""
    potential = own_potential(subject.calculator)
    if potential is None:
        raise Skipped("only checkpoints of gfm-ase take batches; see the check of memory for others")
    worst = Worst()
    together = in_batch(potential, list(subject.structures.values()))
    for (name, atoms), member in zip(subject.structures.items(), together, strict=True):
        alone = subject.answer(atoms)
        worst.add_answers(name, member, alone, subject.bounds(atoms, alone))
    return worst.finding("the same in a batch as alone", "changes with its neighbours in the batch")


def noise(subject: Subject) -> Finding:
    """How much rounding there is in energies and forces: what the bounds of the other checks rest on."""
    found = {name: (subject.noise(atoms), len(atoms)) for name, atoms in subject.structures.items()}
    name, (worst, count) = max(found.items(), key=lambda each: each[1][0].forces)
    energy = max(each.energy / n_atoms for each, n_atoms in found.values())
    loud = max(worst.forces / NOISY_FORCE, energy / NOISY_ENERGY)
    verdict = Verdict.PASS if loud <= 1 else Verdict.WARN if loud <= NOISE_FACTOR else Verdict.FAIL
    detail = f"{energy:.1g} eV/atom in energies, {worst.forces:.1g} eV/Å in forces ({name}, {count} atoms)"
    source = (
        "1e-5 eV/atom and 1e-3 eV/Å: more is felt by relaxations and finite differences; measured as Moré & Wild 2011"
    )
    return Finding(verdict, detail, worst.forces, NOISY_FORCE, "eV/Å", source)
