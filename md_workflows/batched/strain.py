"""Free cells: ASE's FrechetCellFilter for many structures.

A cell is ``reference @ exp(L).T``, and atoms are given where they would be without the deformation F = exp(L). The
energy's exact derivative with respect to L is the adjoint of the exponential's Fréchet derivative, which is a block of
the exponential of a matrix twice as large (Mathias, SIAM J. Matrix Anal. Appl. 17, 610, 1996). See `ase.filters`.
"""

from __future__ import annotations

import torch
from ase import units
from torch import Tensor

from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.cell import CellSettings

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def logarithm(matrices: Tensor) -> Tensor:
    """[G, 3, 3] real logarithms of matrices near one: of strains below about 0.6."""
    one = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
    ratio = torch.linalg.solve(matrices + one, matrices - one)
    square = ratio @ ratio
    power, total = ratio, ratio.clone()
    for odd in range(3, 41, 2):
        power = power @ square
        total += power / odd
    doubled: Tensor = 2 * total
    return doubled


def frechet_adjoint(logarithms: Tensor, gradient: Tensor) -> Tensor:
    """[G, 3, 3] derivatives with respect to L of a function whose derivatives with respect to exp(L) are `gradient`."""
    transposed = logarithms.transpose(1, 2)
    block = torch.cat(
        [torch.cat([transposed, gradient], 2), torch.cat([torch.zeros_like(transposed), transposed], 2)], 1
    )
    corner: Tensor = torch.linalg.matrix_exp(block)[:, :3, 3:]
    return corner


class StrainedCells:
    """The cells' degrees of freedom of a fleet, by the settings of all."""

    def __init__(self, settings: CellSettings, device: torch.device) -> None:
        self.settings = settings
        mask = torch.zeros((3, 3), dtype=DOUBLE, device=device)
        for free, (row, column) in zip(settings.mask, _VOIGT, strict=True):
            mask[row, column] = mask[column, row] = float(free)
        self._mask = mask
        self._masked = not all(settings.mask)
        self._one = torch.eye(3, dtype=DOUBLE, device=device)
        self._pressure = settings.pressure_GPa * units.GPa

    def columns(self, fleet: Fleet) -> None:
        """Add what a fleet that comes in needs."""
        zeros = torch.zeros_like(fleet.graph["cell"])
        fleet.graph.update(reference=fleet.graph["cell"].clone(), strain=zeros, strain_force=zeros.clone())
        fleet.atom["undeformed"] = fleet.atom["positions"].clone()
        fleet.atom["slope"] = torch.zeros_like(fleet.atom["positions"])

    def forces(self, fleet: Fleet) -> None:
        """Fill slope [N, 3] and strain_force [G, 3, 3], the generalised forces, from pull and tension."""
        strain = fleet.graph["strain"]
        deformation = torch.linalg.matrix_exp(strain)
        cell = fleet.graph["cell"]
        volume = torch.linalg.det(cell).abs()[:, None, None]
        virial = -volume * (fleet.graph["tension"] + self._pressure * self._one)
        if self.settings.hydrostatic:
            virial = virial.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * self._one
        virial = virial * self._mask
        gradient = torch.linalg.solve(deformation, virial.transpose(1, 2)).transpose(1, 2)
        force = frechet_adjoint(strain, gradient)
        if self.settings.constant_volume:
            force = force - force.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * self._one
        fleet.graph["strain_force"].copy_(force / fleet.graph["count"][:, None, None])
        fleet.atom["slope"].copy_(rotate(fleet.atom["pull"], fleet.of_atoms(deformation)))

    def move(self, fleet: Fleet, steps: Tensor, strain_steps: Tensor) -> None:
        """Take generalised steps [N, 3] and [G, 3, 3]: new cells and positions; `settle` has to follow."""
        strain = fleet.graph["strain"] + strain_steps / fleet.graph["count"][:, None, None]
        deformation = torch.linalg.matrix_exp(strain)
        fleet.graph["strain"].copy_(strain)
        if self._masked:
            deformation = self._one + (deformation - self._one) * self._mask
        before = fleet.graph["cell"].clone()
        fleet.graph["cell"].copy_(fleet.graph["reference"] @ deformation.transpose(1, 2))
        undeformed = fleet.atom["undeformed"] + steps
        fleet.atom["undeformed"].copy_(undeformed)
        moved = rotate(undeformed, fleet.of_atoms(deformation.transpose(1, 2)))
        free = fleet.atom["free"]
        if not bool(free.all()):  # what is held follows the cell alone
            carried = torch.linalg.solve(before, fleet.graph["cell"])
            moved = torch.where(free > 0, moved, rotate(fleet.atom["positions"], fleet.of_atoms(carried)))
        fleet.atom["positions"].copy_(moved)

    def settle(self, fleet: Fleet, adjusted: bool) -> None:
        """After a move: where not all went as the step would have it, take strain and undeformed positions anew."""
        if not (adjusted or self._masked or not bool(fleet.atom["free"].all())):
            return
        transposed = torch.linalg.solve(fleet.graph["reference"], fleet.graph["cell"])
        fleet.graph["strain"].copy_(logarithm(transposed.transpose(1, 2)))
        back = torch.linalg.inv(transposed)
        fleet.atom["undeformed"].copy_(rotate(fleet.atom["positions"], fleet.of_atoms(back)))


def rotate(vectors: Tensor, matrices: Tensor) -> Tensor:
    """[N, 3] row vectors times [N, 3, 3]."""
    return (vectors[:, :, None] * matrices).sum(1)
