"""OpenMM's Langevin dynamics with our potential; needs `pip install 'gfm-ase[openmm]'`.

    python openmm_dynamics.py example_01/run/model.safetensors

The checkpoint is that of 01_train_to_md.py: copper and gold.
"""

import sys

import openmm
from ase.build import bulk
from openmm import unit

from gfm_ase import GFMCalculator
from gfm_ase.adapters.openmm import in_openmm_frame, openmm_system


def main() -> None:
    """Gold in the box of its primitive vectors: 300 steps at 300 K."""
    atoms = in_openmm_frame(bulk("Au") * 4)
    system = openmm_system(atoms, GFMCalculator(sys.argv[1]))
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 5 / unit.picosecond, 4 * unit.femtosecond)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"))
    context.setPositions(atoms.positions / 10)  # nm
    context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
    temperatures = []
    for _ in range(15):
        integrator.step(20)
        state = context.getState(energy=True)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        temperatures.append(kinetic / (1.5 * len(atoms) * 8.314462618e-3))
        print(f"{state.getTime().value_in_unit(unit.femtosecond):6.0f} fs  {temperatures[-1]:5.0f} K")
    # half of the kinetic energy goes into the bonds, and the thermostat brings it back in some 200 fs
    assert 150 < sum(temperatures[5:]) / 10 < 450


if __name__ == "__main__":
    main()
