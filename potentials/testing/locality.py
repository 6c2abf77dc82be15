"""What happens at the cutoff, beyond it, and where neighbours are none or very many."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from ase import Atoms

from potentials.testing.samples import ELEMENTS, cluster, crystal
from potentials.testing.subject import Floats, PotentialUnderTest, require_close, require_vanishing

ROUNDING = 1e-12
"""Part of the energy scale that differences of float64 evaluations may show as noise."""


def dimer_at_the_cutoff(subject: PotentialUnderTest) -> None:
    """Energy, force and slope of the force of two atoms go to zero at the cutoff, and are zero beyond."""
    subject = subject.in_float64()
    cutoff = subject.cutoff
    pairs = list(itertools.combinations_with_replacement(ELEMENTS, 2))
    alone = {z: subject.answer(Atoms(numbers=[z], positions=np.zeros((1, 3)))).energy for z in ELEMENTS}
    apart = np.array([alone[a] + alone[b] for a, b in pairs])

    def bond(distance: float) -> tuple[Floats, Floats]:
        dimers = [Atoms(numbers=pair, positions=[[0, 0, 0], [0, 0, distance]]) for pair in pairs]
        answers = subject.answers_of(dimers)
        return np.array([a.energy for a in answers]) - apart, np.array([a.forces[1, 2] for a in answers])

    subject.require_signal("force between two atoms at half the cutoff", bond(0.5 * cutoff)[1])
    energies, forces, slopes = {}, {}, {}
    for step in (0.02 * cutoff, 0.005 * cutoff, 0.00125 * cutoff):
        energy, force = bond(cutoff - step)
        energies[step], forces[step] = float(np.abs(energy).max()), float(np.abs(force).max())
        further = bond(cutoff - 0.9 * step)[1] - bond(cutoff - 1.1 * step)[1]
        slopes[step] = float(np.abs(further).max()) / (0.2 * step)
    noise = ROUNDING * subject.energy_scale
    require_vanishing("energy of two atoms at the cutoff (eV)", energies, order=2, noise=noise)
    require_vanishing("force between two atoms at the cutoff (eV/Å)", forces, order=1, noise=noise)
    slope_noise = noise / (0.2 * min(slopes))
    require_vanishing("slope of the force at the cutoff (eV/Å²)", slopes, order=0.5, noise=slope_noise)
    for beyond in (cutoff, 1.0001 * cutoff, 3 * cutoff):
        energy, force = bond(beyond)
        require_close(f"energy of two atoms {beyond} Å apart (eV)", energy, 0 * energy, noise)
        require_close(f"force between two atoms {beyond} Å apart (eV/Å)", force, 0 * force, 0.0)


def crossing_the_cutoff(subject: PotentialUnderTest) -> None:
    """Among many atoms, one that enters another's cutoff makes no step in energy, force or slope of the force."""
    subject = subject.in_float64()
    surroundings, atom, direction = crossing_atom(subject.cutoff)

    def at(*distances: float) -> tuple[Floats, Floats]:
        """Energies and forces as the last atom stands `distances` beyond the cutoff of `atom`."""
        structures = []
        for distance in distances:
            place = surroundings.positions[atom] + direction * (subject.cutoff + distance)
            structures.append(surroundings + Atoms(numbers=[6], positions=[place]))
        answers = subject.answers_of(structures)
        return np.array([a.energy for a in answers]), np.array([a.forces for a in answers])

    energy_steps, force_steps, slope_steps = {}, {}, {}
    for step in subject.cutoff * np.array([1e-3, 1e-4, 1e-5]):
        energies, forces = at(-2 * step, -step, step, 2 * step)
        energy_steps[step] = float(abs(energies[2] - energies[1]))
        force_steps[step] = float(np.abs(forces[2] - forces[1]).max())
        slopes_apart = (forces[3] - forces[2] - (forces[1] - forces[0])) / step
        slope_steps[step] = float(np.abs(slopes_apart).max())
    subject.require_signal("force while an atom crosses", forces[1])
    subject.require_signal("change of forces over 0.2 % of the cutoff", max(force_steps.values()) * 100)
    noise = ROUNDING * subject.energy_scale
    require_vanishing("step of the energy at the cutoff (eV)", energy_steps, order=1, noise=noise)
    require_vanishing("step of the forces at the cutoff (eV/Å)", force_steps, order=1, noise=noise)
    slope_noise = 4 * noise / min(slope_steps)
    require_vanishing("step of the forces' slope at the cutoff (eV/Å²)", slope_steps, order=1, noise=slope_noise)


def crossing_atom(cutoff: float) -> tuple[Atoms, int, Floats]:
    """A cluster, one of its atoms, and a direction in which the cutoff lies among other atoms, near none."""
    atoms = cluster(cutoff, 30, seed=2)
    random = np.random.default_rng(9)
    while True:
        atom = int(random.integers(len(atoms)))
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        distances = np.linalg.norm(atoms.positions - atoms.positions[atom] - direction * cutoff, axis=1)
        others = np.delete(distances, atom)
        if (
            others.min() > 0.3 * cutoff
            and (others < cutoff).sum() >= 8
            and np.abs(others - cutoff).min() > 0.01 * cutoff
        ):
            return atoms, atom, direction


def isolated_atoms(subject: PotentialUnderTest) -> None:
    """Atoms without neighbours have an energy that adds up, no forces and no virial, alone and in a batch."""
    cutoff = subject.cutoff
    crowd = crystal(cutoff)
    singles = [Atoms(numbers=[z], positions=[[1.0, 2.0, 3.0]]) for z in ELEMENTS]
    boxed = Atoms(numbers=[ELEMENTS[0]], positions=np.zeros((1, 3)), cell=np.eye(3) * 2 * cutoff, pbc=True)
    far = Atoms(numbers=ELEMENTS, positions=3 * cutoff * np.arange(12).reshape(4, 3))
    structures = [*singles, boxed, far]
    if sum(subject.graph(atoms).n_edges for atoms in structures):
        raise AssertionError("isolated atoms have neighbours")
    alone = [subject.answer(atoms) for atoms in structures]
    in_batch = subject.answers_of([*structures, crowd])
    for single, member in zip(alone, in_batch, strict=False):
        zero = np.zeros((len(single.energies), 3))
        require_close("forces on isolated atoms (eV/Å)", single.forces, zero, 0.0)
        require_close("forces on isolated atoms in a batch (eV/Å)", member.forces, zero, 0.0)
        require_close("virial of isolated atoms (eV)", single.virial, np.zeros((3, 3)), 0.0)
        subject.require_same("isolated atoms in a batch", member, single)
    energies = [answer.energy for answer in alone]
    subject.require_signal("differences of energies of isolated atoms", np.diff(energies[:4]))
    require_close("energy of a boxed atom (eV)", energies[4], energies[0], subject.value_bound)
    require_close("stress of a boxed atom (eV/Å³)", alone[4].stress, np.zeros((3, 3)), 0.0)
    require_close("energy of four far atoms (eV)", energies[5], sum(energies[:4]), 4 * subject.value_bound)
    subject.require_same("crystal beside isolated atoms", in_batch[-1], subject.answer(crowd))
    _trains_on_isolated_atoms(subject, singles[0])


def _trains_on_isolated_atoms(subject: PotentialUnderTest, atom: Atoms) -> None:
    results = subject.potential(subject.graph(atom))
    loss = results["energy"].sum() + results["forces"].square().sum()
    weights = [weight for weight in subject.potential.parameters() if weight.requires_grad]
    for gradient in torch.autograd.grad(loss, weights, allow_unused=True):
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            raise AssertionError("training on an isolated atom gives gradients that are not finite")


def every_neighbour_counts(subject: PotentialUnderTest) -> None:
    """In a cluster of 130 atoms within one cutoff each has 129 neighbours, and each of them acts."""
    subject = subject.in_float64()
    dense = cluster(subject.cutoff, 130, seed=4, spacing=0.1)
    graph = subject.graph(dense)
    degree = torch.bincount(graph.edge_index[1]).cpu().numpy()
    require_close("neighbours of each atom", degree, np.full(130, 129), 0.0)
    answer = subject.answer(dense)
    subject.require_same("dense cluster", answer, subject.answer(dense, backend="brute_force"))
    distance = np.linalg.norm(dense.positions - dense.positions[0], axis=1)
    moved = []
    for atom in np.argsort(distance)[-8:]:
        changed = dense.copy()
        changed.positions[atom] += 0.05 * (dense.positions[0] - dense.positions[atom])
        moved.append(changed)
    responses = [abs(a.energies[0] - answer.energies[0]) for a in subject.answers_of(moved)]
    if not min(responses) > 100 * ROUNDING * subject.energy_scale:
        raise AssertionError(
            f"an atom's energy is the same ({min(responses):.1e} eV) wherever one of its 129 neighbours stands:"
            " neighbours were left out"
        )
