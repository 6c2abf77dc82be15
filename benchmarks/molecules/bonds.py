"""Bonds of a molecule and when they break, as in Fu et al., "Forces are not enough", TMLR 2023 (arXiv:2210.07237)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MARGIN = 0.4
"""Å: two atoms are bonded where they are nearer than the sum of their covalent radii and this."""

BROKEN = 0.5
"""Å that a bond may be longer or shorter than at the start (Fu et al.)."""

HYDROGEN = 1


@dataclass(frozen=True)
class Bonds:
    """The bonds of the start.

    Attributes:
        pairs: [B, 2] atoms.
        lengths: [B] Å at the start.
        acceptors: [N] which atoms are N, O, ..., those that a proton may go to.
        hydrogens: [B] which atom of a bond is a hydrogen on N, O, ..., -1 where none is.
        reach: [N] covalent radii, Å.
    """

    pairs: NDArray[np.int64]
    lengths: Floats
    acceptors: NDArray[np.bool_]
    hydrogens: NDArray[np.int64]
    reach: Floats

    @classmethod
    def of(cls, atoms: Atoms) -> Bonds:
        """Those of a structure without a cell.

        Raises:
            ValueError: there is none.
        """
        radii = covalent_radii[atoms.numbers]
        distances = atoms.get_all_distances()
        near = distances < radii[:, None] + radii[None] + MARGIN
        pairs = np.argwhere(np.triu(near, 1))
        if not len(pairs):
            raise ValueError(f"{atoms.get_chemical_formula()} has no bonds at the start")
        acceptors = np.isin(atoms.numbers, (7, 8, 9, 16, 17))
        lengths = distances[pairs[:, 0], pairs[:, 1]]
        return cls(pairs, lengths, acceptors, _protons(atoms, pairs, acceptors), radii)

    def deviation(self, positions: Floats) -> tuple[float, bool]:
        """How far the worst bond is from its first length (Å), and whether that is a proton that has changed partners.

        A proton on N or O that lies as near to another N or O as a bond is long is transferred. It does not count as
        broken; everything else does.
        """
        first, second = self.pairs.T
        lengths = np.linalg.norm(positions[first] - positions[second], axis=1)
        apart = np.abs(lengths - self.lengths)
        moved = np.array([place for place in np.flatnonzero(apart > BROKEN) if self._transferred(place, positions)])
        staying = np.delete(apart, moved.astype(int))
        return float(staying.max(initial=0.0)), bool(len(moved))

    def _transferred(self, bond: int, positions: Floats) -> bool:
        proton = self.hydrogens[bond]
        if proton < 0:
            return False
        partner = int(self.pairs[bond].sum() - proton)
        others = self.acceptors.copy()
        others[partner] = False
        away = np.linalg.norm(positions[others] - positions[proton], axis=1)
        return bool((away < self.reach[others] + self.reach[proton] + MARGIN).any())


def _protons(atoms: Atoms, pairs: NDArray[np.int64], acceptors: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[B] the hydrogen of bonds between a hydrogen and an acceptor, -1 of others."""
    found = np.full(len(pairs), -1)
    for place, (one, other) in enumerate(pairs):
        for proton, partner in ((one, other), (other, one)):
            if atoms.numbers[proton] == HYDROGEN and acceptors[partner]:
                found[place] = proton
    return found


@dataclass(frozen=True)
class Held:
    """What became of the bonds.

    Attributes:
        failed_at: number of the first frame with a broken bond, or none.
        largest: Å, the largest deviation of a bond in all frames before that (of all where none failed).
        transfers: frames in which a proton is with another partner, before that.
        frames: that were looked at.
    """

    failed_at: int | None
    largest: float
    transfers: int
    frames: int


def watched(bonds: Bonds, positions: Iterable[Floats]) -> Held:
    """Look at frames, [N, 3] Å each, until a bond breaks."""
    largest, transfers, place = 0.0, 0, -1
    for place, frame in enumerate(positions):
        deviation, transferred = bonds.deviation(frame)
        if not deviation <= BROKEN:  # also where it is not a number
            return Held(place, largest, transfers, place + 1)
        largest, transfers = max(largest, deviation), transfers + transferred
    return Held(None, largest, transfers, place + 1)
