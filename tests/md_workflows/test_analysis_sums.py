"""Block averages and sums over pairs of frames against closed forms and brute force."""

import numpy as np
import pytest

from md_workflows.analysis.blocks import BlockAverage, average
from md_workflows.analysis.correlation import PairSums


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_errors_of_a_series_that_remembers(memory: float) -> None:
    """AR(1): the variance of the mean is (1+φ)/(1-φ)/n in units of the series' variance; known correlation time."""
    n, series = 2**13, 40
    noise = np.random.default_rng(int(10 * memory)).standard_normal((n, series))
    value = noise[0] / np.sqrt(1 - memory**2)
    blocks, total = BlockAverage(series), np.zeros(series)
    for row in noise:
        value = memory * value + row
        blocks.add(value)
        total += value
    told = blocks.estimates()
    means = [one.mean for one in told]
    assert means == pytest.approx(total / n, abs=1e-12)
    assert all(one.converged and one.samples == n for one in told)
    errors, times = ([getattr(one, name) for one in told] for name in ("error", "correlation_time"))
    expected = np.sqrt((1 + memory) / (1 - memory) / n / (1 - memory**2))
    # an error from n_B blocks has a relative spread of 1/sqrt(2 n_B) ~ 0.1; blocks that just suffice: a tenth low
    assert np.mean(errors) == pytest.approx(expected, rel=0.12)
    assert np.std(means) == pytest.approx(expected, rel=4 / np.sqrt(2 * 40))
    assert np.mean(times) == pytest.approx((1 + memory) / (1 - memory) / 2, rel=0.25)


def test_a_series_shorter_than_its_memory_is_told() -> None:
    told = average(np.cumsum(np.random.default_rng(0).standard_normal(64)))
    assert not told.converged
    assert average(np.ones(1)).error != average(np.ones(1)).error  # NaN
    assert average(np.ones(7)).error == 0.0
    with pytest.raises(ValueError, match="there is no sample to average"):
        BlockAverage(1).estimates()


@pytest.mark.parametrize("n_frames", [1, 2, 5, 6, 7, 12, 13, 31])
@pytest.mark.parametrize("squared_change", [True, False])
def test_pair_sums_are_those_of_all_pairs(n_frames: int, squared_change: bool) -> None:
    window, n_atoms = 6, 5
    kinds = np.array([0, 1, 0, 1, 1])
    frames = np.random.default_rng(n_frames).standard_normal((n_frames, n_atoms, 3)) + (100 if squared_change else 0)
    sums = PairSums(kinds, window, squared_change=squared_change)
    for one in frames:
        sums.add(one)
    brute = np.full((2, window + 1), np.nan)
    for lag in range(min(window, n_frames - 1) + 1):
        first, then = frames[: n_frames - lag], frames[lag:]
        product = ((then - first) ** 2 if squared_change else first * then).sum(axis=2).mean(axis=0)
        brute[:, lag] = [product[kinds == kind].sum() for kind in range(2)]
    assert sums.means() == pytest.approx(brute, rel=1e-10, abs=1e-10, nan_ok=True)


def test_far_away_atoms_lose_no_digits() -> None:
    """Small motions at 1e4 Å: squares of places would leave 1e-8 of rounding."""
    random = np.random.default_rng(3)
    frames = 1e4 + 1e-3 * random.standard_normal((40, 3, 3))
    sums = PairSums(np.zeros(3, dtype=np.int64), 5, squared_change=True)
    for one in frames:
        sums.add(one)
    brute = [((frames[lag:] - frames[: 40 - lag]) ** 2).sum(axis=(1, 2)).mean() for lag in range(6)]
    assert sums.means()[0] == pytest.approx(brute, rel=1e-9)


def test_pair_sums_of_many_atoms() -> None:
    frames = np.random.default_rng(3).standard_normal((9, 600, 3))
    sums = PairSums(np.zeros(600, dtype=np.int64), 4, squared_change=False)
    for one in frames:
        sums.add(one)
    brute = [(frames[lag:] * frames[: 9 - lag]).sum(axis=(1, 2)).mean() for lag in range(5)]
    assert sums.means()[0] == pytest.approx(brute, rel=1e-10, abs=1e-9)
