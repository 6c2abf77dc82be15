"""How much each task weighs: as the run file says, by learnt uncertainties, or by the size of gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from train.config import LossConfig
from train.freezing import trainable
from train.step import StepResult
from train.tasks import Task

MEMORY = 0.9
"""Share of the running norm of a task's gradient that a new measurement leaves."""

Step = Callable[[Tensor | None], StepResult]


class Balance:
    """Factors of the tasks, on top of the weights of the run file, and what is learnt or measured for them.

    "uncertainty" (Kendall, Gal, Cipolla, CVPR 2018): the loss is Σ_t (exp(-s_t) L_t + s_t) / 2 with a learnt
    log-variance s_t for each task; a task takes part where the batch has labels of it. It is derived for Gaussian
    errors and squared deviations; with Huber's penalty it is a rule, not a likelihood. A weight w_t of the run file is
    where s_t begins, at -log w_t: what training makes of it depends on the data alone.

    "gradient_norm": the norm g_t of the gradient of each L_t with respect to the backbone is measured on one batch
    every `every` steps, one step for each task, and remembered as a running mean. Factors are mean(g) / g_t, so that
    the terms pull on the backbone in the ratio of their weights w_t. This is what GradNorm (Chen et al., ICML 2018)
    aims at with its α = 0, set directly instead of by gradient steps on the weights; its α, which favours tasks that
    learn slowly, is not here.

    Args:
        config: `[loss]`.
        tasks: terms of the loss.
        module: what is learnt of the potential, whose gradients are measured.

    Raises:
        ValueError: gradients of a backbone that is frozen are to be measured.
    """

    def __init__(self, config: LossConfig, tasks: Sequence[Task], module: nn.Module) -> None:
        self.weighting, self.every = config.weighting, config.balance_every
        device = next(module.parameters()).device
        self.weight_T = torch.tensor([task.term.weight for task in tasks], dtype=torch.float64, device=device)
        self.counts_T = self.weight_T > 0
        start_T = -torch.log(torch.where(self.counts_T, self.weight_T, torch.ones_like(self.weight_T)))
        self.log_variance_T = nn.Parameter(start_T)
        self.norm_T = torch.zeros_like(start_T)
        self._backbone = [name.startswith("backbone.") for name in trainable(module)]
        if self.weighting == "gradient_norm" and not any(self._backbone):
            raise ValueError(
                'loss.weighting = "gradient_norm" goes by gradients of the backbone, which is all frozen;'
                " choose another"
            )

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What the optimizer has to learn beside the weights of the potential."""
        return {"loss.log_variance": self.log_variance_T} if self.weighting == "uncertainty" else {}

    def factors(self) -> Tensor | None:
        """[T] what each weighted term is multiplied by; none where weights are fixed."""
        if self.weighting == "fixed":
            return None
        if self.weighting == "uncertainty":
            weight_T = torch.where(self.counts_T, self.weight_T, torch.ones_like(self.weight_T))
            return 0.5 * torch.exp(-self.log_variance_T.detach()) / weight_T
        measured_T = self.norm_T > 0
        share_T = self.weight_T * measured_T
        mean = (share_T * self.norm_T).sum() / share_T.sum().clamp(min=1e-300)
        return torch.where(measured_T, mean / self.norm_T.clamp(min=1e-300), torch.ones_like(mean))

    def gradients(self, result: StepResult) -> list[Tensor]:
        """Of the loss with respect to `parameters`: (1 - exp(-s_t) L_t) / 2 where the batch has labels of the task."""
        if self.weighting != "uncertainty":
            return []
        slope_T = 0.5 - result.terms
        return [torch.where(result.known & self.counts_T, slope_T, torch.zeros_like(slope_T))]

    def measure(self, step: Step, steps: int) -> None:
        """Measure the gradients of the tasks by a `step` of given factors, where it is time to; `steps` are taken."""
        if self.weighting != "gradient_norm" or steps % self.every:
            return
        for row in torch.nonzero(self.counts_T)[:, 0].tolist():
            alone_T = torch.zeros_like(self.weight_T)
            alone_T[row] = 1 / self.weight_T[row]
            result = step(alone_T)
            chosen = [g for g, shared in zip(result.gradients, self._backbone, strict=True) if shared]
            norm = torch.nn.utils.get_total_norm(chosen).double()
            if bool(result.known[row]) and bool(torch.isfinite(norm)):
                before = self.norm_T[row]
                self.norm_T[row] = torch.where(before > 0, MEMORY * before + (1 - MEMORY) * norm, norm)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        if self.weighting == "uncertainty":
            return {"log_variance": self.log_variance_T.detach()}
        return {"norm": self.norm_T} if self.weighting == "gradient_norm" else {}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        with torch.no_grad():
            for name, own in self.state().items():
                own.copy_(tensors[name])
