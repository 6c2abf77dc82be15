"""What surrounds atoms, as numbers: features of a network, or densities of neighbours by distance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

if TYPE_CHECKING:
    from potentials.graph import AtomicGraph

Floats: TypeAlias = NDArray[np.float64]
Vector: TypeAlias = NDArray[np.float32]

GEOMETRIC_CUTOFF = 6.0
CENTRES = 14

SIZE = 256
"""Numbers of a structure's vector; distances are those of the features within 1 / √(2 · 256), 4 %, as a rule."""


def graph_features(potential: Any, graph: AtomicGraph) -> Floats:
    """[N, width] invariant features of a potential's backbone, which its energies are made of; of a batch."""
    import torch

    with torch.no_grad():
        features, _ = potential.features_of(graph.to(potential.device))
    array: Floats = features.double().cpu().numpy()
    return array


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


def structure_blocks(numbers: NDArray[Any], features_NF: Floats) -> dict[Hashable, Floats]:
    """By element: mean and standard deviation of each feature over its atoms, [2 F]."""
    return {
        int(number): np.concatenate([of_it.mean(axis=0), of_it.std(axis=0)])
        for number in np.unique(numbers)
        for of_it in (features_NF[numbers == number],)
    }


def projected(blocks: Mapping[Hashable, Floats]) -> Vector:
    """[256] the blocks laid side by side, projected at random (W. Johnson, J. Lindenstrauss, 1984).

    The projection of a block goes by its key and width alone: which blocks there are need not be known beforehand, and
    a block that a structure lacks is zero.
    """
    total = np.zeros(SIZE)
    for key, block in blocks.items():
        total += block @ _projection(key, len(block))
    return total.astype(np.float32)


@lru_cache(maxsize=1024)
def _projection(key: Hashable, width: int) -> Floats:
    words = key if isinstance(key, tuple) else (key,)
    rng = np.random.default_rng([width, *(int(word) for word in words)])
    return rng.normal(0.0, SIZE**-0.5, (width, SIZE))
