"""Thousands of small arrays as one row of bytes: an entry of a .npz file for each would cost more than the arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Index: TypeAlias = Sequence[tuple[str, str, Sequence[int]]]
"""Name, kind of number as numpy writes it, and shape of each array, in the order of their bytes."""


def packed(arrays: Mapping[str, NDArray[Any]]) -> tuple[Index, NDArray[np.uint8]]:
    """The index of `arrays` and all their bytes; they hold numbers and text, no objects."""
    assert not any(values.dtype.hasobject for values in arrays.values())
    index = [(name, values.dtype.str, list(values.shape)) for name, values in arrays.items()]
    return index, np.frombuffer(b"".join(values.tobytes() for values in arrays.values()), dtype=np.uint8)


def unpacked(index: Index, row: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The arrays that `packed` was given.

    Raises:
        ValueError: the bytes are not those that the index tells of.
    """
    content, start, arrays = row.tobytes(), 0, {}
    for name, kind, shape in index:
        dtype = np.dtype(kind)
        end = start + dtype.itemsize * math.prod(shape)
        if dtype.hasobject or end > len(content):
            raise ValueError(f"{name} is not among the packed arrays")
        arrays[name] = np.ndarray(tuple(shape), dtype, content[start:end]).copy()
        start = end
    if start != len(content):
        raise ValueError(f"{len(content) - start} bytes belong to none of the packed arrays")
    return arrays
