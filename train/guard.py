"""Stopping before a step that would spoil the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
    if not finite(result.loss, result.gradients):
        raise not_finite(float(result.loss), suspects(result, batch))


def finite(loss: Tensor, gradients: Sequence[Tensor]) -> bool:
    """Whether a step can be taken."""
    # one number tells for all gradients: a sum of squares is finite only if each part is
    norms = torch.stack(torch._foreach_norm(list(gradients)))
    return bool(torch.isfinite(loss)) and bool(torch.isfinite(norms).all())


def suspects(result: StepResult, batch: Labelled) -> tuple[bool, list[str]]:
    """Whether predictions are not finite, and of which structures; those of the batch where predictions are."""
    graph = batch.graph
    broken_G = ~torch.isfinite(result.predicted["energy"])
    for name in ("forces", "direct_forces"):
        if name in result.predicted:
            broken_N = ~torch.isfinite(result.predicted[name]).all(dim=1)
            broken_G[graph.graph_index[broken_N]] = True
    named = [batch.source[index] for index in torch.nonzero(broken_G)[:, 0].tolist()]
    return bool(named), named or list(batch.source)


def not_finite(loss: float, found: tuple[bool, list[str]]) -> TrainingError:
    """What to say of a step that cannot be taken, and of the `suspects`."""
    by_prediction, named = found
    where = "its predictions are not finite for" if by_prediction else "a gradient is not finite in the batch of"
    return TrainingError(
        f"the loss is {loss} and the step was not taken: {where} {', '.join(named[:5])}; look at these structures,"
        " or begin anew with a lower optimizer.learning_rate; the state before the step is saved"
    )
