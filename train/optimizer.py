"""AdamW with decoupled decay, warm-up and cosine, clipping, and an exponential moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS
from train.config import OptimizerConfig
from train.freezing import trainable
from train.group import ALONE, Group
from train.shards import Partition

ADAM = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of each parameter."""

EXTRA_RATE = 10.0
"""Times the learning rate: a log-variance has units to go where a weight has hundredths."""


def learning_rate(progress: float, config: OptimizerConfig) -> float:
    """Learning rate at a part 0 to 1 of the run: linear warm-up, then a cosine to `final_fraction` of the highest."""
    warmup = config.warmup_fraction
    if progress < warmup:
        return config.learning_rate * max(progress / warmup, 1e-3)
    done = (progress - warmup) / (1 - warmup)
    lowest = config.final_fraction
    return config.learning_rate * (lowest + (1 - lowest) * (1 + math.cos(math.pi * done)) / 2)


class Optimizer:
    """AdamW (Loshchilov, Hutter, ICLR 2019) and the averaged weights.

    Matrices decay; biases, norms and element embeddings do not (they are vectors of meaning, not maps). Where processes
    share the work, moments and average of a weight are on one of them, and its new value is told to all; the numbers
    are those of one process, to the bit.

    Args:
        module: those of its parameters that are not frozen are stepped in place.
        config: settings.
        extra: parameters beside those of the module, by name: log-variances of a loss. They are stepped `EXTRA_RATE`
            times as fast, and neither decay nor count in the norm that is clipped, nor are they averaged or shared.
        elements: atomic numbers that there are in training. Other rows of tables by element never have a gradient, and
            are left out of all work; without it every row is stepped, to the same end.
        groups: of each parameter the processes that share it, see `Partition`; without it this one steps all of them.
            With it all of these call `step`, `averaged` and `state` together.
    """

    def __init__(
        self,
        module: nn.Module,
        config: OptimizerConfig,
        extra: Mapping[str, nn.Parameter] | None = None,
        elements: Tensor | None = None,
        groups: Sequence[Group] | None = None,
    ) -> None:
        self.config, self.elements = config, elements
        self.steps = 0
        learnt = trainable(module)
        self.names, self.whole = list(learnt), list(learnt.values())
        embeddings = {id(p) for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
        tables = [elements is not None and id(p) in embeddings and len(p) == N_ELEMENTS for p in self.whole]
        self.rows = [elements if table else None for table in tables]
        self.stepped = [
            parameter if rows is None else nn.Parameter(parameter.detach()[rows])
            for parameter, rows in zip(self.whole, self.rows, strict=True)
        ]
        self.groups = list(groups or [ALONE] * len(self.whole))
        self.partition = Partition(self.stepped, self.groups)
        # the module's own, or views of them
        own = self.partition.own(self.stepped)
        self.parameters = [piece if isinstance(piece, nn.Parameter) else nn.Parameter(piece) for piece in own]
        no_decay = [p.dim() <= 1 or id(p) in embeddings for p in self.whole]
        rules = self._rules([0.0 if without else config.weight_decay for without in no_decay])
        self.adam = torch.optim.AdamW(rules, lr=config.learning_rate, betas=config.betas, fused=True)
        self.extra = dict(extra or {})
        if self.extra:
            self.adam.add_param_group({"params": list(self.extra.values()), "weight_decay": 0.0, "faster": EXTRA_RATE})
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    def _rules(self, decays: Sequence[float]) -> list[dict[str, Any]]:
        """Pieces of one decay and one rate each; `decays` are of the parameters."""
        rate = self.config.backbone_rate
        rates = [rate if name.startswith(("backbone.", "context.")) else 1.0 for name in self.names]
        kinds = [(decays[piece.place], rates[piece.place]) for piece in self.partition.pieces]
        rules: list[dict[str, Any]] = [
            {
                "params": [p for p, own in zip(self.parameters, kinds, strict=True) if own == kind],
                "weight_decay": kind[0],
                "faster": kind[1],
            }
            for kind in dict.fromkeys(kinds)
        ]
        return rules or [{"params": []}]  # few numbers may leave a process without any

    def step(
        self, gradients: list[Tensor], progress: float, extra: Sequence[Tensor] = (), norm: Tensor | None = None
    ) -> float:
        """One update.

        Args:
            gradients: one per parameter, of all processes together.
            progress: how much of the run is over, 0 to 1.
            extra: gradients of the extra parameters.
            norm: of all gradients, where these are not all.

        Returns:
            The norm of all gradients before clipping.
        """
        self._read_rows()
        gradients = [
            gradient if rows is None else gradient.index_select(0, rows)
            for gradient, rows in zip(gradients, self.rows, strict=True)
        ]
        norm = torch.nn.utils.get_total_norm(gradients) if norm is None else norm
        gradients = self.partition.own(gradients)
        if self.config.clip_norm is not None and gradients:  # few numbers may leave a process without any
            factor = (self.config.clip_norm / (norm + 1e-12)).clamp(max=1.0)
            gradients = list(torch._foreach_mul(gradients, factor))
        rate = learning_rate(progress, self.config)
        for group in self.adam.param_groups:
            group["lr"] = rate * group.get("faster", 1.0)
        for parameter, gradient in zip(self.extra.values(), extra, strict=True):
            parameter.grad = gradient
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.steps += 1
        if self.partition.shared:
            self.partition.gather(self.parameters, self.stepped)
        for whole, stepped, rows in zip(self.whole, self.stepped, self.rows, strict=True):
            if rows is not None:
                whole.data.index_copy_(0, rows, stepped.data)
        self._update_average()
        return float(norm)

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights by name (the weights themselves where `ema_decay` is none)."""
        averages = self.partition.whole(self.average)
        return {
            name: average if rows is None else whole.detach().index_copy(0, rows, average)
            for name, whole, average, rows in zip(self.names, self.whole, averages, self.rows, strict=True)
        }

    def _read_rows(self) -> None:
        """Somebody may have set the module's weights."""
        for whole, stepped, rows in zip(self.whole, self.stepped, self.rows, strict=True):
            if rows is not None:
                torch.index_select(whole.data, 0, rows, out=stepped.data)

    def _update_average(self) -> None:
        weights = [parameter.detach() for parameter in self.parameters]
        if not weights:
            return
        if self.config.ema_decay is None:
            torch._foreach_copy_(self.average, weights)
            return
        # young averages forget faster: the random start must not weigh for a thousand steps
        decay = min(self.config.ema_decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, weights, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """All tensors that a resumed run needs, by name, whatever the number of processes.

        Those of a parameter are on the first of the processes that share it; the others help, and keep nothing.
        """
        tensors = self._named("average", self.partition.whole(self.average))
        if self.steps:
            tensors |= self._named("step", [torch.tensor(float(self.steps)) for _ in self.names])
            for key in ADAM[1:]:
                own = [self.adam.state[parameter][key] for parameter in self.parameters]
                tensors |= self._named(key, self.partition.whole(own))
        for name, parameter in self.extra.items():
            tensors |= {f"{key}.{name}": value for key, value in self.adam.state[parameter].items()}
        return tensors

    def _named(self, key: str, whole: Sequence[Tensor]) -> dict[str, Tensor]:
        named = zip(self.names, whole, self.groups, strict=True)
        return {f"{key}.{name}": tensor for name, tensor, group in named if group.first}

    def load_state(self, tensors: dict[str, Tensor], steps: int) -> None:
        """The inverse of `state`, on each process by itself; `steps` have been taken."""
        self.steps = steps
        for average, saved in zip(self.average, self._own("average", tensors), strict=True):
            average.copy_(saved)
        if not steps:
            return
        count = tensors[f"step.{self.names[0]}"]
        moments = (self._own(key, tensors) for key in ADAM[1:])
        for parameter, *own in zip(self.parameters, *moments, strict=True):
            values = zip(ADAM, [count, *own], strict=True)
            self.adam.state[parameter] = {key: self._copied(value, parameter) for key, value in values}
        for name, parameter in self.extra.items():
            self.adam.state[parameter] = {key: self._copied(tensors[f"{key}.{name}"], parameter) for key in ADAM}

    def _own(self, key: str, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return self.partition.own([tensors[f"{key}.{name}"] for name in self.names])

    @staticmethod
    def _copied(value: Tensor, beside: Tensor) -> Tensor:
        """The fused step writes into what it remembers, which all lies where the parameter lies."""
        return value.to(beside.device, copy=True)
