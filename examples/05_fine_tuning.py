"""Fine-tuning: molecules of a cheap level of theory first, then a few of another, with the old ones replayed.

Labels: GFN1-xTB and GFN2-xTB of tblite (extra `labels`). The whole takes half a minute on one core.
"""

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from tblite.ase import TBLite

from train.config import load_config
from train.loop import train

NAMES = ("H2O", "NH3", "CH4", "CH3OH", "H2CO", "HCOOH", "H3CNH2", "HCN")
FIRST = """
output = "first"
compile = false
stop.epochs = 20
batch.max_atoms = 64
optimizer.learning_rate = 5e-3
potential.backbone = { width = 32, depth = 2 }
[[dataset]]
name = "gfn1"
train = "gfn1.extxyz"
"""
SECOND = """
output = "second"
compile = false
stop.epochs = 40
batch.max_atoms = 64
optimizer.backbone_rate = 0.5
[[dataset]]
name = "gfn2"
train = "gfn2.extxyz"
test = "test.extxyz"
[[dataset]]
name = "gfn1"
train = "gfn1.extxyz"
repeat = 0.1
[fine_tune]
start_from = "first/model.safetensors"
heads = { gfn2 = "gfn1" }
"""
ALONE = FIRST.replace("first", "alone").replace("gfn1", "gfn2").replace("20", "100") + 'test = "test.extxyz"'


def labelled(method: str, rng: np.random.Generator) -> Atoms:
    """One distorted molecule with its energy and forces."""
    atoms = molecule(str(rng.choice(NAMES)))
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    atoms.calc = TBLite(method=method, verbosity=0)
    results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces")}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def main() -> None:
    """400 structures of one level, then 30 of another: from what is learnt, and as long from random weights."""
    folder, rng, errors = Path("example_05"), np.random.default_rng(0), {}
    folder.mkdir(exist_ok=True)
    for file, method, count in (("gfn1", "GFN1-xTB", 400), ("gfn2", "GFN2-xTB", 30), ("test", "GFN2-xTB", 60)):
        ase.io.write(folder / f"{file}.extxyz", [labelled(method, rng) for _ in range(count)])
    for name, text in {"first": FIRST, "second": SECOND, "alone": ALONE}.items():
        (folder / f"{name}.toml").write_text(text)
        errors[name] = train(load_config(folder / f"{name}.toml"), overwrite=True, console=Console()).errors
    own, random = (errors[name]["gfn2"]["forces_mae_eV_per_A"] for name in ("second", "alone"))
    print(f"30 structures, forces: {own:.3f} eV/Å after the first training, {random:.3f} eV/Å from random weights")
    assert own < 0.7 * random


if __name__ == "__main__":
    main()
