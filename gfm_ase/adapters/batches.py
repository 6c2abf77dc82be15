"""Many geometries in one call of the potential of a `GFMCalculator`: what batched drivers ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from gfm_ase.calculator import GFMCalculator
from gfm_ase.heads import check_elements_known
from gfm_ase.loading import Loaded
from potentials.batched_neighbours import batched_neighbours
from potentials.graph import AtomicGraph
from potentials.structures import check_elements

Array = NDArray[Any]


class Geometries(NamedTuple):
    """S structures, those of one after those of another; N atoms in all.

    Attributes:
        numbers: [N].
        positions: [N, 3] Å.
        structure: [N] the structure of each atom, ascending from 0, none left out.
        cells: [S, 3, 3] Å, rows are the lattice vectors.
        pbc: [S, 3].
        charge: [S] e.
        spin: [S] unpaired electrons.
    """

    numbers: Array
    positions: Array
    structure: Array
    cells: Array
    pbc: Array
    charge: Array
    spin: Array


class BatchedCalculator:
    """The potential of a calculator for many structures at once, with the calculator's head, device, dtype and tables.

    Args:
        calculator: a `GFMCalculator`, or what it takes as a checkpoint.
        settings: of the calculator that is made of a checkpoint.

    Raises:
        ValueError: as `GFMCalculator`; settings beside a calculator; no head chosen yet, or one without energies.
    """

    def __init__(self, calculator: GFMCalculator | Loaded | str | Path, **settings: Any) -> None:
        if isinstance(calculator, GFMCalculator):
            if settings:
                raise ValueError(f"{', '.join(settings)} beside a calculator, which has its own; leave it out")
            self.calculator = calculator
        else:
            self.calculator = GFMCalculator(calculator, **settings)
        self._head = self.calculator.chosen_head()
        if not self.calculator.of_energies:
            raise ValueError(self.calculator.without_energies())
        self._known: set[int] = set()

    def __call__(self, geometries: Geometries) -> dict[str, Tensor]:
        """All that the potential gives: energy [S], forces [N, 3], virial and stress [S, 3, 3], ...; eV and Å.

        Raises:
            ValueError: as `GFMCalculator` at a calculation, of the first structure that cannot be right.
        """
        self._check(geometries)
        graph = graph_of_many(geometries, self.calculator.potential.cutoff)
        computed = self.calculator.evaluator()(graph.to(self.calculator.potential.device))
        return {**computed, "forces": computed["direct_forces"]} if self.calculator.direct else computed

    def _check(self, geometries: Geometries) -> None:
        potential = self.calculator.potential
        asked = bool(geometries.charge.any() or geometries.spin.any())
        if asked and not potential.config.charge_and_spin:
            raise ValueError(
                "structures with charge or spin, but this potential was trained without them; leave them neutral, or"
                " train with charge_and_spin = true"
            )
        numbers = set(np.unique(geometries.numbers).tolist())
        if not numbers <= self._known:
            of_each = Atoms(numbers=sorted(numbers))
            check_elements(of_each)
            check_elements_known(of_each, potential.references, self._head, "a structure")
            self._known |= numbers


def graph_of_many(geometries: Geometries, cutoff: float) -> AtomicGraph:
    """The graph of many structures, on the CPU; tensors share memory with the arrays where they can.

    Raises:
        ValueError: no structures; as `neighbour_list`, of the first structure that cannot be right.
    """
    count = len(geometries.cells)
    if not count or not len(geometries.numbers):
        raise ValueError("no atoms were given; at least one structure with one atom is needed")
    first_atom = np.searchsorted(geometries.structure, np.arange(count + 1))
    pairs = batched_neighbours(first_atom, geometries.positions, geometries.cells, geometries.pbc, cutoff)

    def tensor(array: Array, kind: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=kind))

    return AtomicGraph(
        positions=tensor(geometries.positions, np.float64),
        numbers=tensor(geometries.numbers, np.int64),
        graph_index=tensor(geometries.structure, np.int64),
        cell=tensor(geometries.cells, np.float64),
        pbc=tensor(geometries.pbc, bool),
        edge_index=tensor(pairs.edge_index, np.int64),
        edge_shift=tensor(pairs.shift, np.float64),
        edge_reverse=tensor(pairs.reverse, np.int64),
        charge=tensor(geometries.charge, np.float64),
        spin=tensor(geometries.spin, np.float64),
        dataset=torch.zeros(count, dtype=torch.int64),
    )
