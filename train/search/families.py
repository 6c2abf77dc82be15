"""What a trial's own curve says of its end: a Bayesian ensemble of parametric families.

As in Domhan et al. (IJCAI 2015, sections 3.1 and 3.2), several families of curves are fitted and averaged by how likely
each makes what was seen. Here they are families of the logarithm of the error, and each is a linear model once its
shape is chosen from a grid: with conjugate priors all of it is in closed form, without a chain and without chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

Floats = NDArray[np.float64]
Term = Callable[[Floats], Floats]

NOISE = 0.05
"""Of logarithms of errors from one validation to the next, before anything is seen; worth two validations."""

LEVEL, CHANGE = 3.0, 1.5
"""How far the first error may be from 1, and each term may take it to the end, before anything is seen; logarithms."""


@dataclass(frozen=True)
class Forecast:
    """Of the logarithm of an error: mean and standard deviation."""

    mean: float
    deviation: float


@lru_cache(maxsize=4096)
def forecast(epochs: tuple[int, ...], log_errors: tuple[float, ...], end: int) -> Forecast:
    """The error at the end of the schedule, from the trial's own validations alone.

    Args:
        epochs: T of the validations, rising.
        log_errors: T of them, finite.
        end: epochs of the schedule.
    """
    t_T, y_T = np.array(epochs, dtype=float), np.array(log_errors)
    weight_T = t_T / t_T[-1]  # the warm-up is no guide to the end
    found = [
        (prior, *_fit(_design(terms, t_T, end), y_T, weight_T, _design(terms, np.array([float(end)]), end)[0]))
        for prior, terms in _models(end)
    ]
    prior_M, likelihood_M, mean_M, variance_M = (np.array(column) for column in zip(*found, strict=True))
    posterior_M = np.exp(np.log(prior_M) + likelihood_M - logsumexp(np.log(prior_M) + likelihood_M))
    mean = float(posterior_M @ mean_M)
    return Forecast(mean, float(np.sqrt(posterior_M @ (variance_M + (mean_M - mean) ** 2))))


def _families(end: int) -> Iterator[list[list[Term]]]:
    """For each family its shapes, each a list of terms that a curve is a weighted sum of, beside a constant."""
    yield [[np.log]]  # a power law of the error
    yield [[lambda t: 1 / t, np.log]]  # vapor pressure
    yield [[np.log, lambda t: np.log(t) ** 2]]
    yield [[lambda t: 1 / np.log(t + 1)]]
    yield [[_power(power)] for power in (0.25, 0.5, 1.0, 2.0)]  # pow3
    yield [[_exponential(share * end)] for share in (0.05, 0.1, 0.2, 0.4, 0.8)]  # exp3
    yield [[_log_power(share * end, power)] for share in (0.1, 0.3) for power in (1.0, 2.0)]


def _power(power: float) -> Term:
    return lambda t: t**-power


def _exponential(decay: float) -> Term:
    return lambda t: np.exp(-t / decay)


def _log_power(middle: float, power: float) -> Term:
    return lambda t: 1 / (1 + (t / middle) ** power)


def _models(end: int) -> Iterator[tuple[float, list[Term]]]:
    """Every shape of every family, with its prior: families are equal, and so are the shapes of one."""
    families = list(_families(end))
    for shapes in families:
        for terms in shapes:
            yield 1 / len(families) / len(shapes), terms


def _design(terms: list[Term], t_T: Floats, end: int) -> Floats:
    """[T, 1 + terms]: a constant, and terms that go from 0 at the first epoch to 1 at the end."""
    first, last = np.array([1.0]), np.array([float(max(2, end))])
    columns = [(term(t_T) - term(first)) / (term(last) - term(first)) for term in terms]
    return np.stack([np.ones_like(t_T), *columns], axis=1)


def _fit(x_TK: Floats, y_T: Floats, weight_T: Floats, at_K: Floats) -> tuple[float, float, float]:
    """Logarithm of the marginal likelihood, and mean and variance of the curve at a point: normal-inverse-gamma."""
    prior_K = (np.array([LEVEL] + [CHANGE] * (x_TK.shape[1] - 1)) / NOISE) ** -2
    posterior = conjugate(x_TK, y_T, weight_T, (np.zeros(x_TK.shape[1]), prior_K, 1.0, NOISE**2))
    mean, scale, freedom = posterior.at(at_K)
    return posterior.log_likelihood, mean, scale**2 * freedom / max(freedom - 2, 0.5)


@dataclass(frozen=True)
class Posterior:
    """Of a linear model with normal-inverse-gamma prior.

    Attributes:
        mean_K: of the coefficients.
        covariance_KK: of the coefficients, in units of the variance of the noise.
        shape, rate: of the inverse gamma distribution of this variance.
        log_likelihood: of the data, everything else integrated out; constants that all models share are left out.
    """

    mean_K: Floats
    covariance_KK: Floats
    shape: float
    rate: float
    log_likelihood: float

    def at(self, x_K: Floats) -> tuple[float, float, float]:
        """Centre, scale and degrees of freedom of Student's distribution of a new observation."""
        spread = 1 + x_K @ self.covariance_KK @ x_K
        return float(x_K @ self.mean_K), float(np.sqrt(self.rate / self.shape * spread)), 2 * self.shape


def conjugate(x_TK: Floats, y_T: Floats, weight_T: Floats, prior: tuple[Floats, Floats, float, float]) -> Posterior:
    """Bayesian linear regression in closed form.

    Args:
        x_TK: what is known.
        y_T: what is observed.
        weight_T: of the observations, 1 for a whole one.
        prior: mean [K] and precision [K] of the coefficients, the latter in units of one observation's; shape and rate
            of the inverse gamma distribution of the variance of the noise.
    """
    mean_K, precision_K, shape, rate = prior
    weighted_KT = x_TK.T * weight_T
    precision_KK = np.diag(precision_K) + weighted_KT @ x_TK
    covariance_KK = np.asarray(np.linalg.inv(precision_KK), dtype=np.float64)
    posterior_K = covariance_KK @ (precision_K * mean_K + weighted_KT @ y_T)
    misfit = weight_T @ y_T**2 + precision_K @ mean_K**2 - posterior_K @ precision_KK @ posterior_K
    new_shape, new_rate = shape + weight_T.sum() / 2, rate + max(float(misfit), 0.0) / 2
    log_likelihood = (
        (np.log(precision_K).sum() - np.linalg.slogdet(precision_KK)[1]) / 2
        + shape * np.log(rate)
        - new_shape * np.log(new_rate)
        + gammaln(new_shape)
        - gammaln(shape)
    )
    return Posterior(posterior_K, covariance_KK, float(new_shape), float(new_rate), float(log_likelihood))
