"""Which ridge and scale make held-back errors most likely, for variances hᵀ (Σ h hᵀ + ridge)⁻¹ h."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from potentials.backbones.base import N_ELEMENTS
from train.group import Group

RIDGES = 10.0 ** np.arange(-8, 1.5, 0.5)
"""What is tried, in parts of the mean eigenvalue of the matrix of features. Below 1e-8 the rounding of features in
float32, 1e-7 of their size and 1e-14 of its square, would come to count as something new."""

FLOORS = np.array([np.inf, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003])
"""eV/Å: what is tried as the force from which on uncertainties grow with it."""

ATOMS_OF_ALL = 3
"""Held-back atoms that the factor common to all elements counts as, beside those of an element."""

ALIKE = 1e-4
"""Twice a difference of logarithms of likelihoods that tells nothing."""

LEAST = 1e-18
"""(eV)², (eV/Å)²: squares of errors below it count as this."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues [H] and vectors [H, H] (columns) of a matrix of features, and the ridges [R] that are tried."""

    values: Tensor
    vectors: Tensor
    ridges: Tensor

    @staticmethod
    def of(matrix_HH: Tensor) -> Spectrum:
        """The spectrum of a sum of h hᵀ; where it is 0 (no structure) every ridge says the same."""
        values, vectors = torch.linalg.eigh(matrix_HH)
        values = values.clamp(min=0)
        mean = float(values.mean()) or 1.0
        return Spectrum(values, vectors, mean * torch.from_numpy(RIDGES))

    def to(self, device: torch.device) -> Spectrum:
        """The same on another device."""
        return Spectrum(self.values.to(device), self.vectors.to(device), self.ridges.to(device))

    def variances(self, rows_MH: Tensor) -> Tensor:
        """[M, H] to [M, R] hᵀ (matrix + ridge)⁻¹ h."""
        variances_MR = (rows_MH @ self.vectors).square() @ (1 / (self.values[:, None] + self.ridges))
        return variances_MR.clamp(min=1e-30)  # of features that are all zero

    def whitening(self, ridge: float) -> Tensor:
        """[H, H] W with W Wᵀ = (matrix + ridge)⁻¹, the symmetric one: it does not depend on the signs of vectors."""
        return (self.vectors / (self.values + ridge).sqrt()) @ self.vectors.T


@dataclass(frozen=True)
class Likely:
    """What the likelihood of held-back errors depends on, for each of R ways to tell them and each element.

    All are sums over what was held back; a way is a ridge, or a ridge and a floor.

    Attributes:
        ratios: [R, Z] Σ error² / variance.
        logs: [R] Σ log variance.
        counts: [Z] how many; energies count as of element 0.
    """

    ratios: Tensor
    logs: Tensor
    counts: Tensor

    @staticmethod
    def nothing(ways: int) -> Likely:
        """No error was seen."""
        shapes = (ways, N_ELEMENTS), (ways,), (N_ELEMENTS,)
        return Likely(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    def add(self, square_M: Tensor, variance_MR: Tensor, element_M: Tensor) -> None:
        """Add mean squares of errors, and the variance said of them in each way."""
        square_M = square_M.clamp(min=LEAST)  # what symmetry makes exact would be taken for known without any doubt
        self.ratios.index_add_(1, element_M, (square_M[:, None] / variance_MR).T)
        self.logs.add_(variance_MR.log().sum(0))
        self.counts.add_(torch.bincount(element_M, minlength=N_ELEMENTS))

    def summed(self, group: Group) -> Likely:
        """Of all processes."""
        return Likely(*(group.sum(part) for part in (self.ratios, self.logs, self.counts)))

    def best(self, floors: int = 1) -> tuple[int, Tensor]:
        """Number of the likeliest way, and the squares of the factors [Z] that go with it.

        Of ways that are as likely, to `ALIKE`, it is that of the largest ridge, which magnifies rounding least, and of
        its first floor: small ridges are often all alike, and then rounding would choose.

        An element's own mean ratio is drawn towards that of all by `ATOMS_OF_ALL`: a few atoms tell little, and of an
        element that none is of it is that of all.
        """
        total = self.counts.sum()
        common_R = self.ratios.sum(1) / total
        squares_RZ = (self.ratios + ATOMS_OF_ALL * common_R[:, None]) / (self.counts + ATOMS_OF_ALL)
        loss_R = self.logs + (self.counts * squares_RZ.log() + self.ratios / squares_RZ).sum(1)
        alike = (loss_R <= loss_R.min() + ALIKE).view(-1, floors)
        ridge = int(alike.any(1).nonzero().max())
        which = ridge * floors + int(alike[ridge].nonzero().min())
        return which, squares_RZ[which]
