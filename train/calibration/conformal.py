"""Split conformal prediction with structures as the units: what is exchangeable is a structure, not its components.

Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005); by group of elements ("Mondrian"), ibid. 4.5;
Angelopoulos, Bates, arXiv:2107.07511. One value a structure (energies): the guarantee is theirs, exact for any number
of structures. Several (forces, stress): values of one structure are alike, and how much is measured (`worth`). Taking a
whole structure for one value would be the guarantee of Dunn, Wasserman, Ramdas (JASA 118 (2023) 2491) and of Lee,
Barber, Willett (arXiv:2306.06342), but covers up to 1/n too much: 94 % for 90 % with 30 structures of 15 atoms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from potentials.calibration import COVERAGE, OTHERS, QuantityCalibration, half_widths
from train.calibration.samples import Floats, Sample

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
"""Coverages that are calibrated where there are structures enough."""

MINIMUM = 30
"""Structures, as `Sample.effective` counts them, for an element to have a factor of its own: the coverage of one of
fewer, at 90 %, could be off by 6 % and more."""

FLOOR_SHARE = 0.2
"""Part of the calibration structures by which the floor is chosen; the factors come from the others."""

FLOORS = tuple(2.0**power for power in range(-6, 7))
"""Candidates, as multiples of the median uncertainty."""


def needed(level: float) -> int:
    """Structures that a finite interval of this coverage takes: ⌈(n + 1) level⌉ ≤ n."""
    return math.ceil(level / (1 - level) - 1e-9)


def scores(sample: Sample, floor: float) -> Floats:
    """[M] errors in units of the uncertainty with its floor."""
    found: Floats = np.abs(sample.error) / np.hypot(sample.uncertainty, floor * sample.atoms)
    return found


def worth(inside: NDArray[np.bool_], sample: Sample) -> float:
    """Independent values that these are worth, for a share of them: the number over the design effect (Kish, 1965).

    The design effect is the variance of the share with structures as units over that with values as units; the result
    lies between `sample.effective` and the number of values, and is that for one value a structure.

    Args:
        inside: [M] which are counted.
        sample: of which structures they are.
    """
    share, count = float(inside.mean()), len(inside)
    index = np.unique(sample.structure, return_inverse=True)[1]
    of_structures = np.square(np.bincount(index, weights=inside - share)).sum()
    if of_structures == 0:
        return sample.effective
    found = count * count * share * (1 - share) / of_structures
    return float(np.clip(found, sample.effective, count))


def quantile(values: Floats, level: float, sample: Sample) -> float | None:
    """The conformal quantile of the scores of a sample; none where its structures do not suffice.

    One more value might be of any height: of K values that are worth n, the ⌈level (1 + 1/n) K⌉-th is taken, which for
    one value a structure is the usual ⌈(n + 1) level⌉-th.
    """
    if sample.effective < needed(level):
        return None
    plain = np.partition(values, (first := _rank(level, len(values)) - 1))[first]
    rank = _rank(level * (1 + 1 / worth(values <= plain, sample)), len(values))
    return None if rank > len(values) else float(np.partition(values, rank - 1)[rank - 1])


def _rank(share: float, count: int) -> int:
    return math.ceil(share * count - 1e-9)


def choose_floor(sample: Sample, level: float) -> float:
    """The floor that gives the best intervals of one coverage on a part of the structures.

    Best is the smallest mean interval score, width + (what lies outside) · 2 / (1 - level) (Gneiting and Raftery, JASA
    102 (2007) 359): the width alone would be smallest where intervals of uncertain atoms are too narrow.

    Raises:
        ValueError: no uncertainty is above zero.
    """
    positive = (sample.uncertainty / sample.atoms)[sample.uncertainty > 0]
    if not len(positive):
        raise ValueError("all uncertainties are zero: members that are alike have no spread to calibrate")
    best, floor = math.inf, 0.0
    for candidate in (multiple * float(np.median(positive)) for multiple in FLOORS):
        scale = np.hypot(sample.uncertainty, candidate * sample.atoms)
        score = np.abs(sample.error) / scale
        factor = float(np.quantile(score, level, method="higher"))
        # per atom: a large structure must not decide alone
        found = float((scale * (factor + np.clip(score - factor, 0, None) / (1 - level)) / sample.atoms).mean())
        if found < best:
            best, floor = found, candidate
    return floor


def fit_quantity(sample: Sample, levels: tuple[float, ...], *, seed: int = 0) -> QuantityCalibration:
    """Floor and factors of one quantity.

    Args:
        sample: errors and raw uncertainties of held-back structures.
        levels: coverages; those that need more structures are left out.
        seed: of the choice of structures for the floor.

    Raises:
        ValueError: too few structures for any coverage, or uncertainties that are zero or not finite.
    """
    if not (np.isfinite(sample.uncertainty).all() and np.isfinite(sample.error).all()):
        raise ValueError("an error or an uncertainty is not finite; this potential cannot be calibrated")
    structures = np.unique(sample.structure)
    chosen = np.random.default_rng(seed).permutation(structures)[: round(FLOOR_SHARE * len(structures))]
    mask = np.isin(sample.structure, chosen)
    fitted = sample.part(~mask)
    if len(chosen) < 1 or all(fitted.effective < needed(level) for level in levels):
        raise ValueError(
            f"{len(structures)} labelled structures do not suffice for a coverage of {min(levels):g}; calibrate on"
            f" {math.ceil(needed(min(levels)) / (1 - FLOOR_SHARE)) + 1} or more"
        )
    floor = choose_floor(sample.part(mask), COVERAGE)
    values = scores(fitted, floor)
    groups = {symbol: fitted.numbers == number for symbol, number in fitted.symbols.items()}
    parts = {symbol: fitted.part(of) for symbol, of in groups.items()}
    effective = {symbol: part.effective for symbol, part in parts.items()}
    factors = {}
    for level in levels:
        own = [symbol for symbol in groups if effective[symbol] >= max(MINIMUM, needed(level))]
        found = {symbol: quantile(values[groups[symbol]], level, parts[symbol]) for symbol in own}
        found[OTHERS] = _of_others(fitted, values, level, np.isin(fitted.numbers, [fitted.symbols[one] for one in own]))
        if found[OTHERS] is not None:
            factors[f"{level:g}"] = {symbol: factor for symbol, factor in found.items() if factor is not None}
    counts = {**parts, OTHERS: fitted}
    found_so_far = QuantityCalibration(
        floor=floor,
        factors=factors,
        structures={symbol: part.structures for symbol, part in counts.items()},
        values={symbol: len(part) for symbol, part in counts.items()},
    )
    spread = {level: spread_of_coverage(fitted, found_so_far, float(level)) for level in factors}
    return found_so_far.model_copy(update={"spread": spread})


def _of_others(fitted: Sample, values: Floats, level: float, own: NDArray[np.bool_]) -> float | None:
    """The factor of elements without their own: of their values where these suffice, else of all."""
    rest = fitted.part(~own)
    found = quantile(values[~own], level, rest) if len(rest) else None
    return quantile(values, level, fitted) if found is None else found


def spread_of_coverage(sample: Sample, calibration: QuantityCalibration, level: float) -> float:
    """Standard deviation of the coverage over draws of as many structures: what their number leaves uncertain."""
    numbers = sample.numbers if sample.symbols else None
    width = half_widths(calibration, sample.uncertainty, coverage=level, numbers=numbers, atoms=sample.atoms)
    covered = np.abs(sample.error) <= width
    index = np.unique(sample.structure, return_inverse=True)[1]
    residual = np.bincount(index, weights=covered - covered.mean())
    several = len(residual)
    found = float(np.sqrt(np.square(residual).sum() * several / max(several - 1, 1)) / len(covered))
    # few structures may all be covered; the coverage of k-th scores of n varies as a beta distribution all the same
    return max(found, math.sqrt(level * (1 - level) / (worth(covered, sample) + 2)))
