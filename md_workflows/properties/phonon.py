"""Harmonic phonons from displacements in a supercell, by phonopy."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from ase import Atoms, units
from pydantic import Field, PositiveInt

from md_workflows.engine import Engine
from md_workflows.properties.base import Column, Measured, Property, Value
from md_workflows.properties.crystals import neutral_crystal, repeats
from md_workflows.properties.stream import Computed, Derived, measure_each
from md_workflows.settings import Settings

_KJ_PER_MOL = units.kJ / units.mol  # eV
_ACOUSTIC_THZ = 0.01  # of the three modes at Γ that are zero but for rounding, and have no place in the sums


class PhononSettings(Settings):
    """Which displacements, and what is computed from them.

    min_length_A: images of an atom in the supercell are at least this far apart · supercell: how often each vector is
    repeated, in the place of min_length_A · displacement_A: of one atom at a time · mesh_length_A: density of the q
    mesh, the number along a vector is this times the reciprocal vector's length · temperature_K: of the thermal
    properties · imaginary_below_THz: modes below minus this are called imaginary · symprec_A: tolerance of the space
    group, which spares displacements.
    """

    min_length_A: Annotated[float, Field(gt=0)] = 10.0
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    displacement_A: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    mesh_length_A: Annotated[float, Field(gt=0)] = 60.0
    temperature_K: Annotated[float, Field(gt=0)] = 300.0
    imaginary_below_THz: Annotated[float, Field(ge=0)] = 0.1
    symprec_A: Annotated[float, Field(gt=0)] = 1e-4


COLUMNS = (
    Column("heat_capacity_J_per_mol_K", "heat capacity at constant volume, of a mole of the cell as given"),
    Column("entropy_J_per_mol_K", "vibrational entropy, of a mole of the cell as given"),
    Column("vibrational_free_energy_eV_per_atom", "harmonic free energy with the zero point"),
    Column("zero_point_energy_eV_per_atom", "zero point energy"),
    Column("min_frequency_THz", "lowest frequency on the q mesh, negative for imaginary"),
    Column("max_frequency_THz", "highest frequency on the q mesh"),
    Column("imaginary_modes", "whether a mode is imaginary, so that the structure is not at a minimum"),
)


def measure(structures: Sequence[Atoms], engine: Engine, settings: PhononSettings) -> list[Measured]:
    """Thermal properties at one temperature, and the density of states (curve `phonon_dos`: THz, states/THz).

    Phonopy displaces an atom to both sides where symmetry does not make them the same, so that what is left of the
    forces of a structure that is not quite relaxed cancels.
    A. Togo, L. Chaput, T. Tadano, I. Tanaka, J. Phys.: Condens. Matter 35, 353001 (2023).
    """
    PHONON.check()

    def derive(atoms: Atoms) -> Derived:
        base = neutral_crystal(atoms)
        phonopy = displaced(base, settings)
        return Derived(displaced_supercells(phonopy, base), phonopy)

    def conclude(computed: Computed) -> Measured:
        phonopy = with_force_constants(computed)
        phonopy.symmetrize_force_constants()
        return _thermal(phonopy, settings, len(computed.atoms))

    return measure_each(structures, engine, derive, conclude)


def displaced(atoms: Atoms, settings: PhononSettings) -> Any:
    """Phonopy's object of the cell as given (not of its primitive one), with displacements made."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    phonopy = Phonopy(
        cell,
        supercell_matrix=np.diag(settings.supercell or repeats(atoms, settings.min_length_A)),
        primitive_matrix=np.eye(3),
        symprec=settings.symprec_A,
        log_level=0,
    )
    phonopy.generate_displacements(distance=settings.displacement_A)
    return phonopy


def displaced_supercells(phonopy: Any, base: Atoms) -> list[Atoms]:
    """The supercells of phonopy's object whose forces it needs, in its order."""
    return [
        Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True, info=dict(base.info))
        for cell in phonopy.supercells_with_displacements
    ]


def with_force_constants(computed: Computed) -> Any:
    """Phonopy's object with what the forces on its displaced supercells make; as they come, not symmetrized."""
    phonopy = computed.context
    phonopy.forces = [result.atoms.get_forces(apply_constraint=False) for result in computed.results()]
    phonopy.produce_force_constants()
    return phonopy


def _thermal(phonopy: Any, settings: PhononSettings, number: int) -> Measured:
    phonopy.run_mesh(settings.mesh_length_A)
    frequencies = phonopy.mesh.frequencies
    lowest = float(frequencies.min())
    phonopy.run_thermal_properties(temperatures=[0.0, settings.temperature_K], cutoff_frequency=_ACOUSTIC_THZ)
    thermal = phonopy.thermal_properties
    phonopy.run_total_dos()
    dos = phonopy.total_dos
    values: dict[str, Value] = {
        "heat_capacity_J_per_mol_K": float(thermal.heat_capacity[1]),
        "entropy_J_per_mol_K": float(thermal.entropy[1]),
        "vibrational_free_energy_eV_per_atom": float(thermal.free_energy[1] * _KJ_PER_MOL / number),
        "zero_point_energy_eV_per_atom": float(thermal.free_energy[0] * _KJ_PER_MOL / number),
        "min_frequency_THz": lowest,
        "max_frequency_THz": float(frequencies.max()),
        "imaginary_modes": lowest < -settings.imaginary_below_THz,
    }
    return Measured(values, curves={"phonon_dos": (dos.frequency_points.tolist(), dos.dos.tolist())})


PHONON = Property(
    "harmonic phonons: heat capacity, entropy, free energy, imaginary modes, density of states",
    COLUMNS,
    PhononSettings,
    measure,
    libraries=("phonopy", "spglib"),
)
