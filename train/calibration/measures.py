"""What uncertainties are worth: coverage, rank correlation with true errors, likelihood, sharpness."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potentials.calibration import HeadCalibration, QuantityCalibration, QuantityName, half_widths
from train.calibration.conformal import LEVELS, fit_quantity
from train.calibration.samples import Floats, Sample, Samples

ALL = "all"

FOLDS = 5

BOOTSTRAP = 400
"""Draws of the structures for a band."""

BAND = (5.0, 95.0)
"""Percentiles of the draws that bound a band."""

STANDARD = 0.68
"""The coverage whose half-width is taken for a standard deviation."""


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the error.

    Attributes:
        stated: what they promise.
        found: share of the values inside.
        low, high: a 90 % band for it, by drawing structures again.
        half_width: mean; eV, eV/Å or eV/Å³.
    """

    stated: float
    found: float
    low: float
    high: float
    half_width: float


@dataclass(frozen=True)
class Measures:
    """Of one quantity, of all values or of those of one element.

    Attributes:
        values, structures: how many.
        rmse: eV, eV/Å or eV/Å³.
        coverage: at each level.
        spearman: rank correlation of uncertainty and true error; forces: of each atom's, by the length of its error.
        spearman_of_values: the same with the absolute error of each component by itself.
        nll: mean negative log likelihood of the errors, normal with the uncertainty as standard deviation; in nats.
        miscalibration: area between the curve of coverage and the diagonal.
    """

    values: int
    structures: int
    rmse: float
    coverage: tuple[Coverage, ...]
    spearman: float
    spearman_of_values: float
    nll: float
    miscalibration: float

    def at(self, level: float) -> Coverage | None:
        """The coverage of one level, where it was calibrated."""
        return next((one for one in self.coverage if abs(one.stated - level) < 1e-9), None)


Widths = dict[float, Floats]
"""[M] half-widths of intervals, by the coverage that they state."""

Table = dict[QuantityName, dict[str, Measures]]
"""By quantity, then by element symbol, `ALL` for all together."""


def measure(samples: Samples, calibration: HeadCalibration | None = None) -> Table:
    """Measures by quantity, then "all" and by element symbol.

    Args:
        samples: errors and raw uncertainties.
        calibration: of the head; none takes the uncertainties for standard deviations of normal errors. Quantities
            that it lacks are left out.
    """
    if calibration is None:
        return {name: by_element(sample, normal_widths(sample)) for name, sample in samples.items()}
    records = calibration.quantities
    return {
        name: by_element(sample, widths(sample, records[name])) for name, sample in samples.items() if name in records
    }


def measure_on_others(samples: Samples, levels: tuple[float, ...] = LEVELS) -> Table:
    """Measures of calibrations that have not seen what they are measured on: on each fifth, fitted on the others."""
    return {name: by_element(sample, widths_by_others(sample, levels)) for name, sample in samples.items()}


def by_element(sample: Sample, widths_L: Widths) -> dict[str, Measures]:
    """Measures of all values, and of those of each element."""
    found = {ALL: of_sample(sample, widths_L)}
    for symbol, number in sample.symbols.items():
        mask = sample.numbers == number
        found[symbol] = of_sample(sample.part(mask), {level: width[mask] for level, width in widths_L.items()})
    return found


def of_sample(sample: Sample, widths_L: Widths) -> Measures:
    """Measures of the values of one sample, of which half-widths were stated at several levels."""
    error = np.abs(sample.error)
    levels = sorted(widths_L)
    inside_ML = np.stack([error <= widths_L[level] for level in levels], axis=1)
    low_L, high_L = _bands(inside_ML, sample)
    coverage = tuple(
        Coverage(level, float(inside_ML[:, row].mean()), low_L[row], high_L[row], float(widths_L[level].mean()))
        for row, level in enumerate(levels)
    )
    sigma = standard_deviation(widths_L)
    stated = np.array([0.0, *(one.stated for one in coverage), 1.0])
    off = np.abs(np.array([0.0, *(one.found for one in coverage), 1.0]) - stated)
    norm, of_atom = per_atom(sample, sigma)
    return Measures(
        values=len(sample),
        structures=sample.structures,
        rmse=float(np.sqrt(np.square(error).mean())),
        coverage=coverage,
        spearman=_spearman(of_atom, norm),
        spearman_of_values=_spearman(sigma, error),
        nll=_nll(error, sigma),
        miscalibration=float(np.sum((off[1:] + off[:-1]) / 2 * np.diff(stated))),
    )


def widths(sample: Sample, record: QuantityCalibration) -> Widths:
    """[M] half-widths by level, of all levels that were calibrated."""
    numbers = sample.numbers if sample.symbols else None
    return {
        level: half_widths(record, sample.uncertainty, coverage=level, numbers=numbers, atoms=sample.atoms)
        for level in map(float, record.factors)
    }


def normal_widths(sample: Sample) -> Widths:
    """[M] half-widths by level, were the uncertainties standard deviations of normal errors."""
    return {level: NormalDist().inv_cdf(0.5 + level / 2) * sample.uncertainty for level in LEVELS}


def widths_by_others(sample: Sample, levels: tuple[float, ...] = LEVELS) -> Widths:
    """[M] half-widths by level, each from a calibration on structures of other fifths; levels that all have.

    Raises:
        ValueError: as `fit_quantity`, of four fifths of the structures.
    """
    fold = np.random.default_rng(1).permutation(int(sample.structure.max()) + 1)[sample.structure] % FOLDS
    found = {level: np.zeros(len(sample)) for level in levels}
    for number in range(FOLDS):
        left_out = fold == number
        if not left_out.any():
            continue
        of_part = widths(sample.part(left_out), fit_quantity(sample.part(~left_out), levels))
        found = {level: width for level, width in found.items() if level in of_part}
        for level, width in found.items():
            width[left_out] = of_part[level]
    return found


def standard_deviation(widths_L: Widths) -> Floats:
    """[M] what a normal error would have for a standard deviation, by the half-widths nearest to 68 %."""
    level = min(widths_L, key=lambda level: abs(level - STANDARD))
    found: Floats = widths_L[level] / NormalDist().inv_cdf(0.5 + level / 2)
    return found


def per_atom(sample: Sample, sigma: Floats) -> tuple[Floats, Floats]:
    """Length of the error and uncertainty of each atom; of quantities of structures value by value."""
    if not sample.symbols:
        return np.abs(sample.error), sigma
    norm: Floats = np.linalg.norm(sample.error.reshape(-1, 3), axis=1)
    return norm, sigma[::3]


def as_json(measures: Table) -> dict[str, Any]:
    """For a JSON file; what is not a number is null there."""
    return {name: {which: _finite(asdict(one)) for which, one in groups.items()} for name, groups in measures.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _bands(inside_ML: NDArray[np.bool_], sample: Sample) -> tuple[list[float], list[float]]:
    """Lower and upper bounds of each level's share, by drawing as many structures with replacement, again and again."""
    index = np.unique(sample.structure, return_inverse=True)[1]
    of_S = np.bincount(index).astype(np.float64)
    held_SL = np.stack([np.bincount(index, weights=inside) for inside in inside_ML.T], axis=1)
    random, count = np.random.default_rng(0), len(of_S)
    shares = np.empty((BOOTSTRAP, inside_ML.shape[1]))
    for row in range(BOOTSTRAP):  # one by one: all at once would take BOOTSTRAP numbers for each structure
        times = np.bincount(random.integers(count, size=count), minlength=count).astype(np.float64)
        shares[row] = (times @ held_SL) / (times @ of_S)
    low_L, high_L = np.percentile(shares, BAND, axis=0)
    return low_L.tolist(), high_L.tolist()


def _spearman(one: Floats, other: Floats) -> float:
    """Pearson's correlation of ranks, ties shared; not a number where one of them does not vary."""
    from scipy.stats import rankdata

    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _nll(error: Floats, sigma: Floats) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        each: NDArray[np.float64] = 0.5 * (np.log(2 * np.pi * np.square(sigma)) + np.square(error / sigma))
    return float(each.mean())
