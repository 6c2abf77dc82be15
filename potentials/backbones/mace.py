"""MACE: messages of many bodies from products of sums over neighbours."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, CountingConfig, PositiveInt, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.equivariant import DegreeLinear
from potentials.product_basis import ElementLinear, SymmetricProduct
from potentials.radial import BesselBasis
from potentials.radial_networks import RadialNetwork
from potentials.radial_tables import RadialTables
from potentials.slots import SlotMixture, edge_coupling, natural_kinds
from potentials.spherical import real_harmonics

ENVELOPE_ORDER = 5


class MACEConfig(CountingConfig):
    """Settings of `MACE`.

    Attributes:
        l_max: largest degree of the harmonics of edges and of the sums over neighbours.
        l_hidden: largest degree of the features that pass from layer to layer; at most `l_max`.
        correlation: how many sums over neighbours are multiplied; messages are of one body more.
        radial_widths: hidden features of the radial network.
    """

    name: Literal["mace"] = "mace"
    depth: PositiveInt = 2
    radial_size: Annotated[int, Field(ge=2)] = 8
    l_max: Annotated[int, Field(ge=1, le=3)] = 3
    l_hidden: Annotated[int, Field(ge=0, le=2)] = 1
    correlation: Annotated[int, Field(ge=1, le=3)] = 3
    radial_widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 64, 64)

    @model_validator(mode="after")
    def _degrees_fit(self) -> MACEConfig:
        if self.l_hidden > self.l_max:
            raise ValueError(
                f"l_hidden is {self.l_hidden} and l_max {self.l_max}; features come from products of harmonics up to"
                " l_max, so take l_hidden ≤ l_max"
            )
        return self


class MACE(Backbone):
    """MACE (Batatia, Kovács, Simm, Ortner, Csányi, NeurIPS 2022), with residual interactions in all layers.

    The function class is that of mace-torch at equal settings (its `RealAgnosticResidualInteractionBlock`, features of
    parity (-1)^l): a fixture of it is computed to rounding in the tests. What differs: the product basis has as many
    paths as are independent; weights carry their scale, where mace-torch multiplies at run time; instead of energies
    each layer adds features, the last of them through a SiLU, and a branch of the potential reads their sum.
    """

    def __init__(self, config: MACEConfig) -> None:
        super().__init__()
        self.width, self.cutoff, self.l_max = config.width, config.cutoff, config.l_max
        self.embedding = nn.Embedding(N_ELEMENTS, config.width)
        last = config.depth - 1
        self.layers = nn.ModuleList(
            MACELayer(config, l_in=config.l_hidden if layer else 0, l_out=0 if layer == last else config.l_hidden)
            for layer in range(config.depth)
        )
        # of the first layer the features are the element's own: its linear map of them is another embedding
        self.first_skip = nn.Embedding(N_ELEMENTS, config.width)
        self.skips = nn.ModuleList(
            ElementLinear(0 if layer == last else config.l_hidden, config.width, N_ELEMENTS)
            for layer in range(1, config.depth)
        )
        self.readouts = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))

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
        for number, layer in enumerate(self.layers):
            change_NMC = layer(features_NMC, atoms.numbers, geometry.distance, harmonics_EM, edges)
            if number:
                features_NMC = change_NMC + self.skips[number - 1](features_NMC, atoms.numbers)
            else:
                own_N1C = embed(self.first_skip, atoms)[:, None]
                features_NMC = torch.cat([change_NMC[:, :1] + own_N1C, change_NMC[:, 1:]], dim=1)
            found.append(features_NMC[:, 0])
        return found


class MACELayer(nn.Module):
    """Sums over neighbours A, and their products B (eqs. 8 to 11 of the paper).

    Args:
        config: of the backbone.
        l_in, l_out: largest degree of the features before and after.
    """

    def __init__(self, config: MACEConfig, *, l_in: int, l_out: int) -> None:
        super().__init__()
        width = config.width
        # nothing would see components of A that are neither multiplied nor handed on
        l_sums = config.l_max if config.correlation > 1 else l_out
        self.coupling, slots = edge_coupling(natural_kinds(l_in), config.l_max, natural_kinds(l_sums))
        self.before = DegreeLinear(l_in, width, width)
        basis = BesselBasis(config.cutoff, config.radial_size)
        self.radial: RadialNetwork | RadialTables = RadialNetwork(
            basis, config.radial_widths, (len(slots), width), ENVELOPE_ORDER
        )
        self.mix = SlotMixture(slots, width, gain=1 / config.neighbours)
        self.products = SymmetricProduct(l_sums, l_out, config.correlation, width, N_ELEMENTS)
        self.after = DegreeLinear(l_out, width, width)

    def forward(
        self, features_NMC: Tensor, numbers_N: Tensor, distance_E: Tensor, harmonics_EM: Tensor, edges: Edges
    ) -> Tensor:
        """[N, (l_in + 1)², C] to [N, (l_out + 1)², C]: what the layer adds to its skip connection."""
        sums_NMC = self.radial.sum_products(self.coupling, distance_E, self.before(features_NMC), harmonics_EM, edges)
        result_NMC: Tensor = self.after(self.products(self.mix(sums_NMC), numbers_N))
        return result_NMC
