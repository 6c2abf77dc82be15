"""Batches, branches, elements, references, charge and spin."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from ase import Atoms
from torch import nn

from potentials.potential import Potential
from potentials.testing.samples import ELEMENTS, cluster, crystal, lattice_of_one, slab
from potentials.testing.subject import PotentialUnderTest, require_close


def batch_members(subject: PotentialUnderTest) -> None:
    """A structure in a batch, whatever stands beside it, has the energy, forces and stress that it has alone."""
    cutoff = subject.cutoff
    structures = [
        cluster(cutoff, 3),
        crystal(cutoff),
        Atoms(numbers=[8], positions=np.zeros((1, 3))),
        cluster(cutoff, 80, seed=1),
        lattice_of_one(cutoff),
        slab(cutoff),
        cluster(cutoff, 3),
    ]
    heads = list(itertools.islice(itertools.cycle(subject.potential.heads), len(structures)))
    graphs = [subject.graph(atoms, head=head) for atoms, head in zip(structures, heads, strict=True)]
    for index, (graph, member) in enumerate(zip(graphs, subject.answers(graphs), strict=True)):
        alone = subject.answers([graph])[0]
        subject.require_same(f"member {index} ({graph.n_atoms} atoms) of a batch", member, alone)
        if graph.n_edges and graph.n_atoms > 1:
            subject.require_signal(f"forces of member {index}", alone.forces)


def branches(subject: PotentialUnderTest) -> None:
    """Each data set has its own branch: its energies and forces differ from the others'."""
    atoms = cluster(subject.cutoff, 10)
    answers = {head: subject.answer(atoms, head=head) for head in subject.potential.heads}
    for (first, a), (second, b) in itertools.combinations(answers.items(), 2):
        subject.require_signal(f"difference between energies of {first} and {second}", a.energies - b.energies)
        subject.require_signal(f"difference between forces of {first} and {second}", a.forces - b.forces)


def elements(subject: PotentialUnderTest) -> None:
    """Elements enter by their embedding and reference alone: swapped with the atoms' names, nothing changes."""
    first, second = ELEMENTS[0], ELEMENTS[-1]
    structure = crystal(subject.cutoff, 6)
    swapped = structure.copy()
    swap = {first: second, second: first}
    swapped.numbers = [swap.get(int(z), int(z)) for z in structure.numbers]
    wanted = subject.answer(structure)
    untouched = subject.answer(swapped)
    subject.require_signal("change of forces as elements are swapped", untouched.forces - wanted.forces)

    def swap_rows(potential: Potential) -> None:
        tables = [module.weight for module in potential.modules() if isinstance(module, nn.Embedding)]
        if not tables:
            raise AssertionError("the potential has no torch.nn.Embedding: elements must enter by one")
        with torch.no_grad():
            for table in tables:
                table[[first, second]] = table[[second, first]]
            columns = [potential.references.e0_DZ]
            if potential.repulsion is not None:
                columns += [potential.repulsion.charge_Z, potential.repulsion.radius_Z]
            for column in columns:
                column[..., [first, second]] = column[..., [second, first]]

    got = subject.changed(swap_rows).answer(swapped)
    subject.require_same("elements swapped, and their embeddings too", got, wanted)


def references(subject: PotentialUnderTest) -> None:
    """Reference energies add up in float64 beside the network: 1e5 eV an atom costs no digit and no force."""
    large = 1e5
    atoms = cluster(subject.cutoff, 10)
    wanted = subject.answer(atoms)

    def raise_references(potential: Potential) -> None:
        potential.references.e0_DZ += large

    raised = subject.changed(raise_references).answer(atoms)
    rounding = np.finfo(np.float64).eps * large
    require_close("energies above large references (eV)", raised.energies - large, wanted.energies, 2 * rounding)
    total = raised.energy - len(atoms) * large
    require_close("energy above large references (eV)", total, wanted.energy, 2 * len(atoms) ** 2 * rounding)
    require_close("forces with large references (eV/Å)", raised.forces, wanted.forces, 0.0)
    require_close("energy against the sum over atoms (eV)", wanted.energy, wanted.energies.sum(), 1e-12 * large)


def charge_and_spin(subject: PotentialUnderTest) -> None:
    """Without conditioning, charge and spin do nothing. With it, neutral adds nothing and each matters, extensively."""
    atoms = lattice_of_one(subject.cutoff).repeat((2, 1, 1))
    atoms.numbers = ELEMENTS[:2]
    neutral = subject.answer(atoms)
    states = [{"charge": 1.0}, {"charge": -1.0}, {"spin": 2.0}]
    answers = []
    for state in states:
        atoms.info = state
        answers.append(subject.answer(atoms))
    if subject.potential.context is None:
        for state, answer in zip(states, answers, strict=True):
            require_close(
                f"energy with {state}, which this potential does not know", answer.energy, neutral.energy, 0.0
            )
        return

    def remove_context(potential: Potential) -> None:
        potential.context = None

    atoms.info = {}
    subject.require_same("neutral, without and with context", neutral, subject.changed(remove_context).answer(atoms))
    energies = [neutral.energy, *(answer.energy for answer in answers)]
    subject.require_signal("smallest effect of charge and spin", np.diff(np.sort(energies)).min())
    doubled = atoms.repeat((1, 2, 1))
    doubled.info = {"charge": 2.0}
    bound = len(doubled) * subject.value_bound
    require_close("two charged cells (eV)", subject.answer(doubled).energy, 2 * answers[0].energy, bound)
