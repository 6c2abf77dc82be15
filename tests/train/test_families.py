"""The ensemble of families against curves that are known, and its closed forms against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_t

from train.search.families import conjugate, forecast

END = 50


@pytest.mark.parametrize("name", ["power", "saturating", "exponential", "flat"])
def test_curves_of_the_families_are_told_ahead(name: str) -> None:
    t_T = np.arange(1.0, 26.0)
    truth = {
        "power": lambda t: 5 - 0.7 * np.log(t),
        "saturating": lambda t: 3 + 1.5 * t**-0.5,
        "exponential": lambda t: 3 + 1.5 * np.exp(-t / 10),
        "flat": lambda t: 2 + 0 * t,
    }[name]
    found = forecast(tuple(range(1, 26)), tuple(truth(t_T)), END)
    final, now = truth(np.array([float(END)]))[0], truth(t_T[-1:])[0]
    assert abs(found.mean - final) < 3 * found.deviation
    assert abs(found.mean - final) < max(0.7 * abs(now - final), 0.02), "hardly better than no forecast"


def test_few_points_are_less_sure() -> None:
    deviations = [
        forecast(tuple(range(1, seen + 1)), tuple(4 - 0.5 * np.log(np.arange(1.0, seen + 1))), END).deviation
        for seen in (1, 3, 10, 40)
    ]
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[0] > 0.5, "one point says little of what is to come"


def test_closed_forms_are_those_of_student() -> None:
    """Marginal likelihood and forecast of the same regression, as one multivariate t of scipy."""
    random = np.random.default_rng(1)
    x_TK, y_T, at_K = random.normal(size=(6, 3)), random.normal(size=6), random.normal(size=3)
    mean_K, precision_K, shape, rate = np.array([0.3, -1.0, 0.0]), np.array([0.5, 2.0, 4.0]), 1.5, 0.7
    posterior = conjugate(x_TK, y_T, np.ones(6), (mean_K, precision_K, shape, rate))

    def log_density(x: np.ndarray, y: np.ndarray) -> float:
        covariance = rate / shape * (np.eye(len(x)) + x @ np.diag(1 / precision_K) @ x.T)
        return float(multivariate_t.logpdf(y, x @ mean_K, covariance, df=2 * shape))

    assert posterior.log_likelihood - 3 * np.log(2 * np.pi) == pytest.approx(log_density(x_TK, y_T))
    centre, scale, freedom = posterior.at(at_K)
    for new in (-1.0, 0.2, 2.0):
        both = log_density(np.vstack([x_TK, at_K]), np.append(y_T, new)) - log_density(x_TK, y_T)
        alone = multivariate_t.logpdf([new], [centre], [[scale**2]], df=freedom)
        assert both == pytest.approx(float(alone))
    # a weight of two is the observation twice
    twice = conjugate(
        np.vstack([x_TK, x_TK[:1]]), np.append(y_T, y_T[0]), np.ones(7), (mean_K, precision_K, shape, rate)
    )
    weighed = conjugate(x_TK, y_T, np.array([2.0, 1, 1, 1, 1, 1]), (mean_K, precision_K, shape, rate))
    np.testing.assert_allclose(weighed.mean_K, twice.mean_K)
    assert weighed.rate == pytest.approx(twice.rate)
    assert weighed.shape == twice.shape
