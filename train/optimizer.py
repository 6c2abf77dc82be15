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

    Matrices decay; biases, norms and element embeddings do not (they are vectors of meaning, not maps).

    Args:
        module: those of its parameters that are not frozen are stepped in place.
        config: settings.
        extra: parameters beside those of the module, by name: log-variances of a loss. They are stepped `EXTRA_RATE`
            times as fast, and neither decay nor count in the norm that is clipped, nor are they averaged.
        elements: atomic numbers that there are in training. Other rows of tables by element never have a gradient, and
            are left out of all work; without it every row is stepped, to the same end.
    """

    def __init__(
        self,
        module: nn.Module,
        config: OptimizerConfig,
        extra: Mapping[str, nn.Parameter] | None = None,
        elements: Tensor | None = None,
    ) -> None:
        self.config, self.elements = config, elements
        self.steps = 0
        learnt = trainable(module)
        self.names, self.whole = list(learnt), list(learnt.values())
        embeddings = {id(p) for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
        tables = [elements is not None and id(p) in embeddings and len(p) == N_ELEMENTS for p in self.whole]
        self.rows = [elements if table else None for table in tables]
        self.parameters = [
            parameter if rows is None else nn.Parameter(parameter.detach()[rows])
            for parameter, rows in zip(self.whole, self.rows, strict=True)
        ]
        no_decay = [p.dim() <= 1 or id(p) in embeddings for p in self.whole]
        groups = self._groups([0.0 if without else config.weight_decay for without in no_decay])
        self.adam = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
        self.extra = dict(extra or {})
        if self.extra:
            self.adam.add_param_group({"params": list(self.extra.values()), "weight_decay": 0.0, "faster": EXTRA_RATE})
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    def _groups(self, decays: Sequence[float]) -> list[dict[str, Any]]:
        """Parameters of one decay and one rate each; `decays` are of the parameters."""
        rate = self.config.backbone_rate
        rates = [rate if name.startswith(("backbone.", "context.")) else 1.0 for name in self.names]
        kinds = list(zip(decays, rates, strict=True))
        return [
            {
                "params": [p for p, own in zip(self.parameters, kinds, strict=True) if own == kind],
                "weight_decay": kind[0],
                "faster": kind[1],
            }
            for kind in dict.fromkeys(kinds)
        ]

    def step(
        self, gradients: list[Tensor], progress: float, extra: Sequence[Tensor] = (), norm: Tensor | None = None
    ) -> float:
        """One update.

        Args:
            gradients: one per parameter.
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
        if self.config.clip_norm is not None:
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
        for whole, parameter, rows in zip(self.whole, self.parameters, self.rows, strict=True):
            if rows is not None:
                whole.data.index_copy_(0, rows, parameter.data)
        self._update_average()
        return float(norm)

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights by name (the weights themselves where `ema_decay` is none)."""
        return {
            name: average if rows is None else whole.detach().index_copy(0, rows, average)
            for name, whole, average, rows in zip(self.names, self.whole, self.average, self.rows, strict=True)
        }

    def _read_rows(self) -> None:
        """Somebody may have set the module's weights."""
        for whole, parameter, rows in zip(self.whole, self.parameters, self.rows, strict=True):
            if rows is not None:
                torch.index_select(whole.data, 0, rows, out=parameter.data)

    def _update_average(self) -> None:
        weights = [parameter.detach() for parameter in self.parameters]
        if self.config.ema_decay is None:
            torch._foreach_copy_(self.average, weights)
            return
        # young averages forget faster: the random start must not weigh for a thousand steps
        decay = min(self.config.ema_decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, weights, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """All tensors that a resumed run needs, by name."""
        tensors = {}
        for name, parameter, average in zip(self.names, self.parameters, self.average, strict=True):
            tensors[f"average.{name}"] = average
            for key in ADAM if parameter in self.adam.state else ():
                tensors[f"{key}.{name}"] = self.adam.state[parameter][key]
        for name, parameter in self.extra.items():
            tensors |= {f"{key}.{name}": value for key, value in self.adam.state[parameter].items()}
        return tensors

    def load_state(self, tensors: dict[str, Tensor], steps: int) -> None:
        """The inverse of `state`; `steps` have been taken."""
        self.steps = steps
        for name, average in zip(self.names, self.average, strict=True):
            average.copy_(tensors[f"average.{name}"])
        if not steps:
            return
        for name, parameter in [*zip(self.names, self.parameters, strict=True), *self.extra.items()]:
            # clones: the fused step writes into them, and all three lie where the parameter lies
            self.adam.state[parameter] = {key: tensors[f"{key}.{name}"].to(parameter.device, copy=True) for key in ADAM}
