"""The demo's relaxations: lattice constants of metals, and a screening of ordered alloys, beside EMT's own."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import atomic_numbers, reference_states
from rich.console import Console

from examples.demo.settings import METALS, DemoSettings
from examples.demo.structures import ALLOYS, METALS_EMT
from gfm_ase import GFMCalculator
from md_workflows import CellSettings, RelaxResult, RelaxSettings, ScreenRow, progress_bar, relax, screen

UNKNOWN_METAL = "Fe"
"""EMT has no iron: no head has ever seen it, and the screening must say so in one row."""

FREE_CELL = RelaxSettings(optimizer="lbfgs", fmax=0.01, max_steps=200, cell=CellSettings())


@dataclass(frozen=True)
class Lattice:
    """A metal relaxed by the potential and by EMT, from the same strained and rattled cell; Å and eV/atom."""

    metal: str
    converged: bool
    steps: int
    lattice_constant_A: float
    reference_A: float
    energy: float
    reference_energy: float

    @property
    def deviation(self) -> float:
        """Relative error of the lattice constant."""
        return self.lattice_constant_A / self.reference_A - 1.0


@dataclass(frozen=True)
class Candidate:
    """One row of the screening, with formation energies where there are any, eV/atom.

    Attributes:
        row: of the screening by the potential.
        met: whether the training set has alloys of these elements together.
        formation, reference: energy per atom above the pure metals', by the potential and by EMT.
    """

    row: ScreenRow
    met: bool
    formation: float | None
    reference: float | None


def relax_metals(checkpoint: Path, settings: DemoSettings, console: Console) -> list[Lattice]:
    """Relax fcc metals with a free cell, by the potential and by EMT."""
    potential = GFMCalculator(checkpoint, head=METALS_EMT.name)
    metals = METALS[: settings.metals]
    lattices = []
    with progress_bar("relaxing cells of metals", "cells", console) as bar:
        for done, metal in enumerate(metals, start=1):
            start = disturbed(metal)
            lattices.append(
                _compared(
                    metal, relax(start, FREE_CELL, calculator=potential), relax(start, FREE_CELL, calculator=EMT())
                )
            )
            bar(done, len(metals))
    return lattices


def disturbed(metal: str) -> Atoms:
    """Cubic cell of four atoms, 4 % too long in one direction and 2 % too short in another, and rattled."""
    atoms = bulk(metal, cubic=True)
    atoms.set_cell(atoms.cell.array * np.array([1.04, 0.98, 1.0]), scale_atoms=True)
    atoms.rattle(stdev=0.05, seed=atomic_numbers[metal])
    return atoms


def _compared(metal: str, result: RelaxResult, reference: RelaxResult) -> Lattice:
    return Lattice(
        metal=metal,
        converged=result.converged,
        steps=result.steps,
        lattice_constant_A=float(np.cbrt(result.atoms.get_volume())),
        reference_A=float(np.cbrt(reference.atoms.get_volume())),
        energy=result.energy / len(result.atoms),
        reference_energy=reference.energy / len(reference.atoms),
    )


def screen_alloys(
    checkpoint: Path, folder: Path, lattices: list[Lattice], settings: DemoSettings, console: Console
) -> list[Candidate]:
    """Relax ordered alloys of all pairs of the metals, and one of an element that the head does not know."""
    folder.mkdir()
    candidates = ordered_alloys(METALS[: settings.metals])
    potential = GFMCalculator(checkpoint, head=METALS_EMT.name)
    rows = []
    for name, calculator in (("potential", potential), ("EMT", EMT())):
        with progress_bar(f"screening alloys, {name}", "structures", console) as bar:
            table = folder / f"{name.lower()}.csv"
            rows.append(screen(candidates, table, FREE_CELL, calculator=calculator, progress=bar).rows)
    pure = {lattice.metal: (lattice.energy, lattice.reference_energy) for lattice in lattices}
    return [
        Candidate(
            row,
            met=_met_in_training(atoms),
            formation=_formation(atoms, row, {metal: energies[0] for metal, energies in pure.items()}),
            reference=_formation(atoms, reference, {metal: energies[1] for metal, energies in pure.items()}),
        )
        for (_, atoms), row, reference in zip(candidates, *rows, strict=True)
    ]


def ordered_alloys(metals: tuple[str, ...]) -> list[tuple[str, Atoms]]:
    """L1_0 alloys of all pairs, and copper with the unknown metal."""
    pairs = [*combinations(metals, 2), (metals[0], UNKNOWN_METAL)]
    return [(f"{first}{second}", _l1_0(first, second)) for first, second in pairs]


def _l1_0(first: str, second: str) -> Atoms:
    """Layers of two elements in turn on an fcc lattice, at the mean lattice constant of both."""
    lengths = [_fcc_length(metal) for metal in (first, second)]
    atoms = bulk("Cu", "fcc", a=float(np.mean(lengths)), cubic=True)
    atoms.symbols[atoms.positions[:, 2] < atoms.cell[2, 2] / 4] = first
    atoms.symbols[atoms.positions[:, 2] > atoms.cell[2, 2] / 4] = second
    return atoms


def _fcc_length(metal: str) -> float:
    """Measured length of the cubic cell, Å."""
    state: dict[str, Any] = reference_states[atomic_numbers[metal]]
    return float(state["a"])


def _met_in_training(atoms: Atoms) -> bool:
    elements = set(atoms.get_chemical_symbols())
    return any(elements <= set(Atoms(alloy).get_chemical_symbols()) for alloy in ALLOYS)


def _formation(atoms: Atoms, row: ScreenRow, pure: dict[str, float]) -> float | None:
    """Energy per atom above that of the pure metals; None where the alloy has none."""
    symbols = atoms.get_chemical_symbols()
    if row.energy_per_atom is None or not set(symbols) <= set(pure):
        return None
    return row.energy_per_atom - sum(pure[symbol] for symbol in symbols) / len(symbols)
