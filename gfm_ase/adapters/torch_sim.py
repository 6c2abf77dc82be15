"""The potential of a checkpoint as a model of torch-sim, which relaxes and moves batches of structures.

Read against torch-sim 0.3.0, the last for Python 3.11, and 0.6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from gfm_ase.adapters.batches import BatchedCalculator, Geometries
from gfm_ase.adapters.foreign import foreign
from gfm_ase.calculator import GFMCalculator
from gfm_ase.loading import Loaded

torch_sim = foreign("torch_sim", "torch-sim")
ModelInterface: Any = foreign("torch_sim.models.interface", "torch-sim").ModelInterface


class GFMTorchSimModel(ModelInterface):  # type: ignore[misc]  # a foreign class
    """A model for `torch_sim.optimize`, `integrate` and `static`: the same numbers as `GFMCalculator`.

    Neighbour lists of all structures are made in one call at every step. The stress has ASE's sign and is NaN where a
    cell has no volume. Charge and spin (unpaired electrons) are those of `state.charge` and `state.spin` where a state
    has them, which states of torch-sim 0.3 have not, and else 0.

    Args:
        calculator: a `GFMCalculator`, or what it takes as a checkpoint.
        head: as of `GFMCalculator`, for a checkpoint.
        device: as of `GFMCalculator`, for a checkpoint.
        state_dtype: of positions and results; the network has its own.
        settings: more of `GFMCalculator`, for a checkpoint, such as `compile`.

    Raises:
        ValueError: as `GFMCalculator`; a head that has learnt no energies; and at calls as `GFMCalculator`.
    """

    def __init__(
        self,
        calculator: GFMCalculator | Loaded | str | Path,
        *,
        state_dtype: torch.dtype = torch.float64,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.batched = BatchedCalculator(calculator, **settings)
        self._device = self.batched.calculator.potential.device
        self._dtype = state_dtype
        self._compute_forces = True
        self._compute_stress = not self.batched.calculator.direct
        self._memory_scales_with = "n_atoms_x_density"

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Energy [S] eV, forces [N, 3] eV/Å and stress [S, 3, 3] eV/Å³ of a `SimState`, or of a dict of its fields."""
        if isinstance(state, dict):
            masses = torch.ones_like(state["positions"][:, 0])
            state = torch_sim.SimState(**{"masses": masses, **state})
        computed = self.batched(_geometries(state))
        names = ["energy", "forces", *(["stress"] if self._compute_stress else [])]
        return {name: computed[name].to(state.positions.device, state.positions.dtype) for name in names}


def state_of(structures: Sequence[Atoms], model: GFMTorchSimModel) -> Any:
    """The `SimState` of structures; all of one periodicity, which torch-sim keeps once for all.

    Raises:
        ValueError: none were given; several periodicities; a mixture of directions, which torch-sim 0.3 would take
            for a molecule without a word.
    """
    kinds = {tuple(bool(one) for one in atoms.pbc) for atoms in structures}
    if len(kinds) != 1:
        raise ValueError(
            f"{len(kinds)} kinds of periodicity in one batch; torch-sim has one: sort the structures by pbc"
        )
    (pbc,) = kinds
    state = torch_sim.io.atoms_to_state(list(structures), model.device, model.dtype)
    if not np.array_equal(_pbc(state), pbc):
        raise ValueError(f"pbc is {pbc}, but this torch-sim knows all directions or none; use GFMCalculator with ASE")
    return state


def _pbc(state: Any) -> Any:
    pbc = state.pbc.cpu().numpy() if isinstance(state.pbc, Tensor) else state.pbc
    return np.broadcast_to(np.asarray(pbc, dtype=bool), 3)


def _geometries(state: Any) -> Geometries:
    cells = state.cell.detach().transpose(-1, -2).cpu().numpy()  # torch-sim has the vectors in columns
    none = np.zeros(len(cells))
    given = {name: getattr(state, name, None) for name in ("charge", "spin")}
    charge, spin = (none if value is None else value.detach().cpu().numpy() for value in given.values())
    return Geometries(
        numbers=state.atomic_numbers.cpu().numpy(),
        positions=state.positions.detach().cpu().numpy(),
        structure=state.system_idx.cpu().numpy(),
        cells=cells,
        pbc=np.tile(_pbc(state), (len(cells), 1)),
        charge=charge,
        spin=spin,
    )
