"""Compiling before the first step, so that no schedule and no budget has it inside."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from potentials.programs import NotCompiledError
from train.run import Run


def warm_up(run: Run) -> None:
    """Compile what a run compiles, without touching its weights; its position has how much longer first calls took.

    A run whose backbone refuses goes on without, and says so.
    """
    if not run.compiled:
        return
    batch = run.structures.batch(np.array(run.plan.first_batch())).to(run.device)

    def both() -> None:
        run.step(batch)  # what is not finite is found by the training, which saves its state first
        with torch.no_grad():
            run.evaluate(batch.graph)

    try:
        first_time = seconds_of(both)
    except NotCompiledError as error:
        run.go_without_compiling()
        run.reporter.not_compiled(str(error))
        return
    spent = max(0.0, first_time - seconds_of(both))
    run.position.seconds += spent
    run.position.compiling += spent


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of a call, all its work on the device done."""
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
