"""A potential that is nothing but a pair energy, for engines to drive: fast, exact, of known derivatives."""

import torch
from ase import Atoms
from torch import Tensor

from md_workflows.batched.models import GraphModel
from potentials.graph import AtomicGraph

CUTOFF = 5.0


def pair_energies(distance: Tensor) -> tuple[Tensor, Tensor]:
    """eV per directed edge, and its derivative: a Morse curve that ends smoothly at the cutoff."""
    near = (distance < CUTOFF).double()
    short, end = torch.exp(-1.2 * (distance - 2.5)), (1 - (distance / CUTOFF) ** 2)
    value, slope = 0.15 * (short**2 - 2 * short), 0.15 * 1.2 * (2 * short - 2 * short**2)
    window, falling = end**3, -6 * distance / CUTOFF**2 * end**2
    return near * value * window, near * (slope * window + value * falling)


def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
    """Energy, forces and stress of a batch."""
    neighbour, centre = graph.edge_index
    cell = graph.cell[graph.graph_index[centre]]
    vectors = graph.positions[neighbour] - graph.positions[centre]
    vectors = vectors + (graph.edge_shift[:, :, None] * cell).sum(1)
    distance = vectors.norm(dim=1)
    energy, slope = pair_energies(distance)
    gradient = (slope / distance)[:, None] * vectors
    forces = torch.zeros_like(graph.positions).index_add(0, centre, 2 * gradient)
    of_graph = graph.graph_index[centre]
    total = torch.zeros(graph.n_graphs, dtype=torch.float64).index_add(0, of_graph, energy)
    virial = torch.zeros_like(graph.cell).index_add(0, of_graph, vectors[:, :, None] * gradient[:, None])
    volume = torch.linalg.det(graph.cell).abs()[:, None, None]
    return {"energy": total, "forces": forces, "stress": virial / volume}


def refuse_gold(atoms: Atoms) -> None:
    if 79 in atoms.numbers:
        raise ValueError("this potential has never seen Au")


def pair_model(skin: float = 0.5) -> GraphModel:
    device = torch.device("cpu")
    return GraphModel(evaluate, CUTOFF, device=device, identity="pairs", check=refuse_gold, skin=skin)
