"""Train a small potential on labelled structures, then run molecular dynamics with it: the whole way in one file.

Structures: copper and gold cells, rattled and strained, labelled by ASE's EMT. One minute on two cores.
"""

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console

from gfm_ase import GFMCalculator
from md_workflows import MDSettings, run_md
from train.config import load_config
from train.loop import train

RUN = """
output = "run"
compile = false
[potential.backbone]
name = "painn"
cutoff = 4.5
width = 32
depth = 2
[[dataset]]
name = "emt"
train = "train.extxyz"
test = "test.extxyz"
[batch]
max_atoms = 64
[optimizer]
learning_rate = 5e-3
[stop]
epochs = 30
[log]
validate_every = 5
"""


def labelled(rng: np.random.Generator) -> Atoms:
    """One random cell with its EMT energy, forces and stress."""
    atoms = bulk(str(rng.choice(["Cu", "Au"])), cubic=True) * (2, 1, 1)
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.12, atoms.positions.shape)
    atoms.calc = EMT()
    results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def main() -> None:
    """Data, training, calculator, dynamics."""
    folder = Path("example_01")
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    ase.io.write(folder / "train.extxyz", [labelled(rng) for _ in range(200)])
    ase.io.write(folder / "test.extxyz", [labelled(rng) for _ in range(40)])
    (folder / "run.toml").write_text(RUN)

    result = train(load_config(folder / "run.toml"), overwrite=True, console=Console())
    errors = result.errors["emt"]
    assert errors["trivial_forces_mae_eV_per_A"] > 5 * errors["forces_mae_eV_per_A"], errors

    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.calc = GFMCalculator(result.checkpoint)
    settings = MDSettings(ensemble={"name": "nve"}, steps=100, timestep_fs=2.0, initial_temperature_K=300)
    md = run_md(atoms, settings, files=folder / "md.traj", on_existing="overwrite")
    print(f"{md.steps} steps, energy changed by {1e3 * md.energies.drift_per_atom:.3f} meV/atom; look at {folder}")


if __name__ == "__main__":
    main()
