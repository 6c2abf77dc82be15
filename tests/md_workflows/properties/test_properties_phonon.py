"""Phonons against phonopy driven by hand, and against the classical limit."""

import warnings
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from md_workflows import PROPERTIES

PHONON = PROPERTIES["phonon"]
GAS_CONSTANT = units.kB * units.mol / units.J


def by_hand(atoms: Atoms, times: int, temperature: float) -> tuple[float, float]:
    """Heat capacity and highest frequency, by a loop over displacements with the ASE calculator."""
    cell = PhonopyAtoms(
        atoms.get_chemical_symbols(), cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions()
    )
    phonopy = Phonopy(cell, np.eye(3) * times, primitive_matrix="auto", log_level=0)
    phonopy.generate_displacements(distance=0.01)
    forces = []
    for displaced in phonopy.supercells_with_displacements:
        driven = Atoms(displaced.symbols, displaced.positions, cell=displaced.cell, pbc=True, calculator=EMT())
        forces.append(driven.get_forces())
    phonopy.forces = forces
    phonopy.produce_force_constants()
    phonopy.symmetrize_force_constants()
    phonopy.run_mesh(60.0)
    phonopy.run_thermal_properties(temperatures=[temperature], cutoff_frequency=1e-3)
    return float(phonopy.thermal_properties.heat_capacity[0]), float(phonopy.mesh.frequencies.max())


def test_against_phonopy_by_hand(engine: Any, copper: Atoms) -> None:
    settings = PHONON.settings(min_length_A=8.0)
    (measured,) = PHONON.measure([copper], engine, settings)
    assert measured.error == ""
    assert engine.streams == [1]  # symmetry leaves one displacement
    capacity, highest = by_hand(copper, 4, 300.0)  # layers are 2.07 Å apart: four reach 8 Å
    assert measured.values["heat_capacity_J_per_mol_K"] == pytest.approx(capacity, rel=1e-4)
    assert measured.values["max_frequency_THz"] == pytest.approx(highest, rel=1e-3)
    assert measured.values["imaginary_modes"] is False
    assert abs(measured.values["min_frequency_THz"]) < 1e-3
    frequencies, density = (np.array(values) for values in measured.curves["phonon_dos"])
    assert np.trapezoid(density, frequencies) == pytest.approx(3, rel=0.02)  # as many states as there are modes


def test_the_cell_given_counts(engine: Any, cu3au: Atoms, copper: Atoms) -> None:
    conventional = bulk("Cu", a=float(copper.cell.lengths()[0] * np.sqrt(2)), cubic=True)
    hot = PHONON.settings(min_length_A=5.0, temperature_K=3000.0, mesh_length_A=30.0)
    measured = PHONON.measure([copper, conventional, cu3au], engine, hot)
    assert [one.error for one in measured] == ["", "", ""]
    capacities = [one.values["heat_capacity_J_per_mol_K"] for one in measured]
    # Dulong and Petit less the first quantum correction, (hν/kT)²/12 a mode: (8 THz at 3000 K) 0.14 %
    assert capacities == pytest.approx([3 * number * GAS_CONSTANT for number in (1, 4, 4)], rel=2e-3)
    assert all(capacity < 3 * number * GAS_CONSTANT for capacity, number in zip(capacities, (1, 4, 4), strict=True))
    free = measured[0].values
    energy = free["vibrational_free_energy_eV_per_atom"] + 3000 * free["entropy_J_per_mol_K"] * units.J / units.mol
    assert energy == pytest.approx(3 * units.kB * 3000, rel=2e-3)  # F + TS is the energy: equipartition
    # a mode's zero point is at most half a quantum of the highest
    assert 0 < free["zero_point_energy_eV_per_atom"] < 1.5 * free["max_frequency_THz"] * 4.13567e-3


def test_what_is_left_of_the_forces_cancels(engine: Any, cu3au: Atoms) -> None:
    settings = PHONON.settings(min_length_A=5.0)
    shifted = cu3au.copy()
    shifted.positions[0] += [2e-3, 1e-3, -1e-3]  # forces of 0.01 eV/Å, a tenth of those of the displacements
    exact, rough = PHONON.measure([cu3au, shifted], engine, settings)
    for name in ("heat_capacity_J_per_mol_K", "max_frequency_THz"):
        assert rough.values[name] == pytest.approx(exact.values[name], rel=2e-3)


def test_imaginary_modes_are_told(engine: Any) -> None:
    with warnings.catch_warnings():
        # phonopy's thermal properties leave imaginary modes out, and may warn of it
        warnings.simplefilter("ignore")
        (measured,) = PHONON.measure([bulk("Cu", "bcc", a=2.86)], engine, PHONON.settings(min_length_A=8.0))
    assert measured.values["imaginary_modes"] is True
    assert measured.values["min_frequency_THz"] < -0.5
