"""One training step's mathematics: batch in, loss and gradients out; compiled or not, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from potentials.compiled import check_compiler, compile_function, example_inputs, pad_graphs, weights_and_buffers
from potentials.derivatives import TensorInputs, prepare
from potentials.potential import Potential
from train.labelled import Labelled
from train.losses import Targets, loss_sums, make_targets, total_weights
from train.precision import Precision, products_in
from train.ready import Ready, telling
from train.tasks import Task

N_INPUTS = len(TensorInputs._fields)


@dataclass(frozen=True)
class StepResult:
    """What a batch gave.

    Attributes:
        loss: scalar.
        gradients: one per weight that is learnt, in the order of ``step.weights``; zero where the batch has no say.
        predicted: energy [G] and what else the loss has terms of: forces [N, 3], stress [G, 3, 3], outputs.
        terms: [T] the loss of each task; their sum is the loss. 0 where the batch has no label of it.
        known: [T] whether the batch has labels of the task.
    """

    loss: Tensor
    gradients: list[Tensor]
    predicted: dict[str, Tensor]
    terms: Tensor
    known: Tensor


class Step(Protocol):
    """A batch to loss and gradients: `LossAndGradients`, or one whose gradients are of other weights."""

    potential: Potential
    tasks: tuple[Task, ...]

    @property
    def weights(self) -> list[nn.Parameter]:
        """What gradients are of, in their order."""

    def totals(self, batch: Labelled) -> Tensor:
        """See `LossAndGradients`."""

    def __call__(
        self,
        batch: Labelled,
        factors: Tensor | None = None,
        totals: Tensor | None = None,
        ready: Ready | None = None,
    ) -> StepResult:
        """See `LossAndGradients`."""


class LossAndGradients:
    """Loss and its gradients with respect to all weights that are not frozen (``requires_grad``) when it is made.

    Args:
        potential: the weights are read from it at every call.
        tasks: terms of the loss. Where none of weight is of forces or stress, these are not computed: a step of direct
            forces alone needs one derivative instead of two.
        dataset_weights: by index of the data set.
        compiled: compile loss, forces and gradients into one function at the first call; batches with fewer than two
            atoms or two pairs are computed without it.
        precision: of the products of matrices in the network, see `train.precision`.
        recompute: keep nothing of the layers for the passes back, see `potentials.recomputed`; not with `compiled`.

    Raises:
        ValueError: `compiled` without a C++ compiler.
    """

    def __init__(
        self,
        potential: Potential,
        tasks: Sequence[Task],
        dataset_weights: Sequence[float],
        *,
        compiled: bool,
        precision: Precision = "float32",
        recompute: bool = False,
    ) -> None:
        assert not (compiled and recompute), "in one graph of operations nothing is computed twice"
        if compiled:
            check_compiler(potential.device)
        self.potential = potential
        self.tasks = tuple(tasks)
        self.dataset_weights = tuple(dataset_weights)
        self.compiled, self.precision = compiled, precision
        potential.backbone.recompute_layers(recompute, partial(products_in, precision))
        counting = [task for task in self.tasks if task.term.weight]
        self._derivatives = any(task.name in {"forces", "stress"} for task in counting)
        self._predicted = tuple(dict.fromkeys(["energy", *(task.name for task in counting)]))
        self._function: Callable[..., tuple[Tensor, ...]] | None = None
        self._names = [name for name, weight in potential.named_parameters() if weight.requires_grad]
        self._silent: set[int] = set()
        self._state = weights_and_buffers(potential)

    @property
    def weights(self) -> list[nn.Parameter]:
        """What gradients are of, in their order."""
        return [self.potential.get_parameter(name) for name in self._names]

    def totals(self, batch: Labelled) -> Tensor:
        """[T] weight of the labels of each task in a batch: sums over all batches of a step are what it divides by."""
        return total_weights(make_targets(batch, self.dataset_weights, self.tasks), self.tasks)

    def __call__(
        self,
        batch: Labelled,
        factors: Tensor | None = None,
        totals: Tensor | None = None,
        ready: Ready | None = None,
    ) -> StepResult:
        """Loss and gradients of one batch, or its part of them.

        Args:
            batch: structures with labels.
            factors: [T] what each task is multiplied by, on top of the weight of its term; 1 where left out.
            totals: [T] weight of the labels of all batches of the step; those of this one where left out.
            ready: called once for each of `weights` with its gradient: as it becomes known while the pass back goes on
                (eager), or for all of them at the end (compiled).
        """
        inputs = prepare(batch.graph, self.potential.dtype)
        targets = make_targets(batch, self.dataset_weights, self.tasks)
        totals = total_weights(targets, self.tasks) if totals is None else totals
        known, n_graphs = totals > 0, batch.graph.n_graphs
        divisors = totals.clamp(min=1e-300) if factors is None else totals.clamp(min=1e-300) / factors
        if not self.compiled or batch.graph.n_atoms < 2 or batch.graph.n_edges < 4:
            values = self._eager(inputs, targets, divisors, ready)
        else:
            values = self._compile()(self._state, [*pad_graphs(inputs), *self._padded(targets).tensors(), *divisors])
            if ready is not None:
                for number, gradient in enumerate(values[1 + len(self._predicted) :]):
                    ready(number, gradient)
        terms, *rest = values
        predicted = dict(zip(self._predicted, rest, strict=False))
        for name, row in self.potential.quantities.items():
            if name in predicted and row.level == "graph":
                predicted[name] = predicted[name][:n_graphs]
        return StepResult(terms.sum(), rest[len(self._predicted) :], predicted, terms, known)

    def _compile(self) -> Callable[..., tuple[Tensor, ...]]:
        if self._function is None:
            device = self.potential.device
            inputs = example_inputs(device, self.potential.dtype)
            sizes = {"atom": inputs.numbers.shape[0], "graph": inputs.cell.shape[0]}
            exact: dict[str, Any] = {"dtype": torch.float64, "device": device}
            rows = [task.quantity for task in self.tasks]
            targets = Targets(
                tuple(torch.zeros(sizes[row.level], *row.shape, **exact) for row in rows),
                tuple(torch.ones(sizes[row.level], **exact) for row in rows),
                torch.ones(sizes["graph"], **exact),
            )
            divisors = torch.ones(len(rows), **exact)
            self._function = compile_function(self._traced, self._state, [*inputs, *targets.tensors(), *divisors])
        return self._function

    def _traced(self, state: Mapping[str, Tensor], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            weights = {name: state[name].detach().requires_grad_() for name in self._names}
            inputs, rest = TensorInputs(*tensors[:N_INPUTS]), tensors[N_INPUTS:]
            count = len(self.tasks)
            targets, divisors = Targets.of(rest[:-count]), torch.stack(list(rest[-count:]))
            given = {"derivatives": self._derivatives}
            with products_in(self.precision):
                results = torch.func.functional_call(self.potential, {**state, **weights}, (inputs,), given)
            return self._differentiate(results, targets, divisors, [weights[name] for name in self._names])

    def _eager(
        self, inputs: TensorInputs, targets: Targets, divisors: Tensor, ready: Ready | None
    ) -> tuple[Tensor, ...]:
        weights = self.weights
        with torch.enable_grad(), products_in(self.precision), telling(weights, ready, self._silent) as tell_rest:
            results = self.potential(inputs, derivatives=self._derivatives)
            values = self._differentiate(results, targets, divisors, weights)
            tell_rest()
        return values

    def _differentiate(
        self, results: Mapping[str, Tensor], targets: Targets, divisors: Tensor, weights: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        terms = loss_sums(results, targets, self.tasks) / divisors
        gradients = torch.autograd.grad(terms.sum(), weights, allow_unused=True)
        zeroed = [
            torch.zeros_like(weight) if gradient is None else gradient
            for weight, gradient in zip(weights, gradients, strict=True)
        ]
        return (terms.detach(), *(results[name].detach() for name in self._predicted), *zeroed)

    def _padded(self, targets: Targets) -> Targets:
        """Targets with the graph without atoms that `pad_graphs` adds: unknown, so of weight zero."""

        def padded(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(
                torch.cat([value, torch.zeros_like(value[:1])]) if task.quantity.level == "graph" else value
                for task, value in zip(self.tasks, values, strict=True)
            )

        atoms = torch.cat([targets.atoms, torch.zeros_like(targets.atoms[:1])])
        return Targets(padded(targets.labels), padded(targets.weights), atoms)
