"""From a trained potential to its checkpoint: what training knows goes into the manifest."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.checkpoint import save_checkpoint
from potentials.manifest import GoldenStructure, HeadRecord, Manifest, describe, golden_structure
from potentials.potential import Potential
from potentials.structures import atoms_from_graph
from train.data import Dataset
from train.outside import Limits, known_of
from train.structures import Structures

Array = NDArray[Any]

GOLDEN_PER_HEAD = 2


def environment() -> dict[str, str]:
    """Versions that made the numbers."""
    packages = {name: version(name) for name in ("gfm-ase", "torch", "numpy", "ase")}
    return {**packages, "python": platform.python_version(), "machine": platform.machine()}


def golden_structures(potential: Potential, datasets: Sequence[Dataset]) -> list[GoldenStructure]:
    """The smallest connected training structures of each data set, as the potential sees them."""
    found = []
    for dataset in datasets:
        chosen = dataset.train.take(_smallest(dataset.train))
        found += [golden_structure(potential, atoms_from_graph(one.graph), dataset.name) for one in chosen]
    return found


def _smallest(structures: Structures) -> Array:
    """Numbers of the smallest structures, those without edges last."""
    best = np.zeros((0, 4), dtype=np.int64)
    for numbers in structures.blocks():
        sizes = structures.sizes(numbers)
        rows = np.column_stack([sizes[:, 1] == 0, sizes, numbers])
        rows = np.vstack([best, rows])
        best = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0]))][:GOLDEN_PER_HEAD]
    found: Array = best[:, 3]
    return found


def export(
    path: Path,
    potential: Potential,
    datasets: Sequence[Dataset],
    errors: Mapping[str, Mapping[str, float]],
    training: dict[str, Any],
    *,
    limits: Limits | None = None,
) -> Manifest:
    """Write the checkpoint of a run.

    Args:
        path: of the file.
        potential: with the weights to ship.
        datasets: what it was trained on, for elements, fingerprints and golden structures.
        errors: on the test split (valid where there is none), by data set.
        training: how it was trained, for people to read.
        limits: what training structures have, by head and element; see `train.outside`.
    """
    records = {
        dataset.name: HeadRecord(
            elements=(),
            e0={},
            scale=1.0,
            shift=0.0,
            labels=dataset.quantities,
            fingerprints=dict(dataset.fingerprint),
            structures=dataset.counts,
            test_errors=dict(errors.get(dataset.name, {})),
            **known_of(dataset, limits or {}),
        )
        for dataset in datasets
    }
    with torch.no_grad():
        golden = golden_structures(potential, datasets)
    manifest = describe(potential, golden, made_with=environment(), heads=records, training=training)
    save_checkpoint(path, potential, manifest)
    return manifest
