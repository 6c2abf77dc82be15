"""What MACE and EMBER share: sums over neighbours, their products on the atoms, and layers of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, CountingConfig, PositiveInt, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.equivariant import DegreeLinear
from potentials.native.tables import Coupling
from potentials.product_basis import ElementLinear, SymmetricProduct
from potentials.radial import BesselBasis
from potentials.radial_networks import RadialNetwork
from potentials.radial_tables import RadialTables
from potentials.spherical import real_harmonics

ENVELOPE_ORDER = 5


class ManyBodyConfig(CountingConfig):
    """Settings of `ManyBody`.

    Attributes:
        l_max: largest degree of the harmonics of edges and of the sums over neighbours.
        l_hidden: largest degree of the features that pass from layer to layer; at most `l_max`.
        correlation: how many sums over neighbours are multiplied; messages are of one body more.
        radial_widths: hidden features of the radial network; free at inference, where it is tabulated.
        bounded: whether sums are bounded before they are multiplied: for data from molecules to compressed crystals.
    """

    depth: PositiveInt = 2
    radial_size: Annotated[int, Field(ge=2)] = 8
    l_max: Annotated[int, Field(ge=1, le=3)] = 3
    l_hidden: Annotated[int, Field(ge=0, le=2)] = 1
    correlation: Annotated[int, Field(ge=1, le=3)] = 3
    radial_widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 64, 64)
    bounded: bool = False

    @model_validator(mode="after")
    def _degrees_fit(self) -> Self:
        if self.l_hidden > self.l_max:
            raise ValueError(
                f"l_hidden is {self.l_hidden} and l_max {self.l_max}; features come from products of harmonics up to"
                " l_max, so take l_hidden ≤ l_max"
            )
        return self

    def l_sums(self, l_out: int) -> int:
        """Largest degree of the sums over neighbours of a layer with features up to `l_out` after it."""
        # nothing would see components that are neither multiplied nor handed on
        return self.l_max if self.correlation > 1 else l_out


class ManyBody(Backbone):
    """Layers of sums over neighbours and their products, each with a skip connection.

    Args:
        config: settings.
        layer: what makes a layer, of `l_in` and `l_out`, the largest degrees of the features before and after.
    """

    def __init__(self, config: ManyBodyConfig, layer: Callable[..., ManyBodyLayer]) -> None:
        super().__init__()
        self.width, self.cutoff, self.l_max = config.width, config.cutoff, config.l_max
        self.embedding = nn.Embedding(N_ELEMENTS, config.width)
        after = [config.l_hidden] * (config.depth - 1) + [0]
        self.layers = nn.ModuleList(
            layer(config, l_in=config.l_hidden if number else 0, l_out=l_out) for number, l_out in enumerate(after)
        )
        # of the first layer the features are the element's own: its linear map of them is another embedding
        self.first_skip = nn.Embedding(N_ELEMENTS, config.width)
        self.skips = nn.ModuleList(ElementLinear(l_out, config.width, N_ELEMENTS) for l_out in after[1:])
        self.readouts = nn.ModuleList(nn.Linear(config.width, config.width) for _ in after)

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        scalars = self.scalars(atoms, geometry, edges)
        read = [readout(scalar_NF) for readout, scalar_NF in zip(self.readouts, scalars, strict=True)]
        features_NF: Tensor = sum(read[:-1], nn.functional.silu(read[-1]))
        return features_NF

    def scalars(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> list[Tensor]:
        """[N, F] invariant features after each layer."""
        harmonics_EM = real_harmonics(geometry.direction, self.l_max)
        features_NMC, found = embed(self.embedding, atoms)[:, None], []
        for number in range(len(self.layers)):
            around = geometry.distance, harmonics_EM, edges
            change_NMC = self.apart(self._layer, number, features_NMC, atoms.numbers, *around)
            if number:
                features_NMC = change_NMC + self.skips[number - 1](features_NMC, atoms.numbers)
            else:
                own_N1C = embed(self.first_skip, atoms)[:, None]
                features_NMC = torch.cat([change_NMC[:, :1] + own_N1C, change_NMC[:, 1:]], dim=1)
            found.append(features_NMC[:, 0])
        return found

    def _layer(self, number: int, *given: Any) -> Any:
        return self.layers[number](*given)


class ManyBodyLayer(nn.Module):
    """Sums over neighbours A, and their products B (MACE, eqs. 8 to 11).

    Args:
        config: of the backbone.
        degrees: largest degrees of the features before, of A, and of the features after.
        coupling: of features with harmonics to sums.
        mix: makes A of the sums.
    """

    def __init__(
        self, config: ManyBodyConfig, degrees: tuple[int, int, int], coupling: Coupling, mix: nn.Module
    ) -> None:
        super().__init__()
        width, (self.l_in, l_sums, self.l_out) = config.width, degrees
        self.coupling = coupling
        self.before = DegreeLinear(self.l_in, width, width)
        self.radial: RadialNetwork | RadialTables = RadialNetwork(
            BesselBasis(config.cutoff, config.radial_size),
            config.radial_widths,
            (len(coupling.paths), width),
            ENVELOPE_ORDER,
        )
        self.mix, self.bounded = mix, config.bounded
        self.products = SymmetricProduct(l_sums, self.l_out, config.correlation, width, N_ELEMENTS)
        self.after = DegreeLinear(self.l_out, width, width)

    def forward(
        self, features_NMC: Tensor, numbers_N: Tensor, distance_E: Tensor, harmonics_EM: Tensor, edges: Edges
    ) -> Tensor:
        """[N, (l_in + 1)², C] to [N, (l_out + 1)², C]: what the layer adds to its skip connection."""
        sums_NMC = self.radial.sum_products(self.coupling, distance_E, self.before(features_NMC), harmonics_EM, edges)
        sums_NMC = self.mix(sums_NMC)
        if self.bounded:
            sums_NMC = bounded(sums_NMC)
        result_NMC: Tensor = self.after(self.products(sums_NMC, numbers_N))
        return result_NMC


def bounded(sums_NMC: Tensor) -> Tensor:
    """[N, M, C]: as they are where they are small, of mean square 1 over channels where they are large.

    Sums grow with the number of neighbours, and their products with its third power, which is too much for weights that
    serve molecules, with 15 neighbours within 5 Å, and crystals under pressure, with 150. One smooth factor for an
    atom, of what rotations leave alone.
    """
    squares_N11 = sums_NMC.square().sum(dim=1, keepdim=True).mean(dim=2, keepdim=True)
    return sums_NMC * torch.rsqrt(1 + squares_N11)
