"""One training step's mathematics: batch in, loss and gradients out; compiled or not, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from potentials.compiled import check_compiler, compile_function, example_inputs, pad_graphs, weights_and_buffers
from potentials.derivatives import TensorInputs, prepare
from potentials.potential import Potential
from train.config import LossConfig
from train.labelled import Labelled
from train.losses import Targets, loss_sums, make_targets, total_weights

N_INPUTS = len(TensorInputs._fields)
PREDICTED = ("energy", "forces", "stress")


@dataclass(frozen=True)
class StepResult:
    """What a batch gave.

    Attributes:
        loss: scalar.
        gradients: one per parameter, in the order of ``potential.parameters()``; zero where the batch has no say.
        predicted: energy [G], forces [N, 3] and stress [G, 3, 3].
    """

    loss: Tensor
    gradients: list[Tensor]
    predicted: dict[str, Tensor]


class LossAndGradients:
    """Loss and its gradients with respect to all weights.

    Args:
        potential: the weights are read from it at every call.
        loss: terms.
        dataset_weights: by index of the data set.
        compiled: compile loss, forces and gradients into one function at the first call; batches with fewer than two
            atoms or edges are computed without it.

    Raises:
        ValueError: `compiled` without a C++ compiler.
    """

    def __init__(
        self, potential: Potential, loss: LossConfig, dataset_weights: Sequence[float], *, compiled: bool
    ) -> None:
        if compiled:
            check_compiler(potential.device)
        self.potential = potential
        self.loss = loss
        self.dataset_weights = tuple(dataset_weights)
        self.compiled = compiled
        self._function: Callable[..., tuple[Tensor, ...]] | None = None
        self._names = [name for name, _ in potential.named_parameters()]
        self._state = weights_and_buffers(potential)

    def __call__(self, batch: Labelled) -> StepResult:
        """Loss and gradients of one batch; no rank or accumulation: the batch is all there is."""
        inputs, targets = prepare(batch.graph, self.potential.dtype), make_targets(batch, self.dataset_weights)
        totals = total_weights(targets)
        n_graphs = batch.graph.n_graphs
        if not self.compiled or batch.graph.n_atoms < 2 or batch.graph.n_edges < 2:
            values = self._eager(inputs, targets, totals)
        else:
            inputs, targets = pad_graphs(inputs), _pad_targets(targets)
            values = self._compile()(self._state, [*inputs, *targets, *totals])
        loss, energy, forces, stress, *gradients = values
        predicted = dict(zip(PREDICTED, (energy[:n_graphs], forces, stress[:n_graphs]), strict=True))
        return StepResult(loss, list(gradients), predicted)

    def _compile(self) -> Callable[..., tuple[Tensor, ...]]:
        if self._function is None:
            device = self.potential.device
            inputs = example_inputs(device, self.potential.dtype)
            n_atoms, n_graphs = inputs.numbers.shape[0], inputs.cell.shape[0]
            exact: dict[str, Any] = {"dtype": torch.float64, "device": device}
            targets = Targets(
                torch.zeros(n_graphs, **exact),
                torch.zeros(n_atoms, 3, **exact),
                torch.zeros(n_graphs, 3, 3, **exact),
                torch.ones(n_graphs, **exact),
                torch.ones(n_atoms, **exact),
                torch.ones(n_graphs, **exact),
                torch.ones(n_graphs, **exact),
            )
            totals = torch.ones(len(PREDICTED), **exact)
            self._function = compile_function(self._traced, self._state, [*inputs, *targets, *totals])
        return self._function

    def _traced(self, state: Mapping[str, Tensor], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            weights = {name: state[name].detach().requires_grad_() for name in self._names}
            inputs, rest = TensorInputs(*tensors[:N_INPUTS]), tensors[N_INPUTS:]
            n_targets = len(Targets._fields)
            targets, totals = Targets(*rest[:n_targets]), torch.stack(list(rest[n_targets:]))
            results = torch.func.functional_call(self.potential, {**state, **weights}, (inputs,))
            return self._differentiate(results, targets, totals, [weights[name] for name in self._names])

    def _eager(self, inputs: TensorInputs, targets: Targets, totals: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            results = self.potential(inputs)
            return self._differentiate(results, targets, totals, list(self.potential.parameters()))

    def _differentiate(
        self, results: Mapping[str, Tensor], targets: Targets, totals: Tensor, weights: list[Tensor]
    ) -> tuple[Tensor, ...]:
        loss = (loss_sums(results, targets, self.loss) / totals.clamp(min=1e-300)).sum()
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        zeroed = [
            torch.zeros_like(weight) if gradient is None else gradient
            for weight, gradient in zip(weights, gradients, strict=True)
        ]
        return (loss.detach(), *(results[name].detach() for name in PREDICTED), *zeroed)


def _pad_targets(targets: Targets) -> Targets:
    """Targets of the graph without atoms that `pad_graphs` adds: unknown, so of weight zero."""
    per_graph = ("energy", "stress", "energy_weight", "stress_weight", "atoms")
    return targets._replace(
        **{
            name: torch.cat([value, torch.zeros_like(value[:1])])
            for name in per_graph
            for value in [getattr(targets, name)]
        }
    )
