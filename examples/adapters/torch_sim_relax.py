"""torch-sim relaxes twenty cells in one batch with our potential; needs `pip install 'gfm-ase[torch-sim]'`.

    python torch_sim_relax.py example_01/run/model.safetensors

The checkpoint is that of 01_train_to_md.py: copper and gold.
"""

import sys
import time

import numpy as np
import torch_sim
from ase import Atoms
from ase.build import bulk

from gfm_ase import GFMCalculator
from gfm_ase.adapters.torch_sim import GFMTorchSimModel, state_of

FMAX = 0.02


def cells() -> list[Atoms]:
    """Alloys of copper and gold in cells of copper's length and a little more."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        atoms = bulk("Cu", a=rng.uniform(3.6, 4.0), cubic=True)
        atoms.symbols = rng.choice(["Cu", "Au"], 4)
        atoms.rattle(0.05, rng=rng)
        found.append(atoms)
    return found


def main() -> None:
    """Relax positions and cells, and compare with what ASE's calculator says of the end."""
    model = GFMTorchSimModel(sys.argv[1])
    structures = cells()
    began = time.perf_counter()
    end = torch_sim.optimize(
        state_of(structures, model),
        model,
        optimizer=torch_sim.frechet_cell_fire,
        convergence_fn=torch_sim.generate_force_convergence_fn(FMAX),
        max_steps=500,
        steps_between_swaps=1,
    )
    print(f"{len(structures)} cells in {time.perf_counter() - began:.1f} s")
    calculator = GFMCalculator(sys.argv[1])
    for atoms, energy in zip(torch_sim.io.state_to_atoms(end), end.energy.tolist(), strict=True):
        atoms.calc = calculator
        print(f"{atoms.get_chemical_formula():6s} {energy / len(atoms):8.4f} eV/atom, {atoms.get_volume():6.2f} Å³")
        assert abs(atoms.get_potential_energy() - energy) < 1e-4
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < FMAX + 1e-4


if __name__ == "__main__":
    main()
