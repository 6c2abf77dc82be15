"""Products of matrices in bfloat16; everything else as it was.

`torch.autocast` leaves what follows a product in bfloat16 too: sums over neighbours, lengths of vectors and site
energies then have three digits. Here factors are rounded, and the product, which is summed in float32 inside, is
float32 again: weights, gradients, geometry, envelopes and sums stay what they are. Products that make one number a row
stay float32: they cost nothing, and the last one of each head is the energy of an atom.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Precision = Literal["float32", "bf16"]

PRODUCTS = frozenset(
    {
        torch.nn.functional.linear,
        torch.matmul,
        torch.mm,
        torch.bmm,
        Tensor.matmul,
        Tensor.__matmul__,
        Tensor.__rmatmul__,
        Tensor.mm,
        Tensor.bmm,
    }
)


def products_in(precision: Precision) -> AbstractContextManager[Any]:
    """Products of float32 matrices, and those in their derivatives, take their factors in this precision."""
    return Bfloat16Products() if precision == "bf16" else contextlib.nullcontext()


class Bfloat16Products(TorchFunctionMode):
    """While it is on, products of float32 matrices round their factors to bfloat16."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch instead of each of its functions."""
        if func not in PRODUCTS or any(not isinstance(one, Tensor) for one in args[:2]):
            return func(*args, **(kwargs or {}))
        left, right, *bias = args
        one_column = (right.shape[0] if func is torch.nn.functional.linear else right.shape[-1]) == 1
        if one_column or left.dtype != torch.float32 or right.dtype != torch.float32:
            return func(*args, **(kwargs or {}))
        product = func(left.bfloat16(), right.bfloat16()).float()
        bias = [*bias, *(kwargs or {}).values()]
        return product if not bias or bias[0] is None else product + bias[0]
