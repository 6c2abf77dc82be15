"""Charges and dipoles beside the energy, of neutral molecules and their cations: the charge alone tells them apart.

Labels: GFN2-xTB of tblite (extra `labels`). The whole takes a quarter of a minute on one core.
"""

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from tblite.ase import TBLite

from gfm_ase import GFMCalculator
from train.config import load_config
from train.loop import train

NAMES = ("H2O", "NH3", "CH4", "CH3OH", "H2CO", "HCOOH", "H3CNH2", "HCN")
RUN = """
output = "run"
compile = false
stop.epochs = 20
batch.max_atoms = 64
[potential]
charge_and_spin = true
[[potential.output]]
name = "charges"
[[potential.output]]
name = "dipole"
[potential.backbone]
width = 32
depth = 2
[[dataset]]
name = "gfn2"
train = "train.extxyz"
test = "test.extxyz"
[loss]
weighting = "uncertainty"
[optimizer]
learning_rate = 5e-3
"""


def labelled(rng: np.random.Generator) -> Atoms:
    """One distorted molecule, neutral or ionised, with its GFN2-xTB energy, forces, charges and dipole."""
    atoms = molecule(str(rng.choice(NAMES)))
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    charge = int(rng.integers(2))
    atoms.calc = TBLite(method="GFN2-xTB", charge=charge, multiplicity=1 + charge, verbosity=0)
    results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "charges", "dipole")}
    atoms.info = {"charge": charge, "spin": charge}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def main() -> None:
    """Data, training, and the molecules' properties from ASE's getters."""
    folder = Path("example_03")
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    ase.io.write(folder / "train.extxyz", [labelled(rng) for _ in range(400)])
    ase.io.write(folder / "test.extxyz", [labelled(rng) for _ in range(60)])
    (folder / "run.toml").write_text(RUN)

    errors = train(load_config(folder / "run.toml"), overwrite=True, console=Console()).errors["gfn2"]
    for name, unit in (("charges", "e"), ("dipole", "eA"), ("forces", "eV_per_A")):
        own, trivial = errors[f"{name}_mae_{unit}"], errors[f"trivial_{name}_mae_{unit}"]
        print(f"{name}: mean absolute error {own:.4f} {unit}, without a network {trivial:.4f}")
        assert trivial > 4 * own, errors

    water = molecule("H2O")
    water.calc = GFMCalculator(folder / "run" / "model.safetensors")
    print("water:", water.get_charges().round(3), "e,", water.get_dipole_moment().round(3), "e·Å")


if __name__ == "__main__":
    main()
