"""Relax one cell and screen several, with the checkpoint of the first example."""

from pathlib import Path

import numpy as np
from ase.build import bulk

from gfm_ase import GFMCalculator
from md_workflows import RelaxSettings, relax, screen

CHECKPOINT = Path("example_01/run/model.safetensors")


def main() -> None:
    """A strained cell back to its minimum, then a table of alloys; one of them must fail, and is one row."""
    if not CHECKPOINT.exists():
        raise SystemExit("run 01_train_to_md.py first, in this folder")
    calculator = GFMCalculator(CHECKPOINT)
    settings = RelaxSettings(optimizer="lbfgs", fmax=0.02, cell={})

    strained = bulk("Cu", a=3.8, cubic=True)
    result = relax(strained, settings, calculator=calculator)
    length = result.atoms.cell.volume ** (1 / 3)
    print(f"copper: {result.reason}, {result.steps} steps, a = {length:.3f} Å (EMT: 3.590 Å)")
    assert result.converged

    rng = np.random.default_rng(1)
    candidates = []
    for number in range(5):
        atoms = bulk("Cu", a=3.8, cubic=True)
        atoms.symbols = rng.choice(["Cu", "Au"], 4)
        candidates.append((f"alloy-{number}", atoms))
    candidates.append(("iron", bulk("Fe", cubic=True)))  # an element the potential has never seen
    screen(candidates, Path("example_02.csv"), settings, calculator=calculator, resume=False)
    print(Path("example_02.csv").read_text())


if __name__ == "__main__":
    main()
