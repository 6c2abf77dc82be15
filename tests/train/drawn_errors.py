"""Errors drawn from known distributions, as calibrations are tested on."""

import numpy as np

from train.calibration.samples import Sample

SCALE = {1: 1.0, 6: 2.0, 8: 3.0}
"""How many of its uncertainties an atom of an element is off by."""


def drawn_forces(
    random: np.random.Generator, structures: int, *, atoms: tuple[int, ...] = (15,), alike: float = 0.4
) -> Sample:
    """Errors of force components of H, C and O, heavy-tailed, in structures of which some are worse than others.

    Args:
        random: draws.
        structures: how many.
        atoms: sizes to draw from.
        alike: standard deviation of the logarithm of what all errors of one structure are multiplied by.
    """
    parts = []
    for number in range(structures):
        size = int(random.choice(atoms))
        elements = random.choice([*SCALE], size=size, p=[0.5, 0.35, 0.15])
        sigma = 0.02 * np.exp(0.5 * random.normal(size=size))
        scale = np.exp(alike * random.normal()) * sigma * np.array([SCALE[element] for element in elements])
        error = (scale[:, None] * random.standard_t(5, size=(size, 3))).ravel()
        rows = (np.repeat(sigma, 3), np.full(3 * size, number), np.repeat(elements, 3), np.ones(3 * size))
        parts.append((error, *rows))
    return Sample(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def drawn_energies(random: np.random.Generator, structures: int) -> Sample:
    """Errors of energies, normal, in proportion to their uncertainties; structures of 10 atoms."""
    sigma = 0.05 * np.exp(0.5 * random.normal(size=structures))
    error = 1.7 * sigma * random.normal(size=structures)
    number = np.arange(structures)
    return Sample(error, sigma, number, np.zeros(structures, dtype=np.int64), np.full(structures, 10.0))
