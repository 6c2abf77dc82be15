"""Heat capacities as MatCalc's PhononCalc makes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from ase import Atoms

from benchmarks.matcalc.lists import Row
from benchmarks.matcalc.relaxing import Relaxed, after_relaxation
from md_workflows.engine import Engine
from md_workflows.properties.base import Measured
from md_workflows.properties.crystals import neutral_crystal
from md_workflows.properties.phonon import PhononSettings, displaced, displaced_supercells, with_force_constants
from md_workflows.properties.stream import Computed, Derived, measure_each

LIST = "phonon_cv_alexandria_binary_pbe"
STEPS = 5000
"""Of the relaxation, at most."""

DISPLACEMENT = 0.015
"""Å."""

SYMPREC = 1e-5
"""Å."""

MESH = 100.0
"""Phonopy's default: q points along a vector are this times the length of the reciprocal vector."""

TEMPERATURE = 300.0
"""K."""

IMAGINARY = -0.01
"""THz; a mode below this is imaginary."""

IMAGINARY_MODES = "imaginary modes"


def measure_with(least_A: float | None) -> Callable[[Sequence[Atoms], Engine], list[Row]]:
    """Rows with supercells of 2 × 2 × 2, or with vectors of at least `least_A`."""

    def rows(structures: Sequence[Atoms], engine: Engine) -> list[Row]:
        return after_relaxation("phonon", structures, engine, lambda relaxed: measure(relaxed, engine, least_A), STEPS)

    return rows


def measure(relaxed: Sequence[Relaxed], engine: Engine, least_A: float | None) -> list[Measured]:
    """Heat capacity of a mole of the cell as given beside that of DFT; imaginary modes are left out of its sum."""

    def derive(atoms: Atoms) -> Derived:
        base = neutral_crystal(atoms)
        settings = PhononSettings(supercell=supercell(base, least_A), displacement_A=DISPLACEMENT, symprec_A=SYMPREC)
        with _quiet_phonopy():
            phonopy = displaced(base, settings)
        return Derived(displaced_supercells(phonopy, base), phonopy)

    def conclude(computed: Computed) -> Measured:
        phonopy = with_force_constants(computed)
        with _quiet_phonopy():
            phonopy.run_mesh(MESH)
            phonopy.run_thermal_properties(temperatures=[TEMPERATURE])
        lowest = float(phonopy.mesh.frequencies.min())
        heat = float(phonopy.thermal_properties.heat_capacity[0])
        return Measured({"CV": heat, "lowest_THz": lowest, IMAGINARY_MODES: lowest < IMAGINARY})

    found = measure_each([one.result.atoms for one in relaxed], engine, derive, conclude)
    for one, measured in zip(relaxed, found, strict=True):
        measured.values["CV_dft"] = float(one.given.info["heat_capacity"])
    return found


@contextmanager
def _quiet_phonopy() -> Iterator[None]:
    """Without word of supercells with fewer symmetries, other meshes of one density, and acoustic modes in sums."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Mesh |Warning: Point group symmetries|\d+ acoustic mode")
        yield


def supercell(atoms: Atoms, least_A: float | None) -> tuple[int, int, int]:
    """How often each vector is repeated."""
    if least_A is None:
        return 2, 2, 2
    a, b, c = (int(number) for number in np.ceil(least_A / atoms.cell.lengths()))
    return a, b, c
