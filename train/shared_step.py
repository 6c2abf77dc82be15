"""One step of all processes: the gradient of one loss, whoever computes which part of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from train.buckets import Buckets
from train.division import Division
from train.group import Group
from train.guard import finite, not_finite, suspects
from train.labelled import Labelled
from train.step import Step, StepResult


@dataclass(frozen=True)
class Shared:
    """What a step of all processes has found; the same on each.

    Attributes:
        result: loss and gradients over all batches.
        structures: in all batches.
        atoms: in all batches.
    """

    result: StepResult
    structures: int
    atoms: int


def shared_step(
    step: Step,
    batches: Sequence[Labelled],
    division: Division,
    factors: Tensor | None = None,
    rows: Sequence[Tensor | None] | None = None,
) -> Shared:
    """Loss and gradients of the batches of all processes, as if they were one batch.

    Sums are divided by the weights of all labels, so that the result does not depend, but for rounding, on how
    structures are laid out in batches and batches over processes.

    Args:
        step: of this process.
        batches: its own; none where there are fewer batches than processes.
        division: the processes, and which heads each of them computes.
        factors: as of `LossAndGradients`.
        rows: of each parameter those rows that any structure of the run has a gradient for, or none for all of them:
            nothing is sent for others.

    Raises:
        TrainingError: loss or gradients are not finite; on all processes.
    """
    group = division.group
    counts = torch.tensor([float(sum(b.graph.n_graphs for b in batches)), float(sum(b.graph.n_atoms for b in batches))])
    counts = counts.double()
    if group.size == 1 and len(batches) == 1:
        result, found = step(batches[0], factors), None
    else:
        device = step.potential.device
        own = torch.zeros(len(step.tasks), dtype=torch.float64, device=device)
        own = sum((step.totals(batch) for batch in batches), own)
        both = group.sum(torch.cat([own, counts.to(device)]))
        totals, counts = both[: len(own)], both[len(own) :]
        buckets = Buckets(step.weights, division.sharers(len(step.weights)), rows)
        own, found = _parts(step, batches, buckets, (factors, totals))
        terms = group.sum(own)
        result = StepResult(terms.sum(), buckets.sums(), {}, terms, totals > 0)
    if not finite(result.loss, result.gradients):
        raise _blame(result, batches, group, found)
    return Shared(result, int(counts[0]), int(counts[1]))


def _parts(
    step: Step, batches: Sequence[Labelled], buckets: Buckets, given: tuple[Tensor | None, Tensor]
) -> tuple[Tensor, tuple[bool, list[str]] | None]:
    """What this process adds to the terms, and which of its structures are to blame if any are.

    Its gradients go into the buckets, which leave while the pass back of the last batch goes on.
    """
    terms = torch.zeros_like(given[1])
    found = None
    for number, batch in enumerate(batches, 1):
        last = number == len(batches)
        part = step(batch, *given, buckets.complete if last else None)
        if not last:
            buckets.add(part.gradients)
        terms = terms + part.terms
        if found is None and not finite(part.loss, part.gradients):
            found = suspects(part, batch)
    if not batches:
        buckets.complete_all()
    return terms, found


def _blame(
    result: StepResult, batches: Sequence[Labelled], group: Group, found: tuple[bool, list[str]] | None
) -> Exception:
    if found is None and result.predicted:
        found = suspects(result, batches[0])
    told = [json.loads(message) for message in group.share(json.dumps(found).encode())]
    # those whose predictions are not finite first; nobody is to blame where the parts were finite and their sum is not
    by_prediction, named = next(iter(sorted(filter(None, told), reverse=True)), (False, ["the step"]))
    return not_finite(float(result.loss), (by_prediction, named))
