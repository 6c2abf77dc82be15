"""EMBER: many-body expansion on atoms, light edges whose radial functions can be tabulated."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, CountingConfig, PositiveInt, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.equivariant import DegreeLinear, PathWeights, natural_coupling
from potentials.radial import BesselBasis
from potentials.radial_networks import RadialNetwork
from potentials.radial_tables import RadialTables
from potentials.spherical import n_components, real_harmonics
from potentials.tensor_products import product

ENVELOPE_ORDER = 6


class EmberConfig(CountingConfig):
    """Settings of `Ember`.

    Attributes:
        radial_size: number of Bessel functions.
        radial_widths: hidden features of the radial networks; free at inference, where they are tabulated.
        l_max: degree of the harmonics that expand the surroundings of an atom.
        l_hidden: degree of what atoms tell each other after the first layer.
    """

    name: Literal["ember"] = "ember"
    depth: PositiveInt = 2
    radial_size: Annotated[int, Field(ge=2)] = 8
    radial_widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 64)
    l_max: Annotated[int, Field(ge=0, le=4)] = 3
    l_hidden: Annotated[int, Field(ge=0, le=4)] = 1


class Ember(Backbone):
    """Equivariant Many-Body Expansion with tabulated Radials: our own selection of what is proven.

    Each layer expands the surroundings of an atom in harmonics and learnt radial functions (ACE: Drautz, Phys. Rev. B
    99, 014104, 2019), sums before it multiplies, so that all products are taken on atoms and not on edges, and takes
    them recursively to the third order with weights by element (MACE: Batatia et al., NeurIPS 2022; GRACE: Bochkarev,
    Lysogorskiy, Drautz, Phys. Rev. X 14, 021036, 2024). Messages after the first are equivariant up to `l_hidden`.
    Radial functions depend on the distance alone: at inference splines stand for them (symmetrix, Kovács et al.).
    Neighbours' elements come in with the features that they send.
    """

    def __init__(self, config: EmberConfig) -> None:
        super().__init__()
        self.width, self.cutoff = config.width, config.cutoff
        self.l_max = config.l_max
        self.embedding = nn.Embedding(N_ELEMENTS, config.width)
        self.layers = nn.ModuleList(
            EmberLayer(config, l_in=config.l_hidden if layer else 0, l_out=config.l_hidden if more else 0)
            for layer, more in ((layer, layer < config.depth - 1) for layer in range(config.depth))
        )

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        harmonics_EM = real_harmonics(geometry.direction, self.l_max)
        features_NLC = embed(self.embedding, atoms)[:, None, :]
        told_NC = torch.zeros_like(features_NLC[:, 0])
        for layer in self.layers:
            assert isinstance(layer, EmberLayer)
            features_NLC, said_NC = layer(features_NLC, harmonics_EM, geometry.distance, edges, atoms.numbers)
            told_NC = told_NC + said_NC
        return told_NC


class EmberLayer(nn.Module):
    """Expansion of the surroundings, products on the atom, and what the atom then is.

    Args:
        config: of the backbone.
        l_in, l_out: degree of the features before and after.
    """

    scalar_M1: Tensor

    def __init__(self, config: EmberConfig, *, l_in: int, l_out: int) -> None:
        super().__init__()
        width, l_max = config.width, config.l_max
        self.l_in, self.l_out = l_in, l_out
        self.coupling = natural_coupling(l_in, l_max, l_max)
        self.radial: RadialNetwork | RadialTables = RadialNetwork(
            BesselBasis(config.cutoff, config.radial_size),
            config.radial_widths,
            (len(self.coupling.paths), width),
            ENVELOPE_ORDER,
        )
        self.send = DegreeLinear(l_in, width, width)
        # the number of neighbours goes into the weights: small, they learn fast, which finds better potentials
        self.mix = DegreeLinear(l_max, width, width, gain=1 / config.neighbours)
        self.constant_C = nn.Parameter(torch.ones(width))
        self.register_buffer("scalar_M1", torch.eye(n_components(l_max))[:, :1].contiguous(), persistent=False)
        self.second = natural_coupling(l_max, l_max, l_max, symmetric=True)
        self.third = natural_coupling(l_max, l_max, l_out)
        self.of_second = PathWeights([o for _, _, o in self.second.paths], width, N_ELEMENTS)
        self.of_third = PathWeights([o for _, _, o in self.third.paths], width, N_ELEMENTS)
        self.gather = DegreeLinear(l_out, width, width)
        self.keep = DegreeLinear(min(l_in, l_out), width, width)
        self.refine = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.say = nn.Linear(width, width, bias=False)

    def forward(
        self, features_NLC: Tensor, harmonics_EM: Tensor, distance_E: Tensor, edges: Edges, numbers_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Features before to features after the layer, [N, (l + 1)², C], and its part of the result [N, C]."""
        density_NMC = self.radial.sum_products(self.coupling, distance_E, self.send(features_NLC), harmonics_EM, edges)
        # with a constant beside the scalars, products of three hold those of two and of one
        density_NMC = self.mix(density_NMC) + self.scalar_M1 * self.constant_C
        second_NMC = product(self.second, density_NMC, density_NMC, self.of_second(numbers_N))
        third_NLC = product(self.third, second_NMC, density_NMC, self.of_third(numbers_N))
        kept = n_components(min(self.l_in, self.l_out))
        old_NLC = self.keep(features_NLC[:, :kept])
        size = n_components(self.l_out)
        if size > kept:  # scalars alone came in: the first layer
            old_NLC = self.scalar_M1[:size] * old_NLC
        new_NLC = self.gather(third_NLC) + old_NLC
        new_NLC = new_NLC + self.scalar_M1[:size] * self.refine(new_NLC[:, 0])[:, None]
        return new_NLC, self.say(new_NLC[:, 0])
