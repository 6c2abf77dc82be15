"""The structures that advance together: columns of numbers, some with a row per atom, some with a row per structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from md_workflows.uncertainty import Level
from potentials.structures import structure_state

DOUBLE = torch.float64


@dataclass(frozen=True)
class Fleet:
    """N atoms of G structures, those of one after those of another.

    Attributes:
        atom: columns [N, ...] by name; always positions [N, 3] Å, numbers [N], masses [N, 1] u, owner [N] (which
            structure, ascending) and free [N, 3] (1 where an atom may move, 0 where FixAtoms or FixCartesian hold it).
        graph: columns [G, ...] by name; always cell [G, 3, 3] Å, pbc [G, 3], charge [G], spin [G], count [G] (its
            atoms) and key [G], a number of its own that a structure keeps for good.

    Whoever moves structures adds columns, and finds them again after others have left or come.
    """

    atom: dict[str, Tensor]
    graph: dict[str, Tensor]

    @property
    def n_atoms(self) -> int:
        """Atoms in all."""
        return int(self.atom["owner"].shape[0])

    @property
    def n_structures(self) -> int:
        """Structures."""
        return int(self.graph["count"].shape[0])

    @property
    def keys(self) -> list[int]:
        """The number of each structure."""
        return [int(key) for key in self.graph["key"].tolist()]

    @property
    def device(self) -> torch.device:
        """Where the columns are."""
        return self.atom["positions"].device

    def of(self, level: Level) -> dict[str, Tensor]:
        """The columns of this level."""
        return self.atom if level == "atom" else self.graph

    def starts(self) -> Tensor:
        """[G + 1] first atom of each structure."""
        count = self.graph["count"]
        return torch.cat([count.new_zeros(1), count.cumsum(0)])

    def of_atoms(self, values: Tensor) -> Tensor:
        """[G, ...] to [N, ...]: each atom's copy of what belongs to its structure."""
        return values.index_select(0, self.atom["owner"])

    def sum(self, values: Tensor) -> Tensor:
        """[N] to [G]: sums over the atoms of each structure, in their order."""
        return torch.segment_reduce(values, "sum", offsets=self.starts(), axis=0)

    def largest(self, values: Tensor) -> Tensor:
        """[N] to [G]: the largest over the atoms of each structure; for values that are not negative."""
        zeros = values.new_zeros(self.n_structures)
        return zeros.scatter_reduce(0, self.atom["owner"], values, "amax")

    def keep(self, wanted: Tensor) -> Fleet:
        """Those structures for which `wanted` [G] is true, in their order."""
        of_atoms = self.of_atoms(wanted)
        atom = {name: column[of_atoms] for name, column in self.atom.items()}
        atom["owner"] = (wanted.cumsum(0) - 1).index_select(0, atom["owner"])
        return Fleet(atom, {name: column[wanted] for name, column in self.graph.items()})

    def part(self, first: int, last: int) -> Fleet:
        """Structures `first` to `last` (without it); columns of theirs are written in place, but for owner."""
        starts = self.starts()
        atoms = slice(int(starts[first]), int(starts[last]))
        atom = {name: column[atoms] for name, column in self.atom.items()}
        atom["owner"] = atom["owner"] - first
        return Fleet(atom, {name: column[first:last] for name, column in self.graph.items()})

    def join(self, other: Fleet) -> Fleet:
        """These structures and then those of `other`, which has the same columns."""
        assert set(self.atom) == set(other.atom), set(self.atom) ^ set(other.atom)
        assert set(self.graph) == set(other.graph), set(self.graph) ^ set(other.graph)
        atom = {name: torch.cat([column, other.atom[name]]) for name, column in self.atom.items() if name != "owner"}
        atom["owner"] = torch.cat([self.atom["owner"], other.atom["owner"] + self.n_structures])
        return Fleet(atom, {name: torch.cat([column, other.graph[name]]) for name, column in self.graph.items()})

    def copy(self) -> Fleet:
        """The same in columns of its own."""
        atom = {name: column.clone() for name, column in self.atom.items()}
        return Fleet(atom, {name: column.clone() for name, column in self.graph.items()})

    def atoms(self, row: int) -> Atoms:
        """Numbers, positions, cell, pbc of one structure, and its momenta where there are any."""
        starts = self.starts()
        rows = slice(int(starts[row]), int(starts[row + 1]))
        found = Atoms(
            numbers=self.atom["numbers"][rows].cpu().numpy(),
            positions=self.atom["positions"][rows].cpu().numpy(),
            cell=self.graph["cell"][row].cpu().numpy(),
            pbc=self.graph["pbc"][row].cpu().numpy(),
        )
        if "momenta" in self.atom:
            found.set_momenta(self.atom["momenta"][rows].cpu().numpy())
        return found


def joined(fleets: Sequence[Fleet]) -> Fleet:
    """Many fleets as one, halving: each row is copied a few times only."""
    together = list(fleets)
    while len(together) > 1:
        pairs = [together[place : place + 2] for place in range(0, len(together), 2)]
        together = [pair[0] if len(pair) == 1 else pair[0].join(pair[1]) for pair in pairs]
    return together[0]


def fleet_of(structures: Sequence[Atoms], keys: Sequence[int], device: torch.device) -> Fleet:
    """The columns that every fleet has, of copies of these structures.

    Raises:
        ValueError: charge or spin in ``atoms.info`` are no numbers.
    """
    counts = np.array([len(atoms) for atoms in structures], dtype=np.int64)
    states = [structure_state(atoms) for atoms in structures]

    def rows(values: Sequence[object], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.concatenate([np.asarray(value) for value in values])).to(device, dtype)

    def each(values: Sequence[object], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(value) for value in values])).to(device, dtype)

    atom = {
        "positions": rows([atoms.positions for atoms in structures], DOUBLE),
        "numbers": rows([atoms.numbers for atoms in structures], torch.int64),
        "masses": rows([atoms.get_masses() for atoms in structures], DOUBLE)[:, None],
        "owner": torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device),
        "free": rows([np.ones((len(atoms), 3)) for atoms in structures], DOUBLE),
    }
    graph = {
        "cell": each([atoms.cell.array for atoms in structures], DOUBLE),
        "pbc": each([atoms.pbc for atoms in structures], torch.bool),
        "charge": each([state.charge for state in states], DOUBLE),
        "spin": each([state.spin for state in states], DOUBLE),
        "count": each([len(atoms) for atoms in structures], torch.int64),
        "key": each(list(keys), torch.int64),
    }
    return Fleet(atom, graph)
