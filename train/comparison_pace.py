"""How long an epoch takes, before it is decided how many there are."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from potentials.potential import Potential
from train.config import RunConfig
from train.evaluation import batches
from train.guard import check_finite
from train.labelled import Labelled, batch_labelled
from train.optimizer import Optimizer
from train.run import Run
from train.state import restore

FILL = 0.95
"""Part of the budget that the schedule is planned to take: machines are not equally fast all the time."""

OVERRUN = 1.5
"""A schedule that takes this many times its budget is cut: it has not cooled down, and is told so."""

MEASURED_SECONDS = 20.0
"""At most so long are steps timed, and at most for a twentieth of the budget."""

LEAST_STEPS = 3
ATOMS_AT_ONCE = 512
"""Of an evaluation, where the batches of the training are not bounded by atoms."""


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch, its share of the validations included; and what the first calls took longer than others."""

    epoch_seconds: float
    compile_seconds: float


def warm_up(run: Run) -> float:
    """Compile what a run compiles, without touching its weights: seconds that the first calls take longer."""
    batch = _batch(run, run.plan.epoch(0)[0])

    def both() -> None:
        check_finite(run.step(batch), batch)
        with torch.no_grad():
            run.evaluate(batch.graph)

    first, again = _seconds(both), _seconds(both)
    return max(0.0, first - again)


def measure_pace(run: Run, minutes: float | None) -> Pace:
    """Time steps on the first batches of a run, without touching its weights.

    Args:
        run: not yet begun.
        minutes: its budget, if it has one.
    """
    compile_seconds = warm_up(run)
    spare = Potential(run.potential.config).to(run.device)
    restore(spare, run.potential.state_dict())
    optimizer = Optimizer(spare, run.config.optimizer, elements=run.optimizer.elements)
    epoch = run.plan.epoch(0)
    longest = MEASURED_SECONDS if minutes is None else min(MEASURED_SECONDS, 60 * minutes / 20)
    spent, atoms = 0.0, 0
    for count, indices in enumerate(epoch):
        if count >= LEAST_STEPS and spent > longest:
            break
        began = time.perf_counter()
        batch = _batch(run, indices)
        result = run.step(batch)
        check_finite(result, batch)
        optimizer.step(result.gradients, 0.0)
        spent += time.perf_counter() - began
        atoms += batch.graph.n_atoms
    steps = spent / atoms * sum(one.graph.n_atoms for one in run.structures)
    validation = _seconds(run.validate)
    return Pace(steps + validation / run.config.log.validate_every, compile_seconds)


def fitted(config: RunConfig, pace: Pace, minutes: float | None) -> RunConfig:
    """The run with as many epochs as its schedule can end in the time there is.

    Args:
        config: its `stop.max_minutes` is the budget where `minutes` is none; `stop.epochs` is then the most there are.
        pace: of the run.
        minutes: the same for every member; `stop.epochs` then does not count.
    """
    budget = config.stop.max_minutes if minutes is None else minutes
    if budget is None:
        return config
    epochs = max(1, int(FILL * 60 * budget / pace.epoch_seconds))
    if minutes is None:
        epochs = min(epochs, config.stop.epochs)
    stop = config.stop.model_copy(update={"epochs": epochs, "max_minutes": OVERRUN * budget})
    return config.model_copy(update={"stop": stop})


def energy_forces_speed(run: Run, structures: Sequence[Labelled], seconds: float = 5.0) -> float:
    """Atoms per second of evaluations of batches as large as those of the training: the median."""
    found: list[float] = []
    began = time.perf_counter()
    together = list(batches(structures, run.config.batch.max_atoms or ATOMS_AT_ONCE, run.device))
    while not found or (time.perf_counter() - began < seconds and len(found) < 200):
        for batch in together:
            with torch.no_grad():
                found.append(batch.graph.n_atoms / _seconds(partial(run.evaluate, batch.graph)))
            if time.perf_counter() - began > seconds:
                break
    return statistics.median(found)


def _batch(run: Run, indices: Sequence[int]) -> Labelled:
    return batch_labelled([run.structures[index] for index in indices]).to(run.device)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
