"""Which structures are held back for validation, and which stand in two splits."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.columns import HASH_BYTES, Columns
from train.config import DatasetConfig
from train.shuffle import Shuffle
from train.structures import AT_ONCE, Structures

Array = NDArray[Any]


def held_back(structures: Structures, config: DatasetConfig, seed: int) -> Array:
    """Which structures of the training files become the validation split, ascending.

    Random by seed and name of the data set, so that another data set in the run file changes nothing here. The last
    training structure of an element stays: nothing could be said about the element without it.

    Raises:
        ValueError: none can be held back.
    """
    wanted = max(1, round(config.held_back * len(structures)))
    name = int.from_bytes(hashlib.sha256(config.name.encode()).digest()[:8], "big")
    left: dict[int, int] = {}
    for numbers in structures.blocks():
        for element in (element for those in _elements(structures.columns(numbers)) for element in those):
            left[element] = left.get(element, 0) + 1
    shuffle = Shuffle(len(structures), [seed, name])
    chosen: list[int] = []
    for first in range(0, len(structures), AT_ONCE):
        if len(chosen) == wanted:
            break
        numbers = shuffle.at(np.arange(first, min(first + AT_ONCE, len(structures))))
        for number, elements in zip(numbers.tolist(), _elements(structures.columns(numbers)), strict=True):
            if len(chosen) < wanted and all(left[element] > 1 for element in elements):
                chosen.append(number)
                for element in elements:
                    left[element] -= 1
    if not chosen:
        raise ValueError(
            f"data set {config.name!r}: none of its {len(structures)} training structures can be held back for "
            "validation without taking the last one of an element; name valid files, or set valid_fraction = 0"
        )
    return np.sort(np.array(chosen, dtype=np.int64))


def _elements(columns: Columns) -> list[set[int]]:
    first = np.concatenate([[0], np.cumsum(columns.counts)])
    return [set(columns.numbers[begin:end].tolist()) for begin, end in itertools.pairwise(first)]


def repeated(splits: Mapping[str, Structures]) -> list[str]:
    """A line for each pair of splits that share geometries: errors on the second then promise too much."""
    lines = []
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        known, own = splits[first], splits[second]
        digests = _digests(own)
        twins = _first_places(known, digests)
        shared = [number for number, digest in enumerate(digests.tolist()) if digest in twins]
        if shared:
            twin = twins[digests[shared[0]].item()]
            lines.append(
                f"{len(shared)} of {len(own)} {second} structures are also in {first}; the first is "
                f"{own.source(shared[0])}, the same as {known.source(twin)}"
            )
    return lines


def _digests(structures: Structures) -> Array:
    """[S] of all, as bytes that compare."""
    parts = [np.zeros((0, HASH_BYTES), np.uint8), *(structures.digests(numbers) for numbers in structures.blocks())]
    return _comparable(np.concatenate(parts))


def _comparable(digests: Array) -> Array:
    found: Array = np.ascontiguousarray(digests).view(f"V{HASH_BYTES}").reshape(-1)
    return found


def _first_places(structures: Structures, wanted: Array) -> dict[bytes, int]:
    """For each digest that some structure has, the number of the first."""
    found: dict[bytes, int] = {}
    for numbers in structures.blocks() if len(wanted) else ():
        own = _comparable(structures.digests(numbers))
        here = np.flatnonzero(np.isin(own.view("S16"), wanted.view("S16")))
        for place in here.tolist():
            found.setdefault(own[place].item(), int(numbers[place]))
    return found
