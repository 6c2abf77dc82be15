"""Uncertainties of one potential by its last layer, at the cost of a few products of small matrices.

The energy is linear in what the last layer is given, E = w · Σ_i h_i: were w fitted by Bayesian linear regression, the
posterior variance of E would be a² Hᵀ (Σ_s h_s h_sᵀ + s²)⁻¹ H, large where a structure does what no training structure
did (prediction rigidities: Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018, 2024). Forces have
such a variance too, of the derivatives of H, but those of every hidden feature cost a pass back each. In its place
stands the rigidity of the atom itself, hᵢᵀ C⁻¹ hᵢ with C of the features of training atoms, times what an element's
force components were off by on held-back structures. Symmetry makes forces and their errors zero at sites that may well
be new, and among crystals of all kinds large forces are off by more: the variance also goes by (1 + F² / 3 f²)^½, f by
what was held back, infinite where the force does not tell. No derivative is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from ase.data import atomic_numbers
from torch import Tensor

from potentials.backbones.base import N_ELEMENTS
from potentials.derivatives import TensorInputs
from potentials.edges import largest_of_segments, sum_segments
from potentials.exact import ExactBuffers

GIVEN = ("energy_uncertainty", "forces_uncertainty", "uncertainty")
"""Names of what a last layer tells."""


class LastLayer(ExactBuffers):
    """Standard deviations of energies and force components, in float64 whatever the network's dtype.

    Buffers, not parameters: fitted once the network has been (`train.last_layer_fit`), stored with the checkpoint.

    Args:
        heads: names of the data sets, in the order of their indices.
        hidden: H, features that the last layer of a head is given.

    Attributes:
        energy_DHH, forces_DHH: W with W Wᵀ the inverse of the matrix of the features of structures, of atoms.
        energy_factor_D: eV; 0 where a head knows no uncertainty of energies.
        forces_factor_DZ: eV/Å for each element; 0 where a head knows none.
        forces_slope_D: 1 / f², (Å/eV)².
        seen_DZ: elements with atoms in the training split.
    """

    energy_DHH: Tensor
    forces_DHH: Tensor
    energy_factor_D: Tensor
    forces_factor_DZ: Tensor
    forces_slope_D: Tensor
    seen_DZ: Tensor

    def __init__(self, heads: Sequence[str], hidden: int) -> None:
        super().__init__()
        self.heads = tuple(heads)
        count = len(self.heads)
        eye_DHH = torch.eye(hidden, dtype=torch.float64).repeat(count, 1, 1)
        self.register_buffer("energy_DHH", eye_DHH)
        self.register_buffer("forces_DHH", eye_DHH.clone())
        self.register_buffer("energy_factor_D", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("forces_factor_DZ", torch.zeros(count, N_ELEMENTS, dtype=torch.float64))
        self.register_buffer("forces_slope_D", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("seen_DZ", torch.zeros(count, N_ELEMENTS, dtype=torch.bool))

    def set_head(
        self,
        head: str,
        seen: Sequence[str],
        energy: tuple[Tensor, float] | None,
        forces: tuple[Tensor, Mapping[str, float], float] | None,
    ) -> None:
        """Set what one head knows of its uncertainty.

        Args:
            head: its name.
            seen: symbols of the elements with atoms in its training split.
            energy: W [H, H] and the factor, eV; none where nothing is known.
            forces: W [H, H], the factor of each of the elements seen, eV/Å, and f, eV/Å, which may be infinite; none
                where nothing is known.

        Raises:
            ValueError: a factor that is not positive, or numbers that are not finite.
        """
        row = self.heads.index(head)
        factors = [*([energy[1]] if energy else []), *([*forces[1].values(), 1 + forces[2] ** -2] if forces else [])]
        numbers = [torch.tensor(factors, dtype=torch.float64), *(known[0] for known in (energy, forces) if known)]
        if not all(bool(torch.isfinite(value).all()) for value in numbers) or not all(value > 0 for value in factors):
            raise ValueError(f"uncertainties of head {head!r} must be finite and their factors positive: {factors}")
        assert forces is None or set(forces[1]) == set(seen), "one factor for each element"
        self.seen_DZ[row] = False
        self.seen_DZ[row, [atomic_numbers[symbol] for symbol in seen]] = True
        self.energy_factor_D[row], self.forces_factor_DZ[row] = 0.0, 0.0
        if energy is not None:
            self.energy_DHH[row], self.energy_factor_D[row] = energy
        if forces is not None:
            self.forces_DHH[row], self.forces_slope_D[row] = forces[0], forces[2] ** -2
            for symbol, factor in forces[1].items():
                self.forces_factor_DZ[row, atomic_numbers[symbol]] = factor

    def known(self, row: int) -> tuple[str, ...]:
        """Names of what the head of this row knows."""
        energy, forces = bool(self.energy_factor_D[row] > 0), bool((self.forces_factor_DZ[row] > 0).any())
        return tuple(name for name in GIVEN if (energy if name == "energy_uncertainty" else forces))

    def forward(self, hidden_NH: Tensor, forces_N3: Tensor | None, inputs: TensorInputs) -> dict[str, Tensor]:
        """What the last layer is given [N, H] and forces, to what is `GIVEN`: [G], [N] and [G], float64.

        Infinite for atoms of elements never seen and their structures, NaN where the head knows none. Without forces
        that of the energy alone.
        """
        hidden_NH, dataset_G = hidden_NH.double(), inputs.dataset
        dataset_N = dataset_G[inputs.graph_index]
        strange_N = ~self.seen_DZ[dataset_N, inputs.numbers]
        strange_G = sum_segments(strange_N.double(), inputs.graph_index, inputs.atom_starts) > 0
        summed_GH = sum_segments(hidden_NH, inputs.graph_index, inputs.atom_starts)
        energy_G = self._sizes(summed_GH, self.energy_DHH, dataset_G) * self.energy_factor_D[dataset_G]
        energy_G = torch.where(strange_G, torch.inf, energy_G)
        energy_G = torch.where(self.energy_factor_D[dataset_G] > 0, energy_G, torch.nan)
        if forces_N3 is None:
            return {"energy_uncertainty": energy_G}
        forces_N = self._sizes(hidden_NH, self.forces_DHH, dataset_N) * self.forces_factor_DZ[dataset_N, inputs.numbers]
        forces_N = forces_N * strength(forces_N3, self.forces_slope_D[dataset_N]).sqrt()
        forces_N = torch.where(strange_N, torch.inf, forces_N)
        forces_N = torch.where((self.forces_factor_DZ > 0).any(1)[dataset_N], forces_N, torch.nan)
        largest_G = largest_of_segments(forces_N, inputs.graph_index, len(energy_G))
        return {"energy_uncertainty": energy_G, "forces_uncertainty": forces_N, "uncertainty": largest_G}

    def _sizes(self, rows_MH: Tensor, whiten_DHH: Tensor, dataset_M: Tensor) -> Tensor:
        """[M, H] to [M] |row W|, W by the data set of the row."""
        if len(self.heads) == 1:
            size_M: Tensor = torch.linalg.vector_norm(rows_MH @ whiten_DHH[0], dim=1)
            return size_M
        # all of them for every row, as branches are computed
        sizes = [torch.linalg.vector_norm(rows_MH @ whiten, dim=1) for whiten in whiten_DHH.unbind(0)]
        return torch.stack(sizes, dim=1).gather(1, dataset_M[:, None])[:, 0]


def strength(forces_N3: Tensor, slope: Tensor | float) -> Tensor:
    """[N, 3] eV/Å and 1 / f² to [N] what the variance of the forces is multiplied by: (1 + F² / 3 f²)^½."""
    return (1 + slope * forces_N3.square().mean(1)).sqrt()
