"""Magnetic moments of atoms beside the energy, on a toy: no moment here was computed from quantum mechanics.

Energies and forces of nickel-copper cells are ASE's EMT, and the moment of a nickel atom is made up: 0.6 μB times the
share of nickel among its neighbours, weighed by distance; copper has none. That copper quenches moments is true of the
real alloy, the formula is ours. Real moments are read in the same way: ASE's `magmoms`, or the array that
`labels = { magmoms = { key = "..." } }` names.
"""

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from rich.console import Console

from gfm_ase import GFMCalculator
from train.config import load_config
from train.loop import train

RUN = """
output = "run"
compile = false
stop.epochs = 20
batch.max_atoms = 64
[[potential.output]]
name = "magmoms"
[potential.backbone]
name = "painn"
cutoff = 4.5
width = 32
depth = 2
[[dataset]]
name = "toy"
train = "train.extxyz"
test = "test.extxyz"
"""


def toy_moments(atoms: Atoms) -> np.ndarray:
    """[N] μB: what this example makes up."""
    centre, neighbour, distance = neighbor_list("ijd", atoms, 4.0)
    weight, is_nickel = np.exp(-((distance / 2.5) ** 2)), atoms.numbers == 28
    nickel = np.bincount(centre, weight * is_nickel[neighbour], len(atoms))
    return 0.6 * is_nickel * nickel / np.bincount(centre, weight, len(atoms))


def labelled(rng: np.random.Generator) -> Atoms:
    """One random alloy cell with its labels."""
    atoms = bulk("Ni", a=3.56, cubic=True) * (2, 1, 1)
    atoms.symbols[rng.random(len(atoms)) < 0.4] = "Cu"
    atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    atoms.calc = EMT()
    results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **results, magmoms=toy_moments(atoms))
    return atoms


def main() -> None:
    """Data, training, and moments from ASE's getter."""
    folder = Path("example_04")
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    ase.io.write(folder / "train.extxyz", [labelled(rng) for _ in range(200)])
    ase.io.write(folder / "test.extxyz", [test := labelled(rng), *(labelled(rng) for _ in range(39))])
    (folder / "run.toml").write_text(RUN)

    errors = train(load_config(folder / "run.toml"), overwrite=True, console=Console()).errors["toy"]
    assert errors["trivial_magmoms_mae_muB"] > 10 * errors["magmoms_mae_muB"], errors
    atoms = test.copy()
    atoms.calc = GFMCalculator(folder / "run" / "model.safetensors")
    print("made up:", toy_moments(atoms).round(3), "\nlearnt: ", atoms.get_magnetic_moments().round(3))


if __name__ == "__main__":
    main()
