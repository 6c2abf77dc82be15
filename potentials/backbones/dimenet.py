"""DimeNet++: messages that know the angles to the messages before them, at the cost of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, BackboneConfig, PositiveInt, embed
from potentials.edges import EdgeGeometry, Edges
from potentials.radial import BesselBasis, polynomial_envelope
from potentials.spherical import real_harmonics
from potentials.spherical_bessel import SphericalBesselBasis


class DimeNetConfig(BackboneConfig):
    """Settings of `DimeNet`.

    Attributes:
        radial_size: number of radial functions, and of those of each degree.
        angular_size: number of Legendre polynomials of the angle; the paper has 7.
        triplet_width: features that a message passes on to those after it.
    """

    name: Literal["dimenet"] = "dimenet"
    radial_size: Annotated[int, Field(ge=2)] = 6
    angular_size: Annotated[int, Field(ge=1, le=7)] = 4
    triplet_width: PositiveInt = 32


class DimeNet(Backbone):
    """DimeNet++ (Gasteiger, Giri, Margraf, Günnemann, 2020, arXiv:2011.14115) without lists of triplets.

    The message from j to i sums over all messages from k to j with a function of the angle at j. By the addition
    theorem of spherical harmonics this is one sum around j for all of them, see `directional_sum`: exactly the paper's
    function, linear in the number of edges.

    Repaired against the contract: no angle is ever formed, so that nothing is singular where three atoms are in line;
    the two-body functions end at the cutoff by the envelope of the first paper, without the 1/d of its code; elements
    enter the output of an atom, so that atoms without neighbours are told apart. Weights of radial and angular
    functions are whole matrices: the paper's bottleneck of 8 features saves work on triplets alone.
    """

    def __init__(self, config: DimeNetConfig) -> None:
        super().__init__()
        width, size = config.width, config.radial_size
        self.width, self.cutoff, self.l_max = width, config.cutoff, config.angular_size - 1
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, size)
        self.spherical = SphericalBesselBasis(config.cutoff, config.angular_size, size)
        self.from_centre = nn.Linear(width, width)
        self.from_neighbour = nn.Linear(width, width, bias=False)
        self.from_radial = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width, bias=False))
        self.layers = nn.ModuleList(DimeNetInteraction(config) for _ in range(config.depth))
        self.outputs = nn.ModuleList(DimeNetOutput(width, size) for _ in range(config.depth + 1))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        spherical = self.spherical(geometry.distance, envelope_E)
        harmonics = harmonics_by_degree(geometry.direction, self.l_max)
        elements_NF = embed(self.embedding, atoms)
        messages_EF = nnf.silu(
            edges.gather_centre(self.from_centre(elements_NF))
            + edges.gather_neighbour(self.from_neighbour(elements_NF))
            + self.from_radial(radial_EB)
        )
        features_NF = elements_NF + self.outputs[0](messages_EF, radial_EB, edges)
        for number in range(len(self.layers)):
            messages_EF, gained_NF = self.apart(
                self._layer, number, messages_EF, radial_EB, spherical, harmonics, edges
            )
            features_NF = features_NF + gained_NF
        assert isinstance(features_NF, Tensor)
        return features_NF

    def _layer(self, number: int, messages_EF: Tensor, radial_EB: Tensor, *around: Any) -> tuple[Tensor, Tensor]:
        """Messages [E, F] anew, and what atoms gain by them [N, F]; `around` ends with the edges."""
        messages_EF = self.layers[number](messages_EF, radial_EB, *around)
        return messages_EF, self.outputs[number + 1](messages_EF, radial_EB, around[-1])


class DimeNetInteraction(nn.Module):
    """From messages to messages, [E, F] to [E, F]."""

    def __init__(self, config: DimeNetConfig) -> None:
        super().__init__()
        width, inner = config.width, config.triplet_width
        self.own, self.sent, self.joined = (nn.Linear(width, width) for _ in range(3))
        self.from_radial = nn.Linear(config.radial_size, width, bias=False)
        self.from_spherical = nn.ModuleList(
            nn.Linear(config.radial_size, inner, bias=False) for _ in range(config.angular_size)
        )
        self.down, self.up = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)
        self.before = Residual(width)
        self.after = nn.Sequential(Residual(width), Residual(width))

    def forward(
        self,
        messages_EF: Tensor,
        radial_EB: Tensor,
        spherical: Sequence[Tensor],
        harmonics: Sequence[Tensor],
        edges: Edges,
    ) -> Tensor:
        """`spherical` are [E, B] and `harmonics` [E, 2l + 1] of each degree l."""
        sent_EF = nnf.silu(self.sent(messages_EF)) * self.from_radial(radial_EB)
        sent_EC = nnf.silu(self.down(sent_EF))
        weighted = [sent_EC * linear(basis) for linear, basis in zip(self.from_spherical, spherical, strict=True)]
        received_EF = nnf.silu(self.up(directional_sum(weighted, harmonics, edges)))
        changed_EF = self.before(nnf.silu(self.own(messages_EF)) + received_EF)
        result_EF: Tensor = self.after(nnf.silu(self.joined(changed_EF)) + messages_EF)
        return result_EF


class DimeNetOutput(nn.Module):
    """From messages to what the atoms gain, [E, F] to [N, F]."""

    def __init__(self, width: int, radial_size: int) -> None:
        super().__init__()
        self.from_radial = nn.Linear(radial_size, width, bias=False)
        layers: list[nn.Module] = [nn.Linear(width, width, bias=False)]
        for _ in range(3):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.network = nn.Sequential(*layers, nn.Linear(width, width, bias=False))

    def forward(self, messages_EF: Tensor, radial_EB: Tensor, edges: Edges) -> Tensor:
        """[E, F] messages and [E, B] radial functions to [N, F]."""
        gained_NF: Tensor = self.network(edges.sum_to_centre(messages_EF * self.from_radial(radial_EB)))
        return gained_NF


class Residual(nn.Module):
    """x plus two layers of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        """[..., F] to the same."""
        result: Tensor = x + self.network(x)
        return result


def harmonics_by_degree(direction_E3: Tensor, l_max: int) -> tuple[Tensor, ...]:
    """[E, 3] to [E, 2l + 1] for each l, with the norm Σ_m Y_lm² = sqrt(2l + 1)."""
    every_EM = real_harmonics(direction_E3, l_max)
    parts = torch.split(every_EM, [2 * degree + 1 for degree in range(l_max + 1)], dim=1)
    return tuple(part / (2 * degree + 1) ** 0.25 for degree, part in enumerate(parts))


def directional_sum(weighted: Sequence[Tensor], harmonics: Sequence[Tensor], edges: Edges) -> Tensor:
    """Σ over k ≠ i and l of sqrt(2l + 1) P_l(cos kji) w_l(kj) for the edge of each centre i and neighbour j.

    P_l(cos kji) sqrt(2l + 1) = Σ_m Y_lm(j to k) Y_lm(j to i) in the norm of `harmonics_by_degree`. So the sum over all
    k is Σ_m Y_lm(j to i) A_lm(j) with A_lm(j) = Σ_k Y_lm(j to k) w_l(kj), one sum around each atom. What came from i
    itself is the edge's reverse, with an angle of zero, and is taken off again.

    Args:
        weighted: [E, C] for each l.
        harmonics: [E, 2l + 1] of the directions from centre to neighbour, for each l.
        edges: who is connected to whom.

    Returns:
        [E, C].
    """
    total_EC = torch.zeros_like(weighted[0])
    own_EC = torch.zeros_like(weighted[0])
    for degree, (weighted_EC, harmonics_EM) in enumerate(zip(weighted, harmonics, strict=True)):
        around_NMC = edges.sum_to_centre(harmonics_EM[:, :, None] * weighted_EC[:, None])
        # Y_lm(j to i) = (-1)^l Y_lm(i to j)
        seen_EC = (edges.gather_neighbour(around_NMC) * harmonics_EM[:, :, None]).sum(1)
        total_EC = total_EC + (-1) ** degree * seen_EC
        own_EC = own_EC + (2 * degree + 1) ** 0.5 * weighted_EC
    return total_EC - edges.swap_ends(own_EC)
