"""Reference energies: what a data set's energies are measured from, fitted on its training split alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from train.config import DatasetConfig
from train.data import Dataset
from train.summary import Moments, Summary

Floats = NDArray[np.float64]

SCALE_RANGE = (0.01, 20.0)
"""eV; a set of relaxed or of exploding structures is no measure of what the network should put out."""


class HeadReferences(NamedTuple):
    """What `References.set_head` takes.

    Attributes:
        e0: eV for each element symbol.
        scale: eV, what one unit of the network's output is worth.
        shift: eV per atom.
    """

    e0: dict[str, float]
    scale: float
    shift: float


def fit_e0(summary: Summary) -> dict[str, float]:
    """Energy in eV of each element by least squares of the energies per atom over the composition.

    Fitted as deviations from the mean energy per atom, of minimum norm: elements that the compositions cannot tell
    apart (all structures the same molecule) get the same deviation rather than energies that only cancel.

    Args:
        summary: of the training split; structures without an energy tell which elements there are.

    Raises:
        ValueError: no energy is known.
    """
    if "energy" not in summary.known:
        raise ValueError(
            "E0 cannot be fitted, for no training structure has an energy; give e0 = { ... } in the run file"
        )
    numbers = summary.numbers
    share_RZ, one_R, energy_R = _parts(summary, numbers)
    mean = float(one_R @ energy_R / (one_R @ one_R))
    deviation_Z = np.linalg.lstsq(share_RZ, energy_R - mean * one_R, rcond=1e-10)[0]
    return {chemical_symbols[z]: mean + float(d) for z, d in zip(numbers, deviation_Z, strict=True)}


def references_for(dataset: Dataset, config: DatasetConfig) -> HeadReferences:
    """E0, scale and shift of the head of a data set; E0 of 0 where it knows of no energies at all.

    The scale is the root mean square of the force components where there are forces, otherwise the deviation of the
    energies per atom from E0. The shift is 0: E0 holds the mean.

    Raises:
        ValueError: an element has no E0: it is not in the table of the run file, or not in the training split.
    """
    if config.e0 == "fit":
        nothing = dict.fromkeys(dataset.elements("train"), 0.0)
        e0 = fit_e0(dataset.summary) if dataset.of_energies else nothing
        for split in ("valid", "test"):
            strange = [symbol for symbol in dataset.elements(split) if symbol not in e0]
            if strange:
                raise ValueError(
                    f"data set {dataset.name!r}: element {strange[0]} appears in the {split} split but never in "
                    "training, so nothing can be learnt about it; add training structures with it, or take those out"
                )
    else:
        e0 = {symbol: energy * config.energy_factor for symbol, energy in config.e0.items()}
        present = {symbol for split in ("train", "valid", "test") for symbol in dataset.elements(split)}
        missing = sorted(present - e0.keys(), key=lambda symbol: atomic_numbers[symbol])
        if missing:
            raise ValueError(
                f"data set {dataset.name!r}: its e0 lacks {', '.join(missing)}, which its structures contain; "
                'add them, or write e0 = "fit"'
            )
    return HeadReferences(e0, _scale(dataset.summary, e0), 0.0)


def _parts(summary: Summary, numbers: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Share of each element, 1 and energy per atom of structures, turned into as few rows as carry their products."""
    triangle = summary.triangle
    return triangle[:, list(numbers)], triangle[:, -2], triangle[:, -1]


def _scale(summary: Summary, e0: dict[str, float]) -> float:
    forces = summary.moments.get("forces", Moments())
    if forces.count:
        scale = forces.deviation(0.0)
    elif "energy" in summary.known:
        share_RZ, one_R, energy_R = _parts(summary, [atomic_numbers[symbol] for symbol in e0])
        residual_R, count = energy_R - share_RZ @ np.array(list(e0.values())), one_R @ one_R
        mean = one_R @ residual_R / count
        scale = float(np.sqrt(((residual_R - mean * one_R) ** 2).sum() / count))
    else:
        scale = 1.0
    return float(np.clip(scale, *SCALE_RANGE))
