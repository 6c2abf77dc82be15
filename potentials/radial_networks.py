"""Radial factors as a network of the distance alone, in place or as a table."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potentials.edges import Edges
from potentials.native.tables import Coupling
from potentials.radial import BesselBasis, polynomial_envelope
from potentials.radial_tables import FEWEST_KNOTS, RadialTables, tabulate
from potentials.tensor_products import edge_product

SILU_GAIN = 1.6765
"""One over the root mean square of SiLU of a normal number."""


class RadialNetwork(nn.Module):
    """Bessel functions through layers with SiLU between them, to a factor of each path and channel.

    Without biases: factors end at the cutoff as smoothly as the functions do.

    Args:
        basis: Bessel functions.
        widths: hidden features.
        shape: paths and channels.
        order: of the envelope.
    """

    def __init__(self, basis: BesselBasis, widths: Sequence[int], shape: tuple[int, int], order: int) -> None:
        super().__init__()
        self.basis, self.shape, self.order = basis, shape, order
        layers: list[nn.Module] = []
        sizes = (len(basis.frequency_B), *widths, math.prod(shape))
        for number, (size_in, size_out) in enumerate(itertools.pairwise(sizes)):
            linear = nn.Linear(size_in, size_out, bias=False)
            nn.init.normal_(linear.weight, std=(SILU_GAIN if number else 1.0) / math.sqrt(size_in))
            layers += [linear, nn.SiLU()]
        self.network = nn.Sequential(*layers[:-1])

    def forward(self, distance_E: Tensor) -> Tensor:
        """[E] Å to [E, P, C]."""
        envelope_E = polynomial_envelope(distance_E, self.basis.cutoff, self.order)
        radial_EF: Tensor = self.network(self.basis(distance_E, envelope_E))
        return radial_EF.view(-1, *self.shape)

    def sum_products(
        self, coupling: Coupling, distance_E: Tensor, left_NLC: Tensor, right_EM: Tensor, edges: Edges
    ) -> Tensor:
        """`edge_product` with the factors of this network."""
        return edge_product(coupling, self(edges.of_pairs(distance_E)), left_NLC, right_EM, edges)

    def tabulated(self, fewest: int = FEWEST_KNOTS) -> RadialTables:
        """A table of so many knots or more that stands for this network; errors as `tabulate`."""
        exact = copy.deepcopy(self).double().cpu()
        exact.network = nn.Sequential(*(_Swish() if isinstance(layer, nn.SiLU) else layer for layer in exact.network))
        with torch.no_grad():
            return tabulate(exact, self.basis.cutoff, next(self.parameters()), fewest)


class _Swish(nn.Module):
    """SiLU, written so that forward derivatives of any order exist: tables want two."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * torch.sigmoid(x)
