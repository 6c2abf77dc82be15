"""Reference energies: what a site energy of the network is scaled by and added to, per data set and element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from potentials.backbones.base import N_ELEMENTS
from potentials.exact import ExactBuffers


class References(ExactBuffers):
    """E = Σ_atoms (scale · ε + shift) + Σ E0[data set, Z], in float64 whatever the network's dtype.

    Buffers, not parameters: fitted on the training split before training, stored with the checkpoint.

    Args:
        heads: names of the data sets, in the order of their indices.
    """

    e0_DZ: Tensor
    known_DZ: Tensor
    scale_D: Tensor
    shift_D: Tensor

    def __init__(self, heads: Sequence[str]) -> None:
        super().__init__()
        self.heads = tuple(heads)
        count = len(self.heads)
        self.register_buffer("e0_DZ", torch.zeros(count, N_ELEMENTS, dtype=torch.float64))
        self.register_buffer("known_DZ", torch.zeros(count, N_ELEMENTS, dtype=torch.bool))
        self.register_buffer("scale_D", torch.ones(count, dtype=torch.float64))
        self.register_buffer("shift_D", torch.zeros(count, dtype=torch.float64))

    def set_head(self, head: str, e0: Mapping[str, float], *, scale: float = 1.0, shift: float = 0.0) -> None:
        """Set the references of one data set.

        Args:
            head: its name.
            e0: eV per element symbol; the elements named here are the ones the data set knows.
            scale: eV, what one unit of the network's output is worth; positive.
            shift: eV per atom.

        Raises:
            ValueError: unknown symbol, a scale that is not positive, or a number that is not finite.
        """
        strangers = [symbol for symbol in e0 if symbol not in atomic_numbers or symbol == "X"]
        if strangers:
            raise ValueError(f"E0 of head {head!r} names {', '.join(strangers)}, which are no element symbols")
        values = torch.tensor([*e0.values(), scale, shift], dtype=torch.float64)
        if not bool(torch.isfinite(values).all()) or scale <= 0:
            raise ValueError(f"references of head {head!r} must be finite and its scale positive: {dict(e0)}, {scale}")
        row = self.heads.index(head)
        self.known_DZ[row] = False
        self.e0_DZ[row] = 0.0
        for symbol, value in e0.items():
            self.e0_DZ[row, atomic_numbers[symbol]] = value
            self.known_DZ[row, atomic_numbers[symbol]] = True
        self.scale_D[row] = scale
        self.shift_D[row] = shift

    def elements(self, head: str) -> tuple[str, ...]:
        """Symbols that a data set knows, by atomic number."""
        known = torch.nonzero(self.known_DZ[self.heads.index(head)])[:, 0].tolist()
        return tuple(chemical_symbols[number] for number in known)

    def e0(self, head: str) -> dict[str, float]:
        """Reference energy in eV per element symbol of a data set."""
        row = self.e0_DZ[self.heads.index(head)]
        return {symbol: float(row[atomic_numbers[symbol]]) for symbol in self.elements(head)}

    def forward(self, output_N: Tensor, numbers_N: Tensor, dataset_N: Tensor) -> Tensor:
        """[N] network outputs to [N] float64 site energies in eV."""
        site_N = output_N.double() * self.scale_D[dataset_N] + self.shift_D[dataset_N]
        return site_N + self.e0_DZ[dataset_N, numbers_N]

    def extra_repr(self) -> str:
        """Shown by `print(potential)`."""
        return ", ".join(f"{head}: {' '.join(self.elements(head))}" for head in self.heads)
