"""Low-rank changes of dense weights (LoRA), beside the potential and not in it.

Hu et al., ICLR 2022 (arXiv:2106.09685): a weight is W = W0 + α/r · B A with factors of rank r that alone are learnt. B
begins at zero, so that the potential begins as it was. Changed are weights that map channels and nothing else, the same
for all components of a vector or tensor, so that what is equivariant stays so whatever the factors are (the
thought of ELoRA, ICML 2025, whose factors are those of each path).

The potential always holds the sums W: evaluation, validation and checkpoint need to know nothing of factors, and a step
is that of any potential, compiled or not. Its gradient G of W gives those of the factors, α/r · Bᵀ G and α/r · G Aᵀ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from potentials.backbones.mfc import MFC
from potentials.equivariant import DegreeLinear
from potentials.potential import Potential
from potentials.slots import SlotMixture
from train.config_fine_tune import LoraConfig


def dense_weights(potential: Potential) -> dict[str, bool]:
    """Names of the weights that are matrices [..., a, b] between channels, and whether a is what comes in.

    Linear layers, maps for each degree (`DegreeLinear`: mace, ember), for each kind of slot (`SlotMixture`: nequip) and
    for each number of neighbours (mfc). Not: what elements look up in tables (embeddings, the skip connections and
    products of mace and ember), and weights of single channels.
    """
    found: dict[str, bool] = {}
    for path, module in potential.named_modules():
        if isinstance(module, nn.Linear):
            found[f"{path}.weight"] = False
        elif isinstance(module, DegreeLinear):
            found[f"{path}.weight_LCD"] = True
        elif isinstance(module, SlotMixture):
            found |= {f"{path}.weights.{number}": True for number in range(len(module.weights))}
        elif isinstance(module, MFC):
            found |= {f"{path}.matrices.{number}": True for number in range(len(module.matrices))}
    return found


class Factors:
    """W0 and the factors of the change of one weight.

    Attributes:
        base: [..., a, b] W0.
        down: A [..., r, in], random.
        up: B [..., out, r], zero at first.

    Args:
        weight: W0, that of the potential.
        config: rank and alpha.
        input_first: whether a, and not b, is the number of channels that come in.
    """

    def __init__(self, weight: Tensor, config: LoraConfig, generator: torch.Generator, *, input_first: bool) -> None:
        self.base = weight.detach().clone()
        self.input_first = input_first
        self.scale = config.alpha / config.rank
        *batch, rows, columns = weight.shape
        size_in, size_out = (rows, columns) if input_first else (columns, rows)
        rank = min(config.rank, rows, columns)
        # as the paper's code: of the variance that torch gives a linear layer
        down = (2 * torch.rand(*batch, rank, size_in, generator=generator) - 1) / math.sqrt(size_in)
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(*batch, size_out, rank))

    def weight(self, down: Tensor, up: Tensor) -> Tensor:
        """W of given factors."""
        change = self.scale * (up @ down)
        return self.base + (change.mT if self.input_first else change)

    def gradients(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Of A and of B, given that of W."""
        change = self.scale * (gradient.mT if self.input_first else gradient)
        return self.up.detach().mT @ change, change @ self.down.detach().mT
