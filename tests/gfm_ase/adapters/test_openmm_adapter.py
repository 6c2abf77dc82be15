"""The force of OpenMM against the calculator it asks, in OpenMM's units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from gfm_ase import GFMCalculator


@pytest.fixture(scope="module")
def openmm() -> Any:
    return pytest.importorskip("openmm", reason="OpenMM is not installed: pip install 'gfm-ase[openmm]'")


def context(openmm: Any, atoms: Atoms, calculator: Any, timestep_fs: float = 1.0) -> Any:
    from gfm_ase.adapters.openmm import openmm_system

    integrator = openmm.VerletIntegrator(timestep_fs * openmm.unit.femtosecond)
    platform = openmm.Platform.getPlatformByName("Reference")  # in double precision
    made = openmm.Context(openmm_system(atoms, calculator), integrator, platform)
    made.setPositions(atoms.positions / 10)
    return made


def energy_and_forces(openmm: Any, made: Any) -> tuple[float, Any]:
    state = made.getState(energy=True, forces=True)
    unit = openmm.unit
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
    return energy * 0.010364269656262, forces * 0.010364269656262  # eV in a kJ/mol: 1000 / (N_A e), CODATA


@pytest.mark.parametrize("primitive", [False, True])
def test_energy_and_forces_of_a_crystal(openmm: Any, one_head: Path, primitive: bool) -> None:
    from gfm_ase.adapters.openmm import in_openmm_frame

    calculator = GFMCalculator(one_head, device="cpu", dtype="float64")
    atoms = bulk("Cu") * (2, 2, 2) if primitive else bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]], scale_atoms=False)  # left-handed where it was not
    atoms.rattle(0.1, seed=1)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    turned = in_openmm_frame(atoms)
    own = atoms.copy()
    own.calc = turned.calc = calculator
    assert abs(own.get_potential_energy() - turned.get_potential_energy()) < 1e-9
    assert abs(own.get_kinetic_energy() - turned.get_kinetic_energy()) < 1e-9
    energy, forces = energy_and_forces(openmm, context(openmm, turned, calculator))
    assert abs(energy - turned.get_potential_energy()) < 1e-6
    assert np.abs(forces - turned.get_forces()).max() < 1e-6


def test_a_molecule_and_another_calculator(openmm: Any) -> None:
    atoms = molecule("CH3OH")
    expected = atoms.copy()
    expected.calc = EMT()
    energy, forces = energy_and_forces(openmm, context(openmm, atoms, EMT()))
    assert abs(energy - expected.get_potential_energy()) < 1e-6
    assert np.abs(forces - expected.get_forces()).max() < 1e-6


def test_the_box_may_change(openmm: Any, one_head: Path) -> None:
    calculator = GFMCalculator(one_head, device="cpu", dtype="float64")
    atoms = bulk("Cu", cubic=True)
    made = context(openmm, atoms, calculator)
    wider = atoms.copy()
    wider.set_cell(atoms.cell * 1.05, scale_atoms=True)
    wider.calc = calculator
    made.setPeriodicBoxVectors(*(openmm.Vec3(*row) for row in wider.cell.array / 10))
    made.setPositions(wider.positions / 10)
    energy, _ = energy_and_forces(openmm, made)
    assert abs(energy - wider.get_potential_energy()) < 1e-6


def test_dynamics_keep_the_energy(openmm: Any) -> None:
    """EMT's copper at 300 K, 200 steps: velocity Verlet's energy wavers with dt², and halving dt shows it."""
    wavers = []
    for timestep_fs, steps in ((4.0, 50), (2.0, 100)):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.rattle(0.05, seed=3)
        made = context(openmm, atoms, EMT(), timestep_fs)
        made.setVelocitiesToTemperature(300, 1)
        total = []
        for _ in range(steps):
            made.getIntegrator().step(1)
            state = made.getState(energy=True)
            both = state.getPotentialEnergy() + state.getKineticEnergy()
            total.append(both.value_in_unit(openmm.unit.kilojoule_per_mole) * units.kJ / units.mol)
        wavers.append(np.ptp(total))
    assert wavers[1] < wavers[0] / 2.5
    assert wavers[1] < 2e-4 * len(atoms)


def test_what_it_refuses(openmm: Any) -> None:
    from gfm_ase.adapters.openmm import in_openmm_frame, openmm_force, openmm_system

    slab = fcc111("Cu", (1, 1, 2), vacuum=4)
    for function in (in_openmm_frame, lambda atoms: openmm_force(atoms, EMT())):
        with pytest.raises(ValueError, match=r"pbc is \[True, True, False\]; OpenMM has boxes that repeat in all"):
            function(slab)
    with pytest.raises(ValueError, match=r"give in_openmm_frame\(atoms\) in the place of atoms"):
        openmm_force(bulk("Cu"), EMT())
    fixed = bulk("Cu", cubic=True)
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="ASE constraints, which OpenMM does not know"):
        openmm_system(fixed, EMT())


def test_openmm_mls_own_door_to_ase(openmm: Any, one_head: Path) -> None:
    openmmml: Any = pytest.importorskip("openmmml", reason="OpenMM-ML is not installed: pip install openmmml")
    from openmm import app

    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=4)
    atoms.calc = GFMCalculator(one_head, device="cpu", dtype="float64")
    topology = app.Topology()
    chain = topology.addChain()
    for symbol in atoms.get_chemical_symbols():
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), topology.addResidue(symbol, chain))
    topology.setPeriodicBoxVectors(atoms.cell.array / 10 * openmm.unit.nanometer)
    system = openmmml.MLPotential("ase").createSystem(topology, calculator=atoms.calc)
    made = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    made.setPositions(atoms.positions / 10)
    energy, forces = energy_and_forces(openmm, made)
    assert abs(energy - atoms.get_potential_energy()) < 1e-6
    assert np.abs(forces - atoms.get_forces()).max() < 1e-6
