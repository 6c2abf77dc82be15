"""Forces and stress as derivatives of the energy.

The energy depends on positions and cells through the edge vectors r_e alone. So one gradient g_e = dE/dr_e holds every
first derivative: the force on an atom is the sum of g over its own edges minus the sum over the edges in which it is
the neighbour, and dE/dε = Σ_e r_e ⊗ g_e. No strain variable, no second pass, forces add up to zero by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from potentials.edges import Edges
from potentials.graph import AtomicGraph


class TensorInputs(NamedTuple):
    """What the potential's function of tensors takes: a graph with its edges made ready; shapes as in `AtomicGraph`."""

    positions: Tensor
    numbers: Tensor
    graph_index: Tensor
    cell: Tensor
    edge_shift: Tensor
    charge: Tensor
    spin: Tensor
    dataset: Tensor
    neighbour: Tensor
    centre: Tensor
    reverse: Tensor
    starts: Tensor
    rows: Tensor

    @property
    def edges(self) -> Edges:
        """The connections."""
        return Edges(self.neighbour, self.centre, self.reverse, self.starts, self.rows)


SiteEnergies = Callable[[TensorInputs, Tensor, Edges], Tensor]


def prepare(graph: AtomicGraph) -> TensorInputs:
    """The tensors of a graph, in the order that compiled functions take them."""
    edges = Edges.of(graph)
    return TensorInputs(
        graph.positions,
        graph.numbers,
        graph.graph_index,
        graph.cell,
        graph.edge_shift,
        graph.charge,
        graph.spin,
        graph.dataset,
        edges.neighbour,
        edges.centre,
        edges.reverse,
        edges.starts,
        edges.rows,
    )


def edge_vectors(inputs: TensorInputs) -> Tensor:
    """[E, 3] float64 Å, from each centre to its neighbour's image."""
    cell_E33 = inputs.cell[inputs.graph_index[inputs.centre]]
    between = inputs.positions[inputs.neighbour] - inputs.positions[inputs.centre]
    # three multiply-adds: a batched product of 1 × 3 with 3 × 3 would cost more than the network's first layer
    return between + (inputs.edge_shift[:, :, None] * cell_E33).sum(1)


def assemble(site_energies: SiteEnergies, inputs: TensorInputs, *, training: bool) -> dict[str, Tensor]:
    """energy [G], energies [N], forces [N, 3], virial [G, 3, 3] and stress [G, 3, 3], float64.

    With `training` the results can be differentiated once more, to the weights.
    """
    edges = inputs.edges
    vectors_E3 = edge_vectors(inputs)
    with torch.enable_grad():
        variable_E3 = vectors_E3.detach().requires_grad_()
        energies_N = site_energies(inputs, variable_E3, edges)
        (gradient_E3,) = torch.autograd.grad(energies_N.sum(), variable_E3, create_graph=training)
    if not training:
        energies_N, gradient_E3 = energies_N.detach(), gradient_E3.detach()
    return collect(inputs, energies_N, gradient_E3, vectors_E3)


def collect(inputs: TensorInputs, energies_N: Tensor, gradient_E3: Tensor, vectors_E3: Tensor) -> dict[str, Tensor]:
    """Sums per graph and per atom; the gradient [E, 3] is dE/d(edge vector) in eV/Å."""
    edges = inputs.edges
    n_graphs = inputs.cell.shape[0]
    # a graph without atoms at the end: a sum into a single row is what the compiler's parallel CPU code cannot do
    energy_G = energies_N.new_zeros(n_graphs + 1).index_add(0, inputs.graph_index, energies_N)[:n_graphs]
    forces_N3 = edges.sum_to_centre(gradient_E3) - edges.sum_to_neighbour(gradient_E3)
    # an edge's r ⊗ g, first summed around atoms, then over the atoms of a graph
    virial_N33 = edges.sum_to_centre(vectors_E3[:, :, None] * gradient_E3[:, None, :])
    virial_G33 = virial_N33.new_zeros((n_graphs + 1, 3, 3)).index_add(0, inputs.graph_index, virial_N33)[:n_graphs]
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
