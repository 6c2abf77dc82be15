"""From features of atoms to outputs of atoms: one branch per data set; and what a whole structure tells its atoms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SiteEnergyHeads(nn.Module):
    """One multilayer perceptron per data set, [N, F] features to [N] site energies (dimensionless, see `References`).

    Every branch sees every atom and the atom's data set picks: a branch without atoms in a batch gets a gradient of
    zero, not none, and the work is the same on every rank.
    """

    def __init__(self, heads: Sequence[str], width: int, hidden: int) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {head: nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, 1)) for head in heads}
        )

    def forward(self, features_NF: Tensor, dataset_N: Tensor) -> Tensor:
        """[N, F] and [N] index of the branch, to [N]."""
        outputs = [branch(features_NF) for branch in self.branches.values()]
        if len(outputs) == 1:
            output_N1: Tensor = outputs[0]
        else:
            output_N1 = torch.cat(outputs, dim=1).gather(1, dataset_N[:, None])
        return output_N1[:, 0]

    def hidden(self, features_NF: Tensor, dataset_N: Tensor) -> Tensor:
        """[N, F] and [N] index of the branch, to [N, H]: what the last linear map of the branch is given."""
        found: list[Tensor] = []
        for branch in self.branches.values():
            assert isinstance(branch, nn.Sequential)
            first, activation, _ = branch
            found.append(activation(first(features_NF)))
        if len(found) == 1:
            return found[0]
        hidden_NDH = torch.stack(found, dim=1)
        rows_N1H = dataset_N[:, None, None].expand(-1, 1, hidden_NDH.shape[2])
        return hidden_NDH.gather(1, rows_N1H)[:, 0]


class StructureContext(nn.Module):
    """Total charge and spin of a structure as a vector added to the embedding of its atoms.

    They enter per atom, so that two equal cells side by side stay twice one cell. Zero charge and spin add nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, width, bias=False), nn.SiLU(), nn.Linear(width, width, bias=False))

    def forward(self, charge_G: Tensor, spin_G: Tensor, graph_index_N: Tensor) -> Tensor:
        """[G] charge in e, [G] unpaired electrons and [N] graph of each atom, to [N, F]."""
        atoms_G = charge_G.new_zeros(charge_G.shape[0]).index_add(
            0, graph_index_N, torch.ones_like(graph_index_N, dtype=charge_G.dtype)
        )
        per_atom_G2 = torch.stack([charge_G, spin_G], dim=1) / atoms_G.clamp(min=1)[:, None]
        context_GF: Tensor = self.network(per_atom_G2.to(next(self.network.parameters()).dtype))
        return context_GF[graph_index_N]
