"""Stopping before a step that would spoil the weights."""

from __future__ import annotations

import torch

from train.labelled import Labelled
from train.step import StepResult


class TrainingError(ValueError):
    """Training cannot go on; the message says why, and nothing of what was reached is lost."""


def check_finite(result: StepResult, batch: Labelled) -> None:
    """Raise before the optimizer's step where loss or gradients are not finite.

    Raises:
        TrainingError: names the structures whose predictions are not finite, or those of the batch where only the
            gradients are not.
    """
    # one number tells for all gradients: a sum of squares is finite only if each part is
    norms = torch.stack(torch._foreach_norm(result.gradients))
    if bool(torch.isfinite(result.loss)) and bool(torch.isfinite(norms).all()):
        return
    graph = batch.graph
    broken_G = ~torch.isfinite(result.predicted["energy"])
    for name in ("forces", "direct_forces"):
        if name in result.predicted:
            broken_N = ~torch.isfinite(result.predicted[name]).all(dim=1)
            broken_G[graph.graph_index[broken_N]] = True
    named = [batch.source[index] for index in torch.nonzero(broken_G)[:, 0].tolist()]
    where = "its predictions are not finite for" if named else "a gradient is not finite in the batch of"
    shown = ", ".join((named or list(batch.source))[:5])
    raise TrainingError(
        f"the loss is {float(result.loss)} and the step was not taken: {where} {shown}; look at these structures,"
        " or begin anew with a lower optimizer.learning_rate; the state before the step is saved"
    )
