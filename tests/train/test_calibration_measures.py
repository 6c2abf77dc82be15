"""Measures of uncertainties against SciPy, closed forms and samples that are wrong on purpose."""

import json
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.train.drawn_errors import drawn_energies, drawn_forces
from train.calibration.fitting import fit_calibration
from train.calibration.measures import as_json, measure, measure_on_others


def test_normal_errors_have_the_coverage_and_likelihood_of_normal_errors() -> None:
    sample = drawn_energies(np.random.default_rng(0), 5_000)
    exact = replace(sample, error=sample.error / 1.7)
    found = measure({"energy": exact})["energy"]["all"]
    for one in found.coverage:
        assert one.found == pytest.approx(one.stated, abs=4 * 0.5 / np.sqrt(5_000))
        assert one.low < one.stated < one.high or abs(one.found - one.stated) < 0.01
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(exact.uncertainty).mean()
    assert found.nll == pytest.approx(entropy, abs=4 * np.sqrt(0.5 / 5_000))
    assert found.miscalibration < 0.015


def test_uncertainties_that_are_too_small_are_seen() -> None:
    sample = drawn_energies(np.random.default_rng(1), 5_000)
    small = measure({"energy": replace(sample, error=2 * sample.error / 1.7)})["energy"]["all"]
    at = small.at(0.9)
    assert at is not None
    inside = 2 * NormalDist().cdf(NormalDist().inv_cdf(0.95) / 2) - 1
    assert at.found == pytest.approx(inside, abs=4 * 0.5 / np.sqrt(5_000))
    area = 2 / np.pi * np.arctan(2) - 0.5  # P(|2 z| > |z'|) - 1/2; the levels miss a hundredth of it
    assert small.miscalibration == pytest.approx(area, abs=0.015)


def test_rank_correlations_are_those_of_scipy() -> None:
    sample = drawn_forces(np.random.default_rng(2), 40)
    found = measure({"forces": sample})["forces"]["all"]
    by_value = spearmanr(sample.uncertainty, np.abs(sample.error)).statistic
    norm = np.linalg.norm(sample.error.reshape(-1, 3), axis=1)
    assert found.spearman_of_values == pytest.approx(by_value)
    assert found.spearman == pytest.approx(spearmanr(sample.uncertainty[::3], norm).statistic)


def test_calibration_puts_right_what_a_standard_deviation_gets_wrong() -> None:
    random = np.random.default_rng(3)
    calibration = fit_calibration({"forces": drawn_forces(random, 300)})
    new = {"forces": drawn_forces(random, 600)}
    raw, calibrated = measure(new)["forces"], measure(new, calibration)["forces"]
    assert calibrated["all"].miscalibration < 0.02 < raw["all"].miscalibration
    assert calibrated["all"].nll < raw["all"].nll
    assert set(calibrated) == {"all", "H", "C", "O"}
    assert calibrated["all"].values == sum(calibrated[symbol].values for symbol in "HCO")


def test_a_band_is_of_structures_and_not_of_values() -> None:
    random = np.random.default_rng(4)
    alike, apart = (
        measure({"forces": drawn_forces(random, 100, alike=alike)})["forces"]["all"].at(0.9) for alike in (1.0, 0.0)
    )
    assert alike is not None
    assert apart is not None
    assert alike.high - alike.low > 2 * (apart.high - apart.low)


def test_fifths_are_calibrated_by_the_others() -> None:
    sample = drawn_forces(np.random.default_rng(5), 150)
    spoilt = replace(sample, error=np.where(sample.structure % 15 == 0, 1e3, sample.error))
    at = measure_on_others({"forces": sample})["forces"]["all"].at(0.9)
    assert at is not None
    assert at.found == pytest.approx(0.9, abs=0.03)
    bad = measure_on_others({"forces": spoilt})["forces"]["all"].at(0.95)
    assert bad is not None
    assert bad.found > 0.9  # one in fifteen is wrong everywhere, and the other fifths have learnt of that


def test_quantities_without_calibration_are_left_out() -> None:
    random = np.random.default_rng(6)
    calibration = fit_calibration({"energy": drawn_energies(random, 50)})
    both = {"energy": drawn_energies(random, 50), "forces": drawn_forces(random, 50)}
    assert set(measure(both, calibration)) == {"energy"}  # type: ignore[arg-type]


def test_what_does_not_vary_has_no_rank_and_is_null_in_json() -> None:
    sample = drawn_energies(np.random.default_rng(7), 30)
    found = measure({"energy": replace(sample, uncertainty=np.ones(30))})
    assert np.isnan(found["energy"]["all"].spearman)
    text = json.dumps(as_json(found), allow_nan=False)
    assert json.loads(text)["energy"]["all"]["spearman"] is None
