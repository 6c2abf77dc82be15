"""The product basis of MACE: weighted powers of a feature; and linear maps by element.

Features are [N, components, channels] in the order of `Coupling`, of the parity (-1)^l.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from potentials.symmetric_powers import powers_of
from potentials.tensor_products import product


class ElementLinear(nn.Module):
    """Linear maps of channels for each degree and element: a matrix in a row of an embedding.

    Args:
        l_max: largest degree.
        width: channels.
        elements: rows of the embeddings.
    """

    def __init__(self, l_max: int, width: int, elements: int) -> None:
        super().__init__()
        self.width = width
        self.tables = nn.ModuleList(nn.Embedding(elements, width * width) for _ in range(l_max + 1))
        for table in self.tables:
            nn.init.normal_(table.get_parameter("weight"), std=width**-0.5)

    def forward(self, features_NMC: Tensor, numbers_N: Tensor) -> Tensor:
        """[N, components, C] of degrees l_max and more to the (l_max + 1)² components up to l_max."""
        parts = [
            torch.bmm(
                features_NMC[:, degree**2 : (degree + 1) ** 2],
                table(numbers_N).view(-1, self.width, self.width),
            )
            for degree, table in enumerate(self.tables)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class SymmetricProduct(nn.Module):
    """The product basis of MACE (Batatia et al., NeurIPS 2022, eqs. 10 and 11): B = w₁ A + w₂ A ⊗ A + w₃ A ⊗ A ⊗ A.

    Weights are of element, path and channel. Products of one channel with itself depend on each other; here are as many
    paths as are independent, which span the same space. Evaluated from the inside, as (w₃ A ⊗ A + w₂ A) ⊗ A + w₁ A.

    Args:
        l_in, l_out: largest degree of A and of B.
        correlation: largest power, 1 to 3.
        width: channels.
        elements: rows of the embeddings that hold the weights.
    """

    def __init__(self, l_in: int, l_out: int, correlation: int, width: int, elements: int) -> None:
        super().__init__()
        assert l_out <= l_in
        self.width = width
        self.powers = powers_of(l_in, l_out, correlation)
        self.tables = nn.ModuleList()
        for terms in self.powers.terms_of_weights:
            weight = torch.randn(elements, len(terms), width) / torch.tensor(terms)[:, None]
            table = nn.Embedding(elements, len(terms) * width)
            table.weight = nn.Parameter(weight.flatten(1))
            self.tables.append(table)

    def forward(self, features_NMC: Tensor, numbers_N: Tensor) -> Tensor:
        """[N, (l_in + 1)², C] and [N] atomic numbers to [N, (l_out + 1)², C]."""
        weights = [table(numbers_N).unflatten(1, (-1, self.width)) for table in self.tables]
        powers = self.powers
        result: Tensor = product(powers.first, weights[0], features_NMC)
        if powers.second is None or powers.last is None:
            return result
        partner_NMC = product(powers.second, weights[1], features_NMC)
        if powers.third is not None:
            partner_NMC = partner_NMC + product(powers.third, features_NMC, features_NMC, weights[2])
        return result + product(powers.last, partner_NMC, features_NMC)
