"""How the doctor describes what surrounds an atom: as selection does, by the network or by densities of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ase import Atoms

from gfm_ase.doctor.subject import Floats, Subject, own_potential
from md_workflows.selection.features import densities, graph_features

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
    from potentials.structures import graph_from_atoms

    return lambda atoms: graph_features(potential, graph_from_atoms(atoms, potential.cutoff))
