"""What surrounds an atom, as numbers: features of the network, or densities of neighbours by distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from gfm_ase.doctor.subject import Floats, Subject, own_potential

GEOMETRIC_CUTOFF = 6.0
CENTRES = 14

Describe = Callable[[Atoms], Floats]
"""A structure to [N, D] numbers."""


def describer(subject: Subject, symbols: Sequence[str]) -> tuple[Describe, str]:
    """How atoms are described, and in words: by the checkpoint's own features where it is one of ours."""
    potential = own_potential(subject.calculator)
    if potential is not None:
        return features_of(potential), "invariant features of the network"
    from ase.data import atomic_numbers

    numbers = [atomic_numbers[symbol] for symbol in symbols]
    return lambda atoms: densities(atoms, numbers), "densities of neighbours of each element by distance"


def features_of(potential: Any) -> Describe:
    """[N, width] invariant features of a potential's backbone, which its energies are made of."""
    import torch

    from potentials.derivatives import prepare
    from potentials.edges import EdgeGeometry
    from potentials.structures import graph_from_atoms

    def describe(atoms: Atoms) -> Floats:
        graph = graph_from_atoms(atoms, potential.cutoff).to(potential.device)
        with torch.no_grad():
            inputs = prepare(graph, potential.dtype)
            geometry = EdgeGeometry(inputs.distance, inputs.direction)
            features = potential.features(inputs, geometry, inputs.edges)
        array: Floats = features.double().cpu().numpy()
        return array

    return describe


def densities(atoms: Atoms, numbers: Sequence[int]) -> Floats:
    """[N, E · 14] Gaussian densities of neighbours of each of E elements at 14 distances up to 6 Å.

    The radial symmetry functions of J. Behler, M. Parrinello, PRL 98, 146401 (2007).
    """
    from potentials.neighbours import neighbour_list

    pairs = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, GEOMETRIC_CUTOFF)
    vectors = atoms.positions[pairs.neighbour] - atoms.positions[pairs.centre] + pairs.shift @ atoms.cell.array
    distances = np.linalg.norm(vectors, axis=1)
    centres = np.linspace(0.8, GEOMETRIC_CUTOFF - 0.4, CENTRES)
    width = centres[1] - centres[0]
    fade = 0.5 * (1 + np.cos(np.pi * distances / GEOMETRIC_CUTOFF))
    values = np.exp(-0.5 * ((distances[:, None] - centres) / width) ** 2) * fade[:, None]
    found = np.zeros((len(atoms), len(numbers), CENTRES))
    column = {number: index for index, number in enumerate(numbers)}
    which = np.array([column[number] for number in atoms.numbers[pairs.neighbour]], dtype=int)
    np.add.at(found, (pairs.centre, which), values)
    return found.reshape(len(atoms), -1)
