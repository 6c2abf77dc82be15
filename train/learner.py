"""What is learnt of a potential: its weights that are not frozen, or low-rank changes in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from potentials.potential import Potential
from train.labelled import Labelled
from train.lora import Factors
from train.ready import Ready
from train.step import LossAndGradients, StepResult
from train.tasks import Task

DOWN, UP = ".lora_down", ".lora_up"


class Learner(nn.Module):
    """Parameters as the optimizer and the gradients of a step have them, all in one order.

    Args:
        potential: those of its weights that want gradients are learnt, or changed by factors.
        factors: of weights that are changed, by name.
    """

    def __init__(self, potential: Potential, factors: Mapping[str, Factors] | None = None) -> None:
        super().__init__()
        self.potential = potential
        self.factors = dict(factors or {})

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """What is learnt, by the names of the potential; factors stand where their weight does."""
        for name, weight in self.potential.named_parameters(prefix, recurse, remove_duplicate):
            if name in self.factors:
                yield f"{name}{DOWN}", self.factors[name].down
                yield f"{name}{UP}", self.factors[name].up
            elif weight.requires_grad:
                yield name, weight

    def step(self, tasks: Sequence[Task], dataset_weights: Sequence[float], **options: Any) -> AdaptedStep:
        """Loss and gradients of what is learnt; arguments and errors are those of `LossAndGradients`."""
        return AdaptedStep(LossAndGradients(self.potential, tasks, dataset_weights, **options), self)

    def project(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of what is learnt, given those of the weights of the potential that want one."""
        if not self.factors:
            return list(gradients)
        names = [name for name, weight in self.potential.named_parameters() if weight.requires_grad]
        found: list[Tensor] = []
        for name, gradient in zip(names, gradients, strict=True):
            found += self.factors[name].gradients(gradient) if name in self.factors else (gradient,)
        return found

    def merge(self) -> None:
        """Set the weights of the potential to what the factors say."""
        with torch.no_grad():
            for name, one in self.factors.items():
                self.potential.get_parameter(name).copy_(one.weight(one.down, one.up))

    def merged(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the potential, given values of what is learnt (averages) by name."""
        found = dict(values)
        for name, one in self.factors.items():
            down, up = found.pop(f"{name}{DOWN}"), found.pop(f"{name}{UP}")
            found[name] = one.weight(down, up).detach()
        return found

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the weights of the potential."""
        tensors: dict[str, Tensor] = {}
        for name, one in self.factors.items():
            tensors |= {f"{name}.base": one.base, f"{name}{DOWN}": one.down.detach(), f"{name}{UP}": one.up.detach()}
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name, own in self.state().items():
            own.copy_(tensors[name])


class AdaptedStep:
    """A step whose gradients are those of what is learnt.

    Args:
        step: of the potential.
        learner: what is learnt of it.
    """

    def __init__(self, step: LossAndGradients, learner: Learner) -> None:
        self.step, self.learner = step, learner
        self.potential = step.potential
        self.tasks: tuple[Task, ...] = step.tasks

    @property
    def weights(self) -> list[nn.Parameter]:
        """What gradients are of, in their order."""
        return list(self.learner.parameters())

    def totals(self, batch: Labelled) -> Tensor:
        """See `LossAndGradients`."""
        return self.step.totals(batch)

    def __call__(
        self,
        batch: Labelled,
        factors: Tensor | None = None,
        totals: Tensor | None = None,
        ready: Ready | None = None,
    ) -> StepResult:
        """See `LossAndGradients`; where there are factors, all gradients become ready at the end."""
        if not self.learner.factors:
            return self.step(batch, factors, totals, ready)
        result = self.step(batch, factors, totals)
        gradients = self.learner.project(result.gradients)
        if ready is not None:
            for number, gradient in enumerate(gradients):
                ready(number, gradient)
        return replace(result, gradients=gradients)
