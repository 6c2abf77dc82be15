"""From ASE's `Atoms` to an `AtomicGraph`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from potentials.graph import AtomicGraph
from potentials.neighbours import NeighbourList, neighbour_list


@dataclass(frozen=True)
class StructureState:
    """What a structure has beside its atoms.

    Attributes:
        charge: total charge in e, from ``atoms.info["charge"]``.
        spin: unpaired electrons, from ``atoms.info["spin"]``.
    """

    charge: float
    spin: float


def structure_state(atoms: Atoms) -> StructureState:
    """Charge and spin as ``atoms.info`` states them, 0 where it does not.

    Raises:
        ValueError: one of them is not a finite number.
    """
    values = []
    for name in ("charge", "spin"):
        given = atoms.info.get(name, 0.0)
        try:
            value = float(given)
        except (TypeError, ValueError):
            value = float("nan")
        if not np.isfinite(value):
            raise ValueError(f"atoms.info[{name!r}] is {given!r}; it must be a number")
        values.append(value)
    return StructureState(*values)


def check_elements(atoms: Atoms) -> None:
    """Raise ValueError where an atomic number stands for no element."""
    strange = sorted({int(number) for number in atoms.numbers if not 0 < number < len(chemical_symbols)})
    if strange:
        raise ValueError(f"atomic number {strange[0]} is no element; dummy atoms (X) have no energy: remove them")


def graph_from_atoms(
    atoms: Atoms,
    cutoff: float,
    *,
    dataset: int = 0,
    backend: str = "vesin",
    pairs: NeighbourList | None = None,
) -> AtomicGraph:
    """The graph of one structure.

    Args:
        atoms: any cell and periodicity; positions need not be wrapped.
        cutoff: Å.
        dataset: index of the branch that is to answer.
        backend: neighbour-list back end, see `neighbour_list`.
        pairs: the neighbour list where it is already known.

    Raises:
        ValueError: no atoms, dummy atoms, coincident atoms, a repeating direction without a lattice vector, positions
            that are not finite.
    """
    if not len(atoms):
        raise ValueError("the structure has no atoms; remove the empty frame")
    check_elements(atoms)
    if pairs is None:
        pairs = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, backend)
    state = structure_state(atoms)
    geometry = Geometry(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return graph_of(geometry, pairs, state, dataset)


class Geometry(NamedTuple):
    """Where which atoms are.

    Attributes:
        numbers: [N].
        positions: [N, 3] Å.
        cell: [3, 3] Å.
        pbc: [3].
    """

    numbers: NDArray[Any]
    positions: NDArray[Any]
    cell: NDArray[Any]
    pbc: NDArray[Any]


def graph_of(geometry: Geometry, pairs: NeighbourList, state: StructureState, dataset: int) -> AtomicGraph:
    """The graph of a structure given by its arrays, which are copied; nothing is checked.

    Args:
        geometry: of the structure.
        pairs: its neighbour list.
        state: charge and spin.
        dataset: index of the branch that is to answer.
    """
    numbers, positions, cell, pbc = geometry
    return AtomicGraph(
        positions=torch.from_numpy(np.array(positions, dtype=np.float64)),
        numbers=torch.from_numpy(numbers.astype(np.int64)),
        graph_index=torch.zeros(len(numbers), dtype=torch.int64),
        cell=torch.from_numpy(np.array(cell, dtype=np.float64))[None],
        pbc=torch.from_numpy(np.array(pbc, dtype=bool))[None],
        edge_index=torch.from_numpy(np.stack([pairs.neighbour, pairs.centre])),
        edge_shift=torch.from_numpy(pairs.shift.astype(np.float64)),
        edge_reverse=torch.from_numpy(pairs.reverse),
        charge=torch.tensor([state.charge], dtype=torch.float64),
        spin=torch.tensor([state.spin], dtype=torch.float64),
        dataset=torch.tensor([dataset], dtype=torch.int64),
    )


def atoms_from_graph(graph: AtomicGraph) -> Atoms:
    """The structure of a graph that holds one; charge and spin in ``info`` where they are not zero."""
    assert graph.n_graphs == 1, "a batch: split() it first"
    state = {"charge": float(graph.charge[0]), "spin": float(graph.spin[0])}
    return Atoms(
        numbers=graph.numbers.cpu().numpy(),
        positions=graph.positions.cpu().numpy(),
        cell=graph.cell[0].cpu().numpy(),
        pbc=graph.pbc[0].cpu().numpy(),
        info={name: value for name, value in state.items() if value},
    )
