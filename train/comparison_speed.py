"""How fast a trained backbone is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial

import torch

from train.evaluation import batches
from train.labelled import Labelled
from train.run import Run
from train.warm_up import seconds_of

ATOMS_AT_ONCE = 512
"""Of an evaluation, where the batches of the training are not bounded by atoms."""


def energy_forces_speed(
    run: Run, structures: Sequence[Labelled], seconds: float = 5.0, atoms: int | None = None
) -> float:
    """Atoms per second of evaluations, neighbour lists made before: the median.

    Args:
        run: its averaged weights are evaluated.
        structures: that are.
        seconds: to spend.
        atoms: of a batch at most; without, as many as those of the training.
    """
    found: list[float] = []
    began = time.perf_counter()
    together = list(batches(structures, atoms or run.config.batch.max_atoms or ATOMS_AT_ONCE, run.device))
    while not found or (time.perf_counter() - began < seconds and len(found) < 200):
        for batch in together:
            with torch.no_grad():
                found.append(batch.graph.n_atoms / seconds_of(partial(run.evaluate, batch.graph)))
            if time.perf_counter() - began > seconds:
                break
    return statistics.median(found)
