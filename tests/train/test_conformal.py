"""Intervals hold what they state, on errors of known distributions."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from potentials.calibration import half_widths
from tests.train.drawn_errors import drawn_energies, drawn_forces
from train.calibration.conformal import FLOOR_SHARE, LEVELS, choose_floor, fit_quantity, needed, quantile, worth
from train.calibration.fitting import fit_calibration, levels_with
from train.calibration.samples import Sample, grouped


def covered(sample: Sample, fitted: Sample, level: float, seed: int = 0) -> np.ndarray:
    record = fit_quantity(fitted, LEVELS, seed=seed)
    numbers = sample.numbers if sample.symbols else None
    width = half_widths(record, sample.uncertainty, coverage=level, numbers=numbers, atoms=sample.atoms)
    return np.abs(sample.error) <= width


@pytest.mark.parametrize(("level", "wanted"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_an_interval_takes_as_many_structures_as_leave_a_rank(level: float, wanted: int) -> None:
    assert needed(level) == wanted
    assert math.ceil((wanted + 1) * level - 1e-9) <= wanted
    assert math.ceil(wanted * level - 1e-9) > wanted - 1


@pytest.mark.parametrize("count", [9, 10, 19, 50, 83])
def test_the_quantile_of_one_value_a_structure_is_that_of_split_conformal_prediction(count: int) -> None:
    values = np.random.default_rng(count).random(count)
    sample = replace(drawn_energies(np.random.default_rng(0), count), uncertainty=values)
    assert quantile(values, 0.9, sample) == np.sort(values)[math.ceil(0.9 * (count + 1) - 1e-9) - 1]


def test_too_few_structures_have_no_quantile() -> None:
    sample = drawn_energies(np.random.default_rng(0), 8)
    assert quantile(sample.uncertainty, 0.9, sample) is None


def test_values_of_structures_are_worth_between_structures_and_values() -> None:
    random = np.random.default_rng(1)
    structure = np.repeat(np.arange(2000), 5)
    sample = Sample(*(np.ones(10_000),) * 2, structure, *(np.ones(10_000),) * 2)  # type: ignore[arg-type]
    alone = random.random(10_000) < 0.9
    together = np.repeat(random.random(2000) < 0.9, 5)
    # a variance of 2000 draws is known to √(2 / 2000) and the kurtosis of a share of 0.9: 9 %; four of those
    assert worth(alone, sample) == pytest.approx(10_000, rel=0.36)
    assert worth(together, sample) == pytest.approx(2000, rel=0.01)
    assert worth(np.ones(10_000, dtype=bool), sample) == pytest.approx(2000)


def test_coverage_of_energies_is_what_the_theorem_says() -> None:
    # 25 structures leave 20 for the factor, of which the 19th is taken: the mean coverage is 19 / 21 exactly
    random = np.random.default_rng(2)
    new = drawn_energies(random, 4000)
    shares = [covered(new, drawn_energies(random, 25), 0.9, seed).mean() for seed in range(200)]
    assert round(25 * FLOOR_SHARE) == 5
    spread = math.sqrt(19 * 2 / (21**2 * 22))  # of a Beta(19, 2)
    assert np.mean(shares) == pytest.approx(19 / 21, abs=4 * spread / math.sqrt(200) + 4 * 0.3 / math.sqrt(4000))
    assert np.std(shares) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize(("structures", "atoms"), [(60, (15,)), (120, (2, 4, 8, 16, 40))])
def test_coverage_of_force_components_is_what_is_stated(structures: int, atoms: tuple[int, ...]) -> None:
    random = np.random.default_rng(3)
    new = drawn_forces(random, 800, atoms=atoms)
    shares = [covered(new, drawn_forces(random, structures, atoms=atoms), 0.9, seed).mean() for seed in range(40)]
    # the correction for a finite number is 0.9 / 48 at most; beside it stands what 40 draws and 800 structures say
    error = 4 * np.std(shares) / math.sqrt(40)
    assert np.mean(shares) == pytest.approx(0.9, abs=0.01 + error)
    told = fit_quantity(drawn_forces(random, structures, atoms=atoms), LEVELS).spread["0.9"]
    assert told == pytest.approx(np.std(shares), rel=0.6)


def test_every_element_has_the_coverage_that_is_stated() -> None:
    random = np.random.default_rng(4)
    new = drawn_forces(random, 1500)
    inside = covered(new, drawn_forces(random, 500), 0.9)
    plain = np.abs(new.error) <= 2.0 * NormalDist().inv_cdf(0.95) * new.uncertainty
    for number in new.symbols.values():
        assert inside[new.numbers == number].mean() == pytest.approx(0.9, abs=0.02)
    assert plain[new.numbers == 1].mean() - plain[new.numbers == 8].mean() > 0.15  # one factor for all would not do


def test_elements_of_few_structures_share_a_factor() -> None:
    random = np.random.default_rng(5)
    sample = drawn_forces(random, 60)
    rare = (sample.structure < 20) & (sample.numbers == 8)
    sample = sample.part(rare | (sample.numbers != 8))
    record = fit_quantity(sample, LEVELS)
    assert set(record.factors["0.9"]) == {"H", "C", "*"}
    # O alone has the others' factor, and is off by three uncertainties where H is by one
    assert record.factors["0.9"]["*"] > 1.5 * record.factors["0.9"]["H"]
    assert set(record.factors["0.95"]) == {"H", "C", "*"}
    assert "0.99" not in record.factors
    assert record.structures["*"] == 48
    assert record.structures["O"] < 20


def test_uncertainties_that_say_nothing_get_a_floor_above_them() -> None:
    random = np.random.default_rng(6)
    useful = drawn_energies(random, 400)
    useless = replace(useful, error=random.permutation(useful.error))
    constant = replace(useful, error=0.1 * random.normal(size=400))
    typical = float(np.median(useful.uncertainty / useful.atoms))
    assert choose_floor(useful, 0.9) <= typical / 4
    assert choose_floor(useless, 0.9) >= typical
    assert choose_floor(constant, 0.9) >= typical


def test_groups_of_structures_count_as_one_each() -> None:
    samples = {"energy": drawn_energies(np.random.default_rng(7), 40)}
    of_walks = grouped(samples, [f"walk {number // 4}" for number in range(40)])  # type: ignore[arg-type]
    assert of_walks["energy"].structures == 10
    assert of_walks["energy"].effective == pytest.approx(10)
    assert "0.9" not in fit_quantity(of_walks["energy"], LEVELS).factors


def test_what_cannot_be_calibrated_says_why() -> None:
    sample = drawn_energies(np.random.default_rng(8), 30)
    with pytest.raises(ValueError, match=r"energy: 1 labelled structures do not suffice for a coverage of 0\.5"):
        fit_calibration({"energy": sample.part(sample.structure < 1)})
    with pytest.raises(ValueError, match="all uncertainties are zero: members that are alike"):
        fit_calibration({"energy": replace(sample, uncertainty=np.zeros(30))})
    with pytest.raises(ValueError, match="an error or an uncertainty is not finite"):
        fit_calibration({"energy": replace(sample, error=np.full(30, np.nan))})
    with pytest.raises(ValueError, match="none of the structures has a label"):
        fit_calibration({})


def test_a_coverage_that_is_asked_for_is_reached_or_refused() -> None:
    sample = drawn_energies(np.random.default_rng(9), 30)
    assert "0.85" in fit_calibration({"energy": sample}, coverage=[0.85]).quantities["energy"].factors
    with pytest.raises(ValueError, match=r"a coverage of 0\.99 takes 99 structures beside those for the floor, of 30"):
        fit_calibration({"energy": sample}, coverage=[0.99])
    with pytest.raises(ValueError, match=r"coverage 90 is not between 0 and 1; 0\.9 is 90 %"):
        levels_with([90])


@pytest.mark.parametrize("structures", [12, 20, 100])
def test_what_the_number_of_structures_leaves_uncertain_is_that_of_a_beta_distribution(structures: int) -> None:
    """Even where all that were calibrated by are covered."""
    record = fit_quantity(drawn_energies(np.random.default_rng(0), structures), (0.9,))
    n = record.structures["*"]
    rank = math.ceil(0.9 * (n + 1))
    assert record.spread["0.9"] == pytest.approx(math.sqrt(rank * (n + 1 - rank) / ((n + 1) ** 2 * (n + 2))), rel=0.35)
