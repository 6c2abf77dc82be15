"""Any ASE calculator as a force of OpenMM 8.5 or later, through its `PythonForce`.

OpenMM has nm, ps, kJ/mol; its periodic boxes lie along x and in the xy plane and are reduced, see `in_openmm_frame`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from gfm_ase.adapters.foreign import foreign
from gfm_ase.adapters.turned import lower_triangular

openmm = foreign("openmm", "openmm")

NM = 10.0
"""Å in a nm."""

KJ_PER_MOL = units.kJ / units.mol
"""eV in a kJ/mol."""


def in_openmm_frame(atoms: Atoms) -> Atoms:
    """A copy that is turned, and whose cell is reduced, as OpenMM wants periodic boxes: the same crystal.

    The first vector is along x, the second in the xy plane, and none leans by more than half of another. What is
    turned are positions, cell and momenta; structures without a cell that repeats are copied as they are.

    Raises:
        ValueError: some directions repeat and some do not, which OpenMM does not know.
    """
    _check_pbc(atoms)
    turned = atoms.copy()
    if not atoms.pbc.any():
        return turned
    rows, rotation = lower_triangular(atoms)
    rows[2] -= rows[1] * np.round(rows[2, 1] / rows[1, 1])
    rows[2] -= rows[0] * np.round(rows[2, 0] / rows[0, 0])
    rows[1] -= rows[0] * np.round(rows[1, 0] / rows[0, 0])
    turned.set_cell(rows)
    turned.positions = atoms.positions @ rotation.T
    if atoms.has("momenta"):
        turned.set_momenta(atoms.get_momenta() @ rotation.T)
    return turned


def openmm_force(atoms: Atoms, calculator: Any) -> Any:
    """A `PythonForce` with the calculator's energy and forces of these atoms, in their order.

    The box may change in a run, by a barostat; elements, charge and spin stay. Do not serialise it: OpenMM would pickle
    the function.

    Args:
        atoms: as `in_openmm_frame` makes them; the template of the calculations.
        calculator: `GFMCalculator`, or another of ASE.

    Raises:
        ValueError: mixed periodicity; a cell that OpenMM would refuse.
    """
    _check_pbc(atoms)
    periodic = bool(atoms.pbc.all())
    if periodic and not np.allclose(in_openmm_frame(atoms).cell.array, atoms.cell.array, rtol=0, atol=1e-6):
        raise ValueError("the cell is not as OpenMM wants boxes; give in_openmm_frame(atoms) in the place of atoms")
    work = atoms.copy()
    work.calc = calculator

    def compute(state: Any) -> tuple[float, NDArray[np.float64]]:
        if periodic:
            box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(openmm.unit.nanometer)
            work.set_cell(np.asarray(box) * NM)
        work.positions = state.getPositions(asNumpy=True).value_in_unit(openmm.unit.nanometer) * NM
        return work.get_potential_energy() / KJ_PER_MOL, work.get_forces(apply_constraint=False) / KJ_PER_MOL * NM

    force = openmm.PythonForce(compute)
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def openmm_system(atoms: Atoms, calculator: Any) -> Any:
    """A `System` of these atoms with their masses, their cell and `openmm_force`; errors as there.

    Constraints of ASE are refused: OpenMM has its own (mass 0 fixes an atom).
    """
    if atoms.constraints:
        raise ValueError("the atoms have ASE constraints, which OpenMM does not know; remove them, and set masses to 0")
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(float(mass))
    if atoms.pbc.all():
        system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in atoms.cell.array / NM))
    system.addForce(openmm_force(atoms, calculator))
    return system


def _check_pbc(atoms: Atoms) -> None:
    if atoms.pbc.any() and not atoms.pbc.all():
        raise ValueError(f"pbc is {atoms.pbc.tolist()}; OpenMM has boxes that repeat in all directions, or none")
