"""Layers that keep nothing for the pass back but what went into them, and are computed again there.

Training of forces differentiates twice. `torch.utils.checkpoint` then saves little: its first pass back computes a
layer again and, as it is itself to be differentiated, keeps all of it. Here the derivative of a layer is a function
that keeps only its arguments as well: both are computed again where the second pass back comes to them, one layer at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

Owner = tuple[nn.Module, str]
"""A module, and the name in it of a parameter."""

Around = Callable[[], AbstractContextManager[Any]]
"""Makes a context."""


class Recomputed:
    """A function of a module's weights and of arguments, recomputed in each pass back.

    Args:
        module: weights in it may be used by the function, and no others.
        function: of tensors, tuples and lists of them, and constants; gives tensors. Must be the same at each call.
        around: makes a context, which the function is computed in each time.
    """

    def __init__(self, module: nn.Module, function: Callable[..., Any], around: Around) -> None:
        self._module, self._function, self._around = module, function, around
        self._used: list[Owner] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """`function(*arguments)`; derivatives to weights and arguments exist twice."""
        leaves, spec = tree_flatten(arguments)
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if self._used is None:
            self._used = self._find_used(leaves, spec)
        constants = [None if place in places else leaf for place, leaf in enumerate(leaves)]
        call = _Call(self._computed, constants, places, spec, self._used)
        tensors = [leaves[place] for place in places]
        weights = [owner.get_parameter(name) for owner, name in self._used]
        outputs = _Layer.apply(call, *tensors, *weights)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return tree_unflatten(list(outputs), call.made_of)

    def _computed(self, *arguments: Any) -> Any:
        # a pass back leaves modes such as those of precision: `torch.autograd.grad` is itself a function that they see
        with self._around():
            return self._function(*arguments)

    def _find_used(self, leaves: Sequence[Any], spec: TreeSpec) -> list[Owner]:
        """Which weights have a part in the result, found by asking for their gradients once."""
        owners = [
            (part, name)
            for part in self._module.modules()
            for name, weight in part.named_parameters(recurse=False)
            if weight.requires_grad
        ]
        call = _Call(self._computed, [_detached(leaf) for leaf in leaves], [], spec, owners)
        with torch.enable_grad():
            weights = [_free(owner.get_parameter(name)) for owner, name in owners]
            results = call(weights)
            found = torch.autograd.grad(_sum(results), weights, allow_unused=True)
        return [owner for owner, gradient in zip(owners, found, strict=True) if gradient is not None]


@dataclass
class _Call:
    """One call of the function: all but the tensors that it is differentiated with respect to."""

    function: Callable[..., Any]
    constants: list[Any]
    places: list[int]
    spec: TreeSpec
    owners: list[Owner]
    made_of: Any = None

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Results for arguments at `places` and weights of `owners`."""
        leaves = list(self.constants)
        for place, tensor in zip(self.places, tensors, strict=False):
            leaves[place] = tensor
        with _weights(self.owners, tensors[len(self.places) :]):
            results, self.made_of = tree_flatten(self.function(*tree_unflatten(leaves, self.spec)))
        return tuple(results)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(*tensors)
        with torch.no_grad():
            return call([tensor.detach() for tensor in tensors])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *_Back.apply(ctx.call, len(ctx.saved_tensors), *ctx.saved_tensors, *grads))  # type: ignore[no-untyped-call]  # as above


class _Back(torch.autograd.Function):
    """The derivative of a layer, a function of its arguments and of what comes back to it."""

    @staticmethod
    def forward(ctx: Any, call: _Call, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call, ctx.count = call, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        with torch.enable_grad():
            own = [_free(tensor) for tensor in tensors[:count]]
            return torch.autograd.grad(call(own), own, tensors[count:], materialize_grads=True)

    @staticmethod
    def backward(ctx: Any, *seconds: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            own = [_free(tensor) for tensor in ctx.saved_tensors]
            wanted = [number for number, second in enumerate(seconds) if second is not None]
            firsts = torch.autograd.grad(
                ctx.call(own[: ctx.count]),
                [own[number] for number in wanted],
                own[ctx.count :],
                create_graph=True,
                materialize_grads=True,
            )
        depending = [
            (first, seconds[number]) for first, number in zip(firsts, wanted, strict=True) if first.requires_grad
        ]
        if not depending:
            return (None, None, *[None] * len(own))
        varied, given = zip(*depending, strict=True)
        return (None, None, *torch.autograd.grad(varied, own, given, allow_unused=True))


def _free(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.sum() for tensor in tensors]).sum()


@contextmanager
def _weights(owners: Sequence[Owner], tensors: Sequence[Tensor]) -> Iterator[None]:
    """Other tensors in the place of weights: those in place are read by others meanwhile, and have hooks on them."""
    kept = [owner._parameters[name] for owner, name in owners]
    try:
        for (owner, name), tensor in zip(owners, tensors, strict=True):
            owner._parameters[name] = tensor  # type: ignore[assignment]  # as torch.func.functional_call does
        yield
    finally:
        for (owner, name), weight in zip(owners, kept, strict=True):
            owner._parameters[name] = weight
