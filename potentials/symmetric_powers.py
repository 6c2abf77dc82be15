"""Which products of an equivariant feature with itself are independent, and how to evaluate all of them.

A path of the second power is l₁ ⊗ l₂ → L; one of the third is (l₁ ⊗ l₂ → l₁₂) ⊗ l₃ → L. For one and the same feature
x in all places, many of these are the same or depend on each other: the order of factors does not matter, and within
one set of degrees {l₁, l₂, l₃} several l₁₂ can give one result. Other sets give other monomials, and are independent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from potentials.native.tables import Coupling
from potentials.spherical import clebsch_gordan

Floats = NDArray[np.float64]


class Pair(NamedTuple):
    """x_left ⊗ x_right → L."""

    left: int
    right: int
    out: int


class Triple(NamedTuple):
    """(x_left ⊗ x_right → both) ⊗ x_last → L."""

    left: int
    right: int
    both: int
    last: int
    out: int


def couples(a: int, b: int, c: int) -> bool:
    """Whether degrees a and b have a part of degree c."""
    return abs(a - b) <= c <= a + b


def independent_pairs(l_in: int, out: int) -> list[Pair]:
    """Second powers of natural parity; equal degrees have them for even degrees alone."""
    degrees = range(l_in + 1)
    return [
        Pair(a, b, out)
        for a, b in itertools.combinations_with_replacement(degrees, 2)
        if couples(a, b, out) and (a + b + out) % 2 == 0
    ]


@cache
def independent_triples(l_in: int, out: int) -> list[Triple]:
    """Third powers of natural parity: for each set of degrees as many as are independent, of small l₁₂ first."""
    return [
        triple
        for three in itertools.combinations_with_replacement(range(l_in + 1), 3)
        if (sum(three) + out) % 2 == 0
        for triple in _independent(_candidates(three, out))
    ]


def _candidates(three: tuple[int, int, int], out: int) -> list[Triple]:
    found = {
        Triple(min(a, b), max(a, b), both, last, out)
        for a, b, last in itertools.permutations(three)
        for both in range(abs(a - b), a + b + 1)
        if couples(both, last, out) and not (a == b and both % 2)  # x × x = 0
    }
    return sorted(found, key=lambda triple: (triple.both, triple.last))


def _independent(candidates: Sequence[Triple]) -> list[Triple]:
    """The first ones that are not linear combinations of those before, at random points in float64."""
    chosen: list[Triple] = []
    basis: list[Floats] = []
    for triple in candidates:
        value = _values(triple).ravel()
        value = value / max(float(np.linalg.norm(value)), 1e-300)
        rest = value.copy()
        for _ in range(2):  # twice is enough for roundings
            for one in basis:
                rest = rest - (one @ rest) * one
        if np.linalg.norm(rest) > 1e-8:
            chosen.append(triple)
            basis.append(rest / np.linalg.norm(rest))
    return chosen


def _values(triple: Triple) -> Floats:
    """[40, 2L + 1] of 40 random features."""

    def feature(degree: int) -> Floats:
        return np.random.default_rng(degree).normal(size=(40, 2 * degree + 1))

    inner = clebsch_gordan(triple.left, triple.right, triple.both)
    outer = clebsch_gordan(triple.both, triple.last, triple.out)
    both = np.einsum("abc,na,nb->nc", inner, feature(triple.left), feature(triple.right))
    values: Floats = np.einsum("abc,na,nb->nc", outer, both, feature(triple.last))
    return values


@dataclass(frozen=True)
class Powers:
    """The sum of all powers of x with weights w, from the inside: `last`(`third`(x, x; w) + `second`(w, x), x) + ...

    The weights of `first` and `second` are slots of degree 0, those of `third` factors of its paths.

    Attributes:
        first: w ⊗ x to the result.
        second: w ⊗ x to partners: what is multiplied by x at last; none without second powers.
        third: x ⊗ x to partners; none without third powers.
        last: partners ⊗ x to the result.
        terms_of_weights: for each power and each of its weights, how many terms its result of one degree has.
    """

    first: Coupling
    second: Coupling | None
    third: Coupling | None
    last: Coupling | None
    terms_of_weights: tuple[tuple[int, ...], ...]


@cache
def powers_of(l_in: int, l_out: int, correlation: int) -> Powers:
    """All powers up to `correlation` (1 to 3) of a feature of degrees up to `l_in`, in degrees up to `l_out`."""
    features, outs = tuple(range(l_in + 1)), tuple(range(l_out + 1))
    first = _weighted([(out, out) for out in outs], features, outs)
    if correlation == 1:
        return Powers(first, None, None, None, ((1,) * len(outs),))
    twos = [pair for out in outs for pair in independent_pairs(l_in, out)]
    threes = [triple for out in outs for triple in independent_triples(l_in, out)] if correlation > 2 else []
    # a partner is told by its degree, the degree of the x that it meets, and that of the result
    partners = sorted({(two.left, two.right, two.out) for two in twos} | {(t.both, t.last, t.out) for t in threes})
    degrees = tuple(degree for degree, _, _ in partners)
    place = {partner: slot for slot, partner in enumerate(partners)}
    last = Coupling(degrees, features, outs, tuple((slot, x, out) for slot, (_, x, out) in enumerate(partners)))
    second = _weighted([(two.left, place[two.left, two.right, two.out]) for two in twos], features, degrees)
    terms = ((1,) * len(outs), _counts([two.out for two in twos]))
    if not threes:
        return Powers(first, second, None, last, terms)
    paths = tuple((t.left, t.right, place[t.both, t.last, t.out]) for t in threes)
    third = Coupling(features, features, degrees, paths)
    return Powers(first, second, third, last, (*terms, _counts([t.out for t in threes])))


def _weighted(ends: Sequence[tuple[int, int]], slots_in: tuple[int, ...], slots_out: tuple[int, ...]) -> Coupling:
    """The n-th weight times slot `ends[n][0]`, added to slot `ends[n][1]`."""
    return Coupling((0,) * len(ends), slots_in, slots_out, tuple((n, one, two) for n, (one, two) in enumerate(ends)))


def _counts(outs: Sequence[int]) -> tuple[int, ...]:
    return tuple(outs.count(out) for out in outs)
