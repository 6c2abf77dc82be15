"""A pool of molecular dynamics of fcc metals by EMT, of kinds with very unequal shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin

from md_workflows.velocities import thermal_momenta

STEPS = 8
"""Of 5 fs between frames."""


@dataclass(frozen=True)
class Kind:
    """One kind of structure.

    share: of the pool, % · symbols: on the sites, at random · shape: bulk, vacancy or slab · volume: × the metal's.
    """

    share: float
    symbols: str
    shape: str
    temperature_K: float
    volume: float = 1.0


KINDS = {
    "Cu 300 K": Kind(60.0, "Cu", "bulk", 300),
    "Cu 800 K": Kind(18.0, "Cu", "bulk", 800),
    "CuNi 300 K": Kind(12.0, "CuCuCuNi", "bulk", 300),
    "vacancy 600 K": Kind(4.0, "Cu", "vacancy", 600),
    "slab 500 K": Kind(2.5, "Cu", "slab", 500),
    "CuAu 600 K": Kind(2.0, "CuAu", "bulk", 600),
    "Cu 1800 K, wide": Kind(1.0, "Cu", "bulk", 1800, 1.15),
    "NiAu slab 700 K": Kind(0.5, "NiAu", "slab", 700),
}
LATTICE = {"Cu": 3.61, "Ni": 3.52, "Au": 4.08}


def start(kind: Kind, rng: np.random.Generator) -> Atoms:
    """A structure of 7 or 8 atoms before it moves."""
    symbols = Atoms(kind.symbols).get_chemical_symbols()
    length = float(np.mean([LATTICE[symbol] for symbol in symbols])) * kind.volume ** (1 / 3)
    if kind.shape == "slab":
        atoms = fcc111("Cu", (1, 2, 4), a=length, vacuum=6.0, periodic=True)
    else:
        atoms = bulk("Cu", a=length, cubic=True) * (2, 1, 1)
    if kind.shape == "vacancy":
        del atoms[0]
    atoms.symbols = rng.permutation([symbols[site % len(symbols)] for site in range(len(atoms))])
    return atoms


def frames_of(name: str, count: int, seed: int) -> list[Atoms]:
    """So many labelled frames of a kind, of trajectories of 20 frames; `info["kind"]` tells which."""
    kind, rng = KINDS[name], np.random.default_rng([seed, sorted(KINDS).index(name)])
    found: list[Atoms] = []
    while len(found) < count:
        atoms = start(kind, rng)
        atoms.calc = EMT()
        thermal_momenta(atoms, 2 * kind.temperature_K, seed=int(rng.integers(2**31)))
        walk = Langevin(
            atoms, 5 * units.fs, temperature_K=kind.temperature_K, friction=0.02 / units.fs, rng=rng, fixcm=False
        )
        for _ in range(min(20, count - len(found))):
            walk.run(STEPS)
            found.append(_labelled(atoms, name))
    return found


def _labelled(atoms: Atoms, name: str) -> Atoms:
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info={"kind": name})
    frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return frame


def pool(size: int, seed: int) -> list[Atoms]:
    """`size` frames, the kinds by their shares, in random order."""
    frames = [
        frame for name, kind in KINDS.items() for frame in frames_of(name, max(1, round(size * kind.share / 100)), seed)
    ]
    return [frames[place] for place in np.random.default_rng(seed).permutation(len(frames))]


def balanced(each: int, seed: int) -> list[Atoms]:
    """As many frames of each kind, of other trajectories."""
    return [frame for name in KINDS for frame in frames_of(name, each, seed + 1_000_000)]
