"""Atoms and edges of the structures that are planned for: of a run's data, or by what is published of others."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from train.config_errors import sentences
from train.config_tables import NotNegative, Positive, PositiveInt, Table

Array = NDArray[Any]

PUBLISHED = "published"
"""Name of the mix of five data sets that comes with the package."""

SAMPLE = 100_000
"""Structures that are drawn of a data set that is not at hand."""

SEED = 20


@dataclass(frozen=True)
class Population:
    """The structures of one data set, as many as there are; S are known by size.

    Attributes:
        name: of the data set.
        count: structures of the whole.
        sizes: [S, 2] atoms and directed edges of structures that stand for all.
        source: where that is from.
    """

    name: str
    count: int
    sizes: Array
    source: str = ""

    def draw(self, number: int, random: np.random.Generator) -> Array:
        """[number, 2] sizes of structures drawn at random, with repetition."""
        found: Array = self.sizes[random.integers(0, len(self.sizes), number)]
        return found

    @property
    def mean(self) -> Array:
        """[2] atoms and edges of a structure."""
        found: Array = self.sizes.mean(0)
        return found


def draw_mixed(populations: Sequence[Population], number: int, random: np.random.Generator) -> Array:
    """[number, 2] sizes, from each data set in the share of its count, in random order."""
    counts = np.array([one.count for one in populations], dtype=np.float64)
    shares = random.multinomial(number, counts / counts.sum())
    drawn = np.concatenate([one.draw(int(share), random) for one, share in zip(populations, shares, strict=True)])
    found: Array = drawn[random.permutation(number)]
    return found


class Spread(Table):
    """Numbers of atoms of which no more is known than their mean and range: a log-normal law cut to the range.

    Attributes:
        mean: of the cut law, exactly.
        least: 1 at least.
        largest: of the range.
        spread: standard deviation of the logarithm, before it is cut.
    """

    mean: Positive
    least: PositiveInt
    largest: PositiveInt
    spread: Positive

    @model_validator(mode="after")
    def _within(self) -> Self:
        if not self.least < self.mean < self.largest:
            raise ValueError(f"mean = {self.mean:g} is not between least = {self.least} and largest = {self.largest}")
        return self

    @cached_property
    def law(self) -> tuple[Array, Array]:
        """Numbers of atoms, and the probability of each."""
        numbers = np.arange(self.least, self.largest + 1)
        low, high = -1e3, 1e3
        while high - low > 1e-9:  # the mean grows with the centre
            centre = (low + high) / 2
            low, high = (centre, high) if float(self._weights(numbers, centre) @ numbers) < self.mean else (low, centre)
        return numbers, self._weights(numbers, (low + high) / 2)

    def _weights(self, numbers: Array, centre: float) -> Array:
        logarithm = np.log(numbers)
        exponent = -0.5 * ((logarithm - centre) / self.spread) ** 2 - logarithm
        weights = np.exp(exponent - exponent.max())
        found: Array = weights / weights.sum()
        return found


Row = Annotated[tuple[PositiveInt, Annotated[int, Field(ge=0)], PositiveInt], Field()]


class DatasetSizes(Table):
    """A data set that is not at hand: a `table` of sizes, or `atoms` and `edges_per_atom`.

    Attributes:
        name: of the data set.
        structures: how many it has.
        source: where the figures are from, and which are assumed.
        table: rows of atoms, edges and how often; a sample stands for the whole.
        atoms: their law.
        edges_per_atom: directed edges within the cutoff, the mean over structures.
        edges_spread: standard deviation of the logarithm of a structure's edges per atom.
    """

    name: str
    structures: PositiveInt
    source: str
    table: tuple[Row, ...] | None = None
    atoms: Spread | None = None
    edges_per_atom: NotNegative | None = None
    edges_spread: NotNegative = 0.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        by_law = self.atoms is not None and self.edges_per_atom is not None
        if (self.table is not None) == by_law or not (self.table or by_law):
            raise ValueError("give either table = [[atoms, edges, how often], ...], or both atoms and edges_per_atom")
        return self

    def population(self) -> Population:
        """Sizes drawn from the law or the table; the same at each call."""
        random = np.random.default_rng(SEED)
        if self.table is not None:
            rows = np.array(self.table)
            chosen = random.choice(len(rows), SAMPLE, p=rows[:, 2] / rows[:, 2].sum())
            return Population(self.name, self.structures, rows[chosen, :2], self.source)
        assert self.atoms is not None
        assert self.edges_per_atom is not None
        numbers, shares = self.atoms.law
        atoms = random.choice(numbers, SAMPLE, p=shares)
        # of mean 1 whatever the spread
        factors = np.exp(self.edges_spread * random.standard_normal(SAMPLE) - self.edges_spread**2 / 2)
        edges = np.rint(atoms * self.edges_per_atom * factors).astype(np.int64)
        return Population(self.name, self.structures, np.column_stack([atoms, edges]), self.source)


class Mix(Table):
    """Data sets by size.

    Attributes:
        source: of the mix.
        dataset: one table each.
    """

    source: str = ""
    dataset: Annotated[tuple[DatasetSizes, ...], Field(min_length=1)]


def read_mix(text: str) -> Mix:
    """The mix of a TOML file, or the published one by its name.

    Raises:
        ValueError: no such file, or something in it that is no mix; all at once.
    """
    path = Path(__file__).with_name("published_mix.toml") if text == PUBLISHED else Path(text)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"--mix {text} cannot be read ({error.strerror}); name a TOML file of sizes, or {PUBLISHED}"
        ) from None
    except ValueError as error:
        raise ValueError(f"--mix {text} is no TOML: {error}") from None
    try:
        return Mix.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"--mix {text}: {'; '.join(sentences(error, Mix, data))}") from None
