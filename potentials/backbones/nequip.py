"""NequIP: equivariant convolutions with gates."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as nnf
from pydantic import Field, model_validator
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, CountingConfig, PositiveInt, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis
from potentials.radial_networks import SILU_GAIN, RadialNetwork
from potentials.radial_tables import RadialTables
from potentials.slots import SCALAR, Kind, SlotMixture, edge_coupling, select
from potentials.spherical import real_harmonics

TANH_GAIN = 1.5925
"""One over the root mean square of tanh for a normal argument."""

ENVELOPE_ORDER = 6

FIRST_DEPTH_OF_BOTH = 4


class NequIPConfig(CountingConfig):
    """Settings of `NequIP`.

    Attributes:
        l_max: largest degree of features and harmonics.
        parities: `natural`: features of degree l have the parity (-1)^l; `both`: those of the other one too.
        radial_widths: hidden features of the radial network.
    """

    name: Literal["nequip"] = "nequip"
    depth: PositiveInt = 4
    radial_size: Annotated[int, Field(ge=2)] = 8
    l_max: Annotated[int, Field(ge=1, le=3)] = 2
    parities: Literal["natural", "both"] = "natural"
    radial_widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 64)

    @model_validator(mode="after")
    def _both_matter(self) -> NequIPConfig:
        if self.parities == "both" and self.depth < FIRST_DEPTH_OF_BOTH:
            raise ValueError(
                f"parities = 'both' with depth {self.depth}: the second parity arises in the second layer and is first"
                f" seen two layers later; take depth ≥ {FIRST_DEPTH_OF_BOTH} or parities = 'natural'"
            )
        return self


class NequIP(Backbone):
    """NequIP (Batzner et al., Nature Communications 13, 2453, 2022).

    Interactions of linear map, convolution, linear map and gate, with a skip connection. A kind of feature (degree and
    parity) is made in a layer only if it can arise there and if energies can depend on it: with natural parity alone
    nothing is missing up to three layers, from the fourth on pseudotensors between the second layer and the last but
    one. The skip connection is one linear map with a factor for each element and channel, where the original has a
    matrix for each element. The last layer has scalars alone, and a branch of the potential reads them.
    """

    def __init__(self, config: NequIPConfig) -> None:
        super().__init__()
        self.width, self.cutoff, self.l_max = config.width, config.cutoff, config.l_max
        self.embedding = nn.Embedding(N_ELEMENTS, config.width)
        kinds = kinds_of_layers(config.depth, config.l_max, both=config.parities == "both")
        self.layers = nn.ModuleList(NequIPLayer(config, before, after) for before, after in itertools.pairwise(kinds))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        harmonics_EM = real_harmonics(geometry.direction, self.l_max)
        features_NMC = embed(self.embedding, atoms)[:, None]
        for number in range(len(self.layers)):
            around = geometry.distance, harmonics_EM, edges
            features_NMC = self.apart(self._layer, number, features_NMC, atoms.numbers, *around)
        return features_NMC[:, 0]

    def _layer(self, number: int, *given: Any) -> Any:
        return self.layers[number](*given)


def kinds_of_layers(depth: int, l_max: int, *, both: bool) -> list[list[Kind]]:
    """Kinds of features before the first layer and after each: those that can arise and that the result depends on."""
    kinds = [Kind(degree, pseudo) for degree in range(l_max + 1) for pseudo in ((False, True) if both else (False,))]

    def linked(one: Kind, other: Kind) -> bool:
        return one == other or any(one.reaches(degree, other) for degree in range(l_max + 1))

    arise = [{SCALAR}]
    for _ in range(depth):
        arise.append({kind for kind in kinds if any(linked(one, kind) for one in arise[-1])})
    seen = [{SCALAR}]
    for _ in range(depth):
        seen.append({kind for kind in kinds if any(linked(kind, one) for one in seen[-1])})
    return [sorted(up & down) for up, down in zip(arise, reversed(seen), strict=True)]


class NequIPLayer(nn.Module):
    """An interaction block and its gate.

    Args:
        config: of the backbone.
        before, after: kinds of the features, one slot each.
    """

    def __init__(self, config: NequIPConfig, before: list[Kind], after: list[Kind]) -> None:
        super().__init__()
        self.width, self.before, self.after = config.width, before, after
        self.coupling, slots = edge_coupling(before, config.l_max, after)
        basis, shape = BesselBasis(config.cutoff, config.radial_size), (len(slots), config.width)
        # scalars come with a gate for each of the kinds that turn
        wider = {SCALAR: config.width * (1 + sum(kind.degree > 0 for kind in after))}
        self.first = SlotMixture(before, config.width)
        self.radial: RadialNetwork | RadialTables = RadialNetwork(basis, config.radial_widths, shape, ENVELOPE_ORDER)
        self.second = SlotMixture(slots, config.width, wider, gain=math.sqrt(0.5 / config.neighbours))
        self.kept = [kind for kind in before if kind in after]
        self.factors = nn.Embedding(N_ELEMENTS, config.width)
        self.skip = SlotMixture(self.kept, config.width, wider, gain=math.sqrt(0.5))

    def forward(
        self, features_NMC: Tensor, numbers_N: Tensor, distance_E: Tensor, harmonics_EM: Tensor, edges: Edges
    ) -> Tensor:
        """[N, components, C] of the kinds before to those after."""
        sums_NMC = self.radial.sum_products(self.coupling, distance_E, self.first(features_NMC), harmonics_EM, edges)
        parts = self.second.parts(sums_NMC)
        kept_NMC = select(features_NMC, self.before, self.kept) * self.factors(numbers_N)[:, None]
        for kind, own_NMC in self.skip.parts(kept_NMC).items():
            parts[kind] = parts[kind] + own_NMC
        return self._gated(parts)

    def _gated(self, parts: dict[Kind, Tensor]) -> Tensor:
        """Activated scalars, and the other kinds times an activated scalar each."""
        scalar_N1C, *gates = torch.split(parts[SCALAR], self.width, dim=2)
        results, remaining = [SILU_GAIN * nnf.silu(scalar_N1C)], iter(gates)
        for kind in self.after[1:]:
            if kind.degree:
                results.append(parts[kind] * (SILU_GAIN * nnf.silu(next(remaining))))
            else:  # a pseudoscalar: an odd function keeps it one
                results.append(TANH_GAIN * torch.tanh(parts[kind]))
        return results[0] if len(results) == 1 else torch.cat(results, dim=1)
