"""Forces and stress as derivatives of the energy.

The energy depends on positions and cells through the edge vectors r_e alone. So one gradient g_e = dE/dr_e holds every
first derivative: the force on an atom is the sum of g over its own edges minus the sum over the edges in which it is
the neighbour, and dE/dε = Σ_e r_e ⊗ g_e. No strain variable, no second pass, forces add up to zero by construction.

A backbone sees a vector as its length d and its direction u, and is differentiated with respect to both as if they
were free: g = ∂E/∂d u + (∂E/∂u - (∂E/∂u · u) u) / d, whatever the function does off the sphere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from potentials.edges import EdgeGeometry, Edges, sum_segments
from potentials.graph import AtomicGraph


class TensorInputs(NamedTuple):
    """What the potential's function of tensors takes: a graph with its edges made ready; shapes as in `AtomicGraph`.

    `atom_starts` [G + 1] is the first atom of each graph; `vectors` [E, 3] are float64, `distance` [E] and `direction`
    [E, 3] in the dtype of the network; Å.
    """

    numbers: Tensor
    graph_index: Tensor
    cell: Tensor
    charge: Tensor
    spin: Tensor
    dataset: Tensor
    neighbour: Tensor
    centre: Tensor
    reverse: Tensor
    starts: Tensor
    rows: Tensor
    pair: Tensor
    first: Tensor
    atom_starts: Tensor
    vectors: Tensor
    distance: Tensor
    direction: Tensor

    @property
    def edges(self) -> Edges:
        """The connections."""
        return Edges(self.neighbour, self.centre, self.reverse, self.starts, self.rows, self.pair, self.first)


More = Callable[[Tensor | None], dict[str, Tensor]]
"""What else comes out, given the forces [N, 3] if there are; computed when it is called."""

OfEdges = Callable[[TensorInputs, EdgeGeometry, Edges], tuple[Tensor, More]]
"""Energies of atoms [N] in eV, and the outputs."""


def prepare(graph: AtomicGraph, dtype: torch.dtype) -> TensorInputs:
    """The tensors of a graph, in the order that compiled functions take them; `dtype` is the network's.

    Vectors are made here and not in the compiled function: a compiler would rather compute a square root again for
    every feature than keep it.
    """
    edges = Edges.of(graph)
    counts = torch.bincount(graph.graph_index, minlength=graph.n_graphs)
    atom_starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    vectors_E3 = edge_vectors(graph, edges)
    distance_E = vectors_E3.norm(dim=1)
    return TensorInputs(
        graph.numbers,
        graph.graph_index,
        graph.cell,
        graph.charge,
        graph.spin,
        graph.dataset,
        edges.neighbour,
        edges.centre,
        edges.reverse,
        edges.starts,
        edges.rows,
        edges.pair,
        edges.first,
        atom_starts,
        vectors_E3,
        distance_E.to(dtype),
        (vectors_E3 / distance_E[:, None]).to(dtype),
    )


def edge_vectors(graph: AtomicGraph, edges: Edges) -> Tensor:
    """[E, 3] float64 Å, from each centre to its neighbour's image."""
    vectors_E3 = graph.positions.index_select(0, edges.neighbour)
    vectors_E3 -= graph.positions.index_select(0, edges.centre)
    if graph.n_graphs == 1:
        return vectors_E3.addmm_(graph.edge_shift, graph.cell[0])
    cell_E33 = graph.cell.index_select(0, graph.graph_index.index_select(0, edges.centre))
    for row in range(3):  # a batched product of 1 × 3 with 3 × 3 costs ten times as much
        vectors_E3.addcmul_(graph.edge_shift[:, row, None], cell_E33[:, row])
    return vectors_E3


def without_derivatives(of_edges: OfEdges, inputs: TensorInputs) -> dict[str, Tensor]:
    """energy [G], energies [N] and the outputs."""
    energies_N, more = of_edges(inputs, EdgeGeometry(inputs.distance, inputs.direction), inputs.edges)
    energy_G = sum_segments(energies_N, inputs.graph_index, inputs.atom_starts)
    return {"energy": energy_G, "energies": energies_N, **more(None)}


def assemble(of_edges: OfEdges, inputs: TensorInputs, *, training: bool) -> dict[str, Tensor]:
    """energy [G], energies [N], forces [N, 3], virial [G, 3, 3], stress [G, 3, 3] and the outputs, float64.

    With `training` the results can be differentiated once more, to the weights.
    """
    with torch.enable_grad():
        geometry = EdgeGeometry(inputs.distance.detach().requires_grad_(), inputs.direction.detach().requires_grad_())
        energies_N, more = of_edges(inputs, geometry, inputs.edges)
        along_E, across_E3 = torch.autograd.grad(
            energies_N.sum(), (geometry.distance, geometry.direction), create_graph=training, materialize_grads=True
        )
    if not training:
        energies_N, along_E, across_E3 = energies_N.detach(), along_E.detach(), across_E3.detach()
    # only here: outside of training nothing of the outputs need be kept for a derivative
    found = collect(inputs, energies_N, gradient_of_edges(inputs, along_E, across_E3))
    return {**found, **more(found["forces"])}


def gradient_of_edges(inputs: TensorInputs, along: Tensor, across: Tensor) -> Tensor:
    """[..., E, 3] derivatives of an energy to the vectors of edges, of those to distances [..., E] and directions."""
    direction_E3, across = inputs.direction.double(), across.double()
    across = across - (across * direction_E3).sum(-1, keepdim=True) * direction_E3
    return along.double()[..., None] * direction_E3 + across / inputs.distance.double()[:, None]


def collect(inputs: TensorInputs, energies_N: Tensor, gradient_E3: Tensor) -> dict[str, Tensor]:
    """Sums per graph and per atom; the gradient [E, 3] is dE/d(edge vector) in eV/Å."""
    edges = inputs.edges
    # all sums are of consecutive rows: nothing is added into shared memory, which compilers get wrong
    energy_G = sum_segments(energies_N, inputs.graph_index, inputs.atom_starts)
    forces_N3 = edges.sum_to_centre(gradient_E3) - edges.sum_to_neighbour(gradient_E3)
    # an edge's r ⊗ g, first summed around atoms, then over the atoms of a graph
    virial_N33 = edges.sum_to_centre(inputs.vectors[:, :, None] * gradient_E3[:, None, :])
    virial_G33 = sum_segments(virial_N33, inputs.graph_index, inputs.atom_starts)
    virial_G33 = (virial_G33 + virial_G33.transpose(1, 2)) / 2
    volume_G = torch.linalg.vecdot(torch.linalg.cross(inputs.cell[:, 0], inputs.cell[:, 1]), inputs.cell[:, 2]).abs()
    # not virial / NaN: its gradient would be NaN even where a loss leaves these stresses out
    has_volume_G11 = (volume_G > 0)[:, None, None]
    stress_G33 = virial_G33 / torch.where(volume_G > 0, volume_G, torch.ones_like(volume_G))[:, None, None]
    return {
        "energy": energy_G,
        "energies": energies_N,
        "forces": forces_N3,
        "virial": virial_G33,
        "stress": torch.where(has_volume_G11, stress_G33, torch.full_like(stress_G33, torch.nan)),
    }
