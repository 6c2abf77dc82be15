"""What a batch costs: seconds from atoms and edges, measured."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from train.run import Run

Array = NDArray[Any]

FILLS = (1.0, 0.5, 0.25, 0.1)
"""How full the batches are that are timed, of what a batch of the run may hold."""

REPEATS = 5

LOOKED_AT = 1 << 16
"""Structures that batches are chosen from."""


@dataclass(frozen=True)
class CostModel:
    """Time of one batch of a training step, loss and gradients: ``step + atom · atoms + edge · edges``.

    Attributes:
        step: fixed cost of a batch, s.
        atom: s for each atom.
        edge: s for each directed edge.

    Raises:
        ValueError: a cost is negative or not finite, or all are zero.
    """

    step: float
    atom: float
    edge: float

    def __post_init__(self) -> None:
        costs = (self.step, self.atom, self.edge)
        if not all(math.isfinite(cost) and cost >= 0 for cost in costs) or not any(costs):
            raise ValueError(
                f"costs of a batch are {self.step:g} s, {self.atom:g} s an atom and {self.edge:g} s an edge; each must"
                " be finite and not negative, and one must be greater than 0"
            )

    def seconds(self, atoms: ArrayLike, edges: ArrayLike) -> Array:
        """[B] time of batches of so many atoms [B] and edges [B], s."""
        found: Array = self.step + self.atom * np.asarray(atoms, float) + self.edge * np.asarray(edges, float)
        return found

    def times_faster(self, factor: float) -> CostModel:
        """The costs of a device that is so many times as fast."""
        return CostModel(self.step / factor, self.atom / factor, self.edge / factor)

    @classmethod
    def fit(cls, atoms: ArrayLike, edges: ArrayLike, seconds: ArrayLike) -> CostModel:
        """The costs, none of them negative, with the least squares of relative errors.

        Batches that all have the same ratio of edges to atoms do not tell the two costs apart; the fit predicts batches
        of that ratio all the same.

        Args:
            atoms: [B] of each batch.
            edges: [B].
            seconds: [B] above 0; medians of several, for a mean follows whatever else the machine did.

        Raises:
            ValueError: no batch is given, or a time is not above 0.
        """
        rows = np.column_stack([np.asarray(values, float).ravel() for values in (atoms, edges, seconds)])
        if not len(rows) or not np.isfinite(rows).all() or rows[:, 2].min() <= 0:
            raise ValueError("costs are fitted to batches of finite sizes with times above 0, one at least")
        matrix = np.column_stack([np.ones(len(rows)), rows[:, :2]]) / rows[:, 2:]
        return cls(*_not_negative(matrix).tolist())

    def relative_error(self, atoms: ArrayLike, edges: ArrayLike, seconds: ArrayLike) -> float:
        """Root mean square of what the model is off, relative to the measured times [B]."""
        measured = np.asarray(seconds, float)
        return float(np.sqrt(np.mean((self.seconds(atoms, edges) / measured - 1) ** 2)))


@dataclass(frozen=True)
class Measured:
    """Costs, and what they were fitted to; B batches.

    Attributes:
        model: the fit.
        relative_error: root mean square of its relative errors on the batches.
        atoms: [B].
        edges: [B].
        seconds: [B] medians.
        device: name of what computed them.
    """

    model: CostModel
    relative_error: float
    atoms: tuple[int, ...]
    edges: tuple[int, ...]
    seconds: tuple[float, ...]
    device: str


def measure(run: Run, repeats: int = REPEATS, progress: Callable[[int, int], None] | None = None) -> Measured:
    """Time steps (loss and gradients) of a run on batches of its data, after warm-up, and fit costs to them.

    Batches are of the sparsest structures, of any, and of the densest, each more and less full. They are timed in
    turns, so that a machine that is slower for a while is so for all of them. Weights are not touched.

    Args:
        run: whose potential and data are timed.
        repeats: how often each batch is timed; the median counts.
        progress: told how many timings are done, of how many.
    """
    batches = [run.division.local(run.structures.batch(numbers).to(run.device)) for numbers in samples(run)]
    timed: list[list[float]] = [[] for _ in batches]
    for repeat in range(repeats + 1):
        for number, batch in enumerate(batches):
            seconds = seconds_on(run.device, partial(run.step, batch))
            if repeat:  # the first round warms up: compilation, memory, kernels that are chosen by trying
                timed[number].append(seconds)
            if progress:
                progress(repeat * len(batches) + number + 1, (repeats + 1) * len(batches))
    atoms = tuple(batch.graph.n_atoms for batch in batches)
    edges = tuple(batch.graph.n_edges for batch in batches)
    medians = tuple(statistics.median(values) for values in timed)
    model = CostModel.fit(atoms, edges, medians)
    return Measured(model, model.relative_error(atoms, edges, medians), atoms, edges, medians, device_name(run.device))


def samples(run: Run) -> list[Array]:
    """Numbers of structures in the batches that are timed: sparse, mixed and dense ones, of several sizes."""
    random, count = np.random.default_rng(run.config.seed), len(run.structures)
    looked_at = random.choice(count, LOOKED_AT, replace=False) if count > LOOKED_AT else random.permutation(count)
    sizes = np.column_stack([run.structures.sizes(looked_at), np.ones(len(looked_at), dtype=np.int64)])
    bounds = run.config.batch
    limits = np.array([bound or math.inf for bound in (bounds.max_atoms, bounds.max_edges, bounds.max_structures)])
    by_density = np.argsort(sizes[:, 1] / np.maximum(sizes[:, 0], 1), kind="stable")
    chosen: dict[tuple[int, ...], Array] = {}
    for order, fill in itertools.product((by_density, np.arange(len(sizes)), by_density[::-1]), FILLS):
        numbers = looked_at[order[: _first_that_fit(sizes[order], fill * limits)]]
        chosen[tuple(numbers.tolist())] = numbers
    return list(chosen.values())


def seconds_on(device: torch.device, call: Callable[[], object]) -> float:
    """Wall time of a call, all its work on the device done."""
    began = time.perf_counter()
    call()
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
    return time.perf_counter() - began


def device_name(device: torch.device) -> str:
    """What computes, for people."""
    if device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    name: str = torch.get_device_module(device).get_device_name(device)
    return name


def _first_that_fit(sizes: Array, limits: Array) -> int:
    """How many rows from the first on stay within limits; one at least."""
    return max(1, int((sizes.cumsum(0) <= limits).all(1).sum()))


def _not_negative(matrix: Array) -> Array:
    """x ≥ 0 with the least |matrix x - 1|: the best of the fits on all sets of columns, which are few."""
    best, least = np.zeros(matrix.shape[1]), math.inf
    for columns in _subsets(range(matrix.shape[1])):
        part = matrix[:, columns]
        scale = np.linalg.norm(part, axis=0)
        if not scale.all():
            continue
        found = np.linalg.lstsq(part / scale, np.ones(len(part)), rcond=None)[0] / scale
        deviation = float(((part @ found - 1) ** 2).sum())
        if (found >= 0).all() and deviation < least:
            best, least = np.zeros(matrix.shape[1]), deviation
            best[list(columns)] = found
    return best


def _subsets(columns: Sequence[int]) -> list[tuple[int, ...]]:
    """All but the empty one, the smallest first."""
    return [chosen for count in range(1, len(columns) + 1) for chosen in itertools.combinations(columns, count)]
