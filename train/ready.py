"""Gradients of weights one by one, as a pass back comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

Ready = Callable[[int, Tensor], None]
"""Told the number of a parameter and its gradient."""


@contextmanager
def telling(weights: Sequence[Tensor], ready: Ready | None, silent: set[int]) -> Iterator[Callable[[], None]]:
    """Call `ready` once for each weight, with its whole gradient, as soon as a pass back knows it.

    Weights that the loss does not depend on never get one: they are told, as zeros, at the end. Which these are does
    not depend on the batch, so that from the second time on they are told at the beginning, and nothing waits for them.

    Args:
        weights: that a pass back is made to.
        ready: or none.
        silent: numbers of the weights without a gradient, kept between calls.

    Yields:
        What is to be called after the pass back: it tells the rest.
    """
    told: set[int] = set()

    def tell(number: int, gradient: Tensor) -> None:
        assert number not in told, f"the gradient of weight {number} was told before"
        told.add(number)
        assert ready is not None
        ready(number, gradient.detach())

    def tell_rest() -> None:
        late = [number for number in range(len(weights)) if number not in told] if ready else []
        for number in late:
            tell(number, torch.zeros_like(weights[number]))
        silent.update(late)

    hooks = []
    if ready is not None:
        for number in sorted(silent):
            tell(number, torch.zeros_like(weights[number]))
        for number, weight in enumerate(weights):
            hooks.append(weight.register_hook(partial(tell, number)))  # type: ignore[no-untyped-call]  # torch's
    try:
        yield tell_rest
    finally:
        for hook in hooks:
            hook.remove()
