"""i-PI moves a quantum water molecule, eight beads in each call of our potential.

Needs `pip install 'gfm-ase[ipi,labels]'`. Trains on water labelled by GFN2-xTB first: two minutes.
"""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from tblite.ase import TBLite

from gfm_ase.adapters.ipi_driver import ffdirect
from train.config import load_config
from train.loop import train

BEADS = 8
RUN = """
output = "run"
compile = false
potential.backbone = { name = "painn", cutoff = 4.0, width = 32, depth = 2 }
batch.max_atoms = 48
optimizer.learning_rate = 5e-3
stop.epochs = 40
dataset = [{ name = "xtb", train = "train.extxyz", test = "test.extxyz" }]
"""
INPUT = """
<simulation verbosity='low'>
  <output prefix='water'><properties stride='5' filename='out'> [ time{{picosecond}}, kinetic_cv{{electronvolt}},
    potential{{electronvolt}} ] </properties></output>
  <total_steps> 2000 </total_steps> <prng><seed> 7 </seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'> <file mode='ase'> water.extxyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities> </initialize>
    <forces> <force forcefield='gfm'/> </forces>
    <motion mode='dynamics'><dynamics mode='nvt'> <timestep units='femtosecond'> 0.4 </timestep>
      <thermostat mode='pile_l'> <tau units='femtosecond'> 50 </tau> </thermostat></dynamics></motion>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  </system>
</simulation>
"""


def labelled(rng: np.random.Generator) -> Atoms:
    """Water, distorted as its zero-point motion distorts it, with energy and forces of GFN2-xTB."""
    atoms = molecule("H2O")
    atoms.positions += rng.normal(0, 0.1, (3, 3)) * [[0.3], [1], [1]]
    calculator = TBLite(method="GFN2-xTB", verbosity=0)
    results = {name: calculator.get_property(name, atoms) for name in ("energy", "forces")}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def main() -> None:
    """Train, run i-PI, compare the quantum kinetic energy with the classical one."""
    rng = np.random.default_rng(0)
    ase.io.write("train.extxyz", [labelled(rng) for _ in range(400)])
    ase.io.write("test.extxyz", [labelled(rng) for _ in range(50)])
    Path("run.toml").write_text(RUN, encoding="utf-8")
    result = train(load_config(Path("run.toml")), overwrite=True, console=Console())

    ase.io.write("water.extxyz", molecule("H2O", vacuum=10))
    forcefield = ffdirect(result.checkpoint.relative_to(Path.cwd()), "water.extxyz", batch_size=BEADS)
    Path("input.xml").write_text(INPUT.format(forcefield=forcefield, beads=BEADS), encoding="utf-8")
    subprocess.run([Path(sys.executable).with_name("i-pi"), "input.xml"], check=True)  # noqa: S603 - ours
    kinetic = np.loadtxt("water.out")[100:, 1].mean()
    print(f"kinetic energy of {BEADS} beads {kinetic:.3f} eV; classical nuclei: {1.5 * 3 * 300 * 8.617e-5:.3f} eV")
    assert 0.2 < kinetic < 0.4


if __name__ == "__main__":
    main()
