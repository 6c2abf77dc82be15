"""GPS: messages between neighbours, and attention among all atoms of a structure."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from potentials.backbones.aggregation import AttentionConfig, bounded, smooth_degree
from potentials.backbones.base import N_ELEMENTS, AtomInputs, Backbone, embed
from potentials.edges import EdgeGeometry, Edges, gather_segments, sum_segments
from potentials.radial import BesselBasis, polynomial_envelope

NOTHING = 1e-30
"""A structure whose atoms have less connectedness than this in all attends to nothing."""


class GPSConfig(AttentionConfig):
    """Settings of `GPS`."""

    name: Literal["gps"] = "gps"


class GPS(Backbone):
    """General, powerful, scalable graph transformer (Rampášek et al., NeurIPS 2022): local messages + global attention.

    Local messages are those of GINE (Hu et al., ICLR 2020); the attention is linear (Katharopoulos et al., ICML 2020):
    two sums per structure, no pairs of atoms. Layers are MLP(local + global), residual.

    What the attention means for physics. Its answer is a mean over the atoms of the structure, so that a cell and its
    supercell have the same; sums stay within a structure, so that a batch changes nothing. But the atoms of a
    structure see each other at any distance: **the energy of two fragments far apart is not the sum of their energies
    apart**, and a molecule far from a surface still sees of what the surface is made. Compare energies within one
    set-up (the molecule far away in the same cell), or take a local backbone. Forces are exact derivatives all the
    same, and what a fragment sees of a far one does not depend on where and how turned it stands. An atom is attended
    to, and attends, in the measure g = s / (1 + s) in which it is bound at all, s being its sum of envelopes: isolated
    atoms add up exactly, and nothing jumps when a bond breaks.

    Repaired against the contract: envelopes on local messages, no positional encodings from eigenvectors (their signs
    and order jump), no batch normalisation and no dropout, softplus features of bounded keys and queries (elu + 1 has
    a second derivative that jumps, and may vanish), SiLU for ReLU.
    """

    is_local = False

    def __init__(self, config: GPSConfig) -> None:
        super().__init__()
        width, depth = config.width, config.depth
        self.width, self.cutoff, self.n_heads = width, config.cutoff, config.attention_heads
        self.embedding = nn.Embedding(N_ELEMENTS, width)
        self.radial = BesselBasis(config.cutoff, config.radial_size)
        self.from_radial = nn.ModuleList(nn.Linear(config.radial_size, width, bias=False) for _ in range(depth))
        self.local = nn.ModuleList(_network(width) for _ in range(depth))
        self.attention = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.mixers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.outputs = nn.ModuleList(_network(width) for _ in range(depth))

    def forward(self, atoms: AtomInputs, geometry: EdgeGeometry, edges: Edges) -> Tensor:
        """See `Backbone.forward`."""
        envelope_E = polynomial_envelope(geometry.distance, self.cutoff)
        radial_EB = self.radial(geometry.distance, envelope_E)
        bound_N = connectedness(smooth_degree(envelope_E, edges))
        features_NF = embed(self.embedding, atoms)
        for layer in range(len(self.outputs)):
            around = radial_EB, envelope_E, edges
            features_NF = self.apart(self._layer, layer, features_NF, bound_N, atoms, around)
        return features_NF

    def _layer(
        self,
        layer: int,
        features_NF: Tensor,
        bound_N: Tensor,
        atoms: AtomInputs,
        around: tuple[Tensor, Tensor, Edges],
    ) -> Tensor:
        radial_EB, envelope_E, edges = around
        arriving_EF = edges.gather_neighbour(features_NF) + self.from_radial[layer](radial_EB)
        gathered_NF = edges.sum_to_centre(nnf.silu(arriving_EF) * envelope_E[:, None])
        local_NF = features_NF + self.local[layer](features_NF + gathered_NF)
        parts = self._split(self.attention[layer](features_NF)).unbind(1)
        seen_NF = global_attention(parts, bound_N, atoms).flatten(1)
        changed_NF: Tensor = features_NF + self.outputs[layer](local_NF + self.mixers[layer](seen_NF))
        return changed_NF

    def _split(self, values: Tensor) -> Tensor:
        """[N, 3 F] to [N, 3, H, C]: query, key and value of each head."""
        return values.view(values.shape[0], 3, self.n_heads, self.width // self.n_heads)


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))


def connectedness(degree_N: Tensor) -> Tensor:
    """[N] sums of envelopes to [N] between 0 (an atom alone) and 1."""
    degree_N = degree_N.clamp(min=0)  # float32 rounds an envelope near the cutoff to less than zero
    return degree_N / (1 + degree_N)


def positive(values: Tensor) -> Tensor:
    """What stands for the exponential of a softmax in linear attention: softplus of bounded values."""
    return nnf.softplus(bounded(values))


def global_attention(parts: tuple[Tensor, ...], bound_N: Tensor, atoms: AtomInputs) -> Tensor:
    """g_i Σ_j g_j φ(q_i)·φ(k_j) v_j / Σ_j g_j φ(q_i)·φ(k_j), j over the atoms of the structure of i; [N, H, C].

    Args:
        parts: queries, keys and values, each [N, H, C].
        bound_N: [N] g, see `connectedness`.
        atoms: which structure each atom belongs to.
    """
    query_NHC, key_NHC, value_NHC = positive(parts[0]), positive(parts[1]), parts[2]
    key_NHC = key_NHC * bound_N[:, None, None]
    ones_NH1 = torch.ones_like(value_NHC[..., :1])
    values_NHD = torch.cat([value_NHC, ones_NH1], dim=2)  # the ones gather the weights themselves
    sums_GHCD = sum_segments(key_NHC[..., None] * values_NHD[:, :, None, :], atoms.graph_index, atoms.starts)
    sums_NHCD = gather_segments(sums_GHCD, atoms.graph_index, atoms.starts)
    seen_NHD = (query_NHC[..., None] * sums_NHCD).sum(2)
    weight_NH1 = seen_NHD[..., -1:]
    # numerator and denominator vanish together, and their ratio is a mean as long as there is anything: no floor, which
    # would count for half as much in a cell of twice the atoms
    weight_NH1 = torch.where(weight_NH1 > NOTHING, weight_NH1, torch.ones_like(weight_NH1))
    return bound_N[:, None, None] * seen_NHD[..., :-1] / weight_NH1
