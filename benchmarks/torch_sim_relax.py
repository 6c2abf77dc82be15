"""Relaxation of many cells by torch-sim, driving our potential or any model of its own: the peer of the batched engine.

`relax_with_torch_sim` runs what torch-sim 0.3 offers: FIRE as ASE has it, with the cell by matrix logarithm (Frechet)
or as a plain unit cell; converged structures leave the batch. On the CPU torch-sim cannot find a batch size by itself
(`autobatcher=True` asks for CUDA), so one is given in atoms, or all structures go in at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_sim
from ase import Atoms
from torch_sim.autobatching import InFlightAutoBatcher
from torch_sim.optimizers import fire, frechet_cell_fire, unit_cell_fire

OPTIMIZERS = {"frechet": frechet_cell_fire, "unit_cell": unit_cell_fire, "fixed": fire}


@dataclass(frozen=True)
class Relaxed:
    """What became of one structure; energy in eV, `converged` by the forces of the end."""

    atoms: Atoms
    converged: bool
    energy: float


def relax_with_torch_sim(
    structures: Sequence[Atoms],
    model: Any,
    fmax: float,
    max_steps: int,
    *,
    cell: Literal["frechet", "unit_cell", "fixed"] = "frechet",
    atoms_a_batch: int | None = None,
    steps_between_checks: int = 1,
) -> list[Relaxed]:
    """Relax until every force, of atoms and of the cell by ASE's measure, is below `fmax`.

    Args:
        structures: all of one periodicity.
        model: a `ModelInterface`, such as `GFMTorchSimModel`.
        fmax: eV/Å.
        max_steps: of each structure.
        cell: how the cell moves.
        atoms_a_batch: at most so many atoms in one call of the model; None: all at once.
        steps_between_checks: steps after which converged structures leave; torch-sim's default is 5.
    """
    state = torch_sim.io.atoms_to_state(list(structures), model.device, model.dtype)
    converged = torch_sim.runners.generate_force_convergence_fn(fmax, include_cell_forces=cell != "fixed")
    largest = max(map(len, structures))
    batcher = InFlightAutoBatcher(
        model,
        memory_scales_with="n_atoms",
        max_memory_scaler=float(max(atoms_a_batch or state.n_atoms + 1, largest + 1)),
        max_iterations=max_steps // steps_between_checks,
        return_indices=True,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimize has reached max steps", UserWarning)  # said by `converged`
        end = torch_sim.optimize(
            state,
            model,
            optimizer=OPTIMIZERS[cell],
            convergence_fn=converged,
            autobatcher=batcher,
            max_steps=max_steps * len(structures),  # it counts those of all batches together
            steps_between_swaps=steps_between_checks,
        )
    done: torch.Tensor = converged(end, None)
    frames = torch_sim.io.state_to_atoms(end)
    return [Relaxed(atoms, bool(ok), float(energy)) for atoms, ok, energy in zip(frames, done, end.energy, strict=True)]
