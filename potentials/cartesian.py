"""Cartesian tensors of rank 2 with features: 3 × 3 matrices and their irreducible parts.

Every matrix is s 1 + [v]× + S: a scalar, a vector as a skew matrix, and a symmetric matrix without trace. Rotations mix
components within a part only. Features come last, so that a row is everything an atom has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rank2(NamedTuple):
    """The irreducible parts of n matrices of F features each.

    Attributes:
        scalar: [n, F] a third of the trace.
        vector: [n, 3, F] v of the skew part, whose product with a vector w is v × w.
        tensor: [n, 5, F] xx, yy, xy, xz, yz of the symmetric part; zz is -xx - yy.
    """

    scalar: Tensor
    vector: Tensor
    tensor: Tensor

    def times(self, factors: tuple[Tensor, ...]) -> Rank2:
        """Each part times its own factor, [n, F] or [n, 1]."""
        scalar, vector, tensor = factors
        return Rank2(self.scalar * scalar, self.vector * vector[:, None], self.tensor * tensor[:, None])

    def plus(self, other: Rank2) -> Rank2:
        """The sum."""
        return Rank2(self.scalar + other.scalar, self.vector + other.vector, self.tensor + other.tensor)


def dyad(direction_E3: Tensor) -> Tensor:
    """[E, 3] unit vectors u to [E, 5], the tensor part of u ⊗ u."""
    x, y, z = direction_E3.unbind(1)
    return torch.stack([x * x - 1 / 3, y * y - 1 / 3, x * y, x * z, y * z], dim=1)


def square_norms(parts: Rank2) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of the squared elements of each part's matrix, [n, F] each."""
    xx, yy, xy, xz, yz = parts.tensor.unbind(1)
    return (
        3 * parts.scalar.square(),
        2 * parts.vector.square().sum(1),
        2 * (xx.square() + yy.square() + xx * yy + xy.square() + xz.square() + yz.square()),
    )


def to_matrix(parts: Rank2) -> Tensor:
    """The matrices, [n, 3, 3, F]."""
    s = parts.scalar
    x, y, z = parts.vector.unbind(1)
    xx, yy, xy, xz, yz = parts.tensor.unbind(1)
    rows = [s + xx, xy - z, xz + y, xy + z, s + yy, yz - x, xz - y, yz + x, s - xx - yy]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3, s.shape[1])


def from_matrix(matrix_N33F: Tensor) -> Rank2:
    """The irreducible parts of [n, 3, 3, F]."""
    xx, xy, xz, yx, yy, yz, zx, zy, zz = matrix_N33F.flatten(1, 2).unbind(1)
    s = (xx + yy + zz) / 3
    vector = torch.stack([zy - yz, xz - zx, yx - xy], dim=1) / 2
    tensor = torch.stack([xx - s, yy - s, (xy + yx) / 2, (xz + zx) / 2, (yz + zy) / 2], dim=1)
    return Rank2(s, vector, tensor)


def product(left_N33F: Tensor, right_N33F: Tensor) -> Tensor:
    """Matrix products feature by feature, [n, 3, 3, F].

    Written out: a batched product of 3 × 3 matrices costs many times as much.
    """
    return (left_N33F[:, :, :, None] * right_N33F[:, None]).sum(2)
