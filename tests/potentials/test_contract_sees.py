"""The contract fails where a potential breaks it: each broken potential is caught by the check that is for it."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import potentials.backbones.painn as painn_module
import potentials.backbones.schnet as schnet_module
from potentials.backbones.painn import PaiNNConfig
from potentials.backbones.schnet import SchNetConfig
from potentials.derivatives import More, TensorInputs
from potentials.edges import EdgeGeometry, Edges
from potentials.graph import AtomicGraph
from potentials.heads import StructureContext
from potentials.potential import Potential, PotentialConfig
from potentials.testing import CONTRACT, PotentialUnderTest, check_contract

Sites = Callable[[TensorInputs, Tensor, Tensor, Edges], Tensor]
PAINN = PaiNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6)
SCHNET = SchNetConfig(cutoff=4.0, width=8, depth=2, radial_size=6)


class Altered(Potential):
    """A potential whose site energies are changed by a function of (inputs, energies, vectors, edges)."""

    change: Sites

    def of_edges(self, inputs: TensorInputs, geometry: EdgeGeometry, edges: Edges) -> tuple[Tensor, More]:
        vectors_E3 = geometry.distance[:, None] * geometry.direction
        energies_N, more = super().of_edges(inputs, geometry, edges)
        return self.change(inputs, energies_N, vectors_E3, edges), more


def altered(change: Sites) -> Potential:
    potential = Altered(PotentialConfig(backbone=SCHNET, heads=("a", "b"), head_width=8))
    object.__setattr__(potential, "change", change)
    return potential


def potential_of(backbone: PaiNNConfig | SchNetConfig, **settings: bool) -> Potential:
    config = PotentialConfig(backbone=backbone, heads=("a", "b"), head_width=8, **settings)
    return Potential(config).double()


def pair_energy(vectors: Tensor) -> Tensor:
    """Smooth, and zero at the cutoff of 4 Å."""
    return (1 - vectors.square().sum(1, keepdim=True) / 16).clamp(min=0) ** 3


def preferred_axis(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    return energies + edges.sum_to_centre(vectors[:, :1] ** 2 * pair_energy(vectors))[:, 0].double()


def handed(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    smooth = pair_energy(vectors)
    distance = vectors.norm(dim=1, keepdim=True)
    a, b, c = (edges.sum_to_centre(vectors * smooth * distance**power) for power in (0, 1, 2))
    return energies + (torch.linalg.cross(a, b) * c).sum(1).double()


def order_of_atoms(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    return energies * (1 + 0.1 * torch.arange(len(energies)))


def mean_over_the_batch(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    return energies - 0.1 * energies.mean()


def mean_over_the_structure(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    counts = torch.bincount(inputs.graph_index)[inputs.graph_index]
    return energies / counts


def raw_atomic_number(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    weight = inputs.numbers[edges.neighbour, None] / 30
    return energies + edges.sum_to_centre(weight * pair_energy(vectors))[:, 0].double()


def twenty_neighbours(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    rank = edges.rows - edges.starts[edges.centre]
    kept = pair_energy(vectors) * (rank < 20)[:, None]
    return 1e-6 * energies + edges.sum_to_centre(kept)[:, 0].double()


def one_branch(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    return edges.sum_to_centre(pair_energy(vectors))[:, 0].double()


def detached_elements(inputs: TensorInputs, energies: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
    return energies + (0.5 * energies**2).detach()


ALTERED: list[tuple[Sites, str]] = [
    (preferred_axis, "rotation"),
    (handed, "reflection"),
    (order_of_atoms, "permutation"),
    (mean_over_the_batch, "batch_members"),
    (mean_over_the_structure, "supercell"),
    (raw_atomic_number, "elements"),
    (twenty_neighbours, "every_neighbour_counts"),
    (one_branch, "branches"),
    (detached_elements, "weight_gradients"),
]


@pytest.mark.parametrize(("change", "name"), ALTERED, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_energy_is_seen(change: Sites, name: str) -> None:
    broken = PotentialUnderTest.of(altered(change).double())
    with pytest.raises(AssertionError):
        CONTRACT[name](broken)


def test_only_handedness_is_seen_in_a_handed_potential() -> None:
    """A rotation turns it rightly: what is caught is the reflection, not the alteration as such."""
    CONTRACT["rotation"](PotentialUnderTest.of(altered(handed).double()))


class Results(Potential):
    """A potential whose results are changed."""

    quantity = "forces"
    factor = 1 + 1e-6

    def forward(self, graph: AtomicGraph) -> dict[str, Tensor]:
        results = super().forward(graph)
        return {**results, self.quantity: results[self.quantity] * self.factor}


class Somewhere(Potential):
    """A potential that knows where the origin is."""

    def forward(self, graph: AtomicGraph) -> dict[str, Tensor]:
        results = super().forward(graph)
        energies = results["energies"] + 0.1 * torch.sin(graph.positions[:, 0])
        energy = torch.zeros_like(results["energy"]).index_add(0, graph.graph_index, energies)
        return {**results, "energies": energies, "energy": energy}


@pytest.mark.parametrize("name", ["translation", "lattice_moves", "wrapping", "forces", "stress"])
def test_an_origin_is_seen(name: str) -> None:
    potential = Somewhere(PotentialConfig(backbone=SCHNET, heads=("a", "b"), head_width=8)).double()
    with pytest.raises(AssertionError):
        CONTRACT[name](PotentialUnderTest.of(potential))


@pytest.mark.parametrize(
    ("quantity", "factor", "name"),
    [
        ("forces", 1 + 1e-6, "forces"),
        ("stress", 160.2, "stress"),  # GPa
        ("stress", -1.0, "stress"),
        ("virial", 0.5, "stress"),
        ("forces", torch.tensor([1.0, 1.0, 1.1]), "conservation"),
        ("energy", 1.0 + 1e-7, "references"),
    ],
)
def test_a_wrong_result_is_seen(quantity: str, factor: float, name: str) -> None:
    potential = Results(PotentialConfig(backbone=PAINN, heads=("a",), head_width=8)).double()
    potential.quantity, potential.factor = quantity, factor
    with pytest.raises(AssertionError):
        CONTRACT[name](PotentialUnderTest.of(potential))


def cosine(distance: Tensor, cutoff: float) -> Tensor:
    """Behler's cutoff: its slope is zero at the cutoff, its curvature is not."""
    return torch.where(distance < cutoff, 0.5 * (torch.cos(torch.pi * distance / cutoff) + 1), 0 * distance)


def linear(distance: Tensor, cutoff: float) -> Tensor:
    return (1 - distance / cutoff).clamp(min=0)


def none(distance: Tensor, cutoff: float) -> Tensor:
    return torch.ones_like(distance)


@pytest.mark.parametrize("name", ["dimer_at_the_cutoff", "crossing_the_cutoff"])
@pytest.mark.parametrize(
    ("module", "backbone", "function"),
    [
        (painn_module, PAINN, none),
        (painn_module, PAINN, linear),  # the Bessel functions vanish at the cutoff too: a cosine is smooth with them
        (schnet_module, SCHNET, none),
        (schnet_module, SCHNET, linear),
        (schnet_module, SCHNET, cosine),
    ],
)
def test_a_cutoff_that_is_not_smooth_is_seen(
    module: ModuleType, backbone: PaiNNConfig | SchNetConfig, function: Callable[[Tensor, float], Tensor], name: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "polynomial_envelope", function)
        broken = PotentialUnderTest.of(potential_of(backbone))
        with pytest.raises(AssertionError, match=r"Å from it, still|Å apart"):
            CONTRACT[name](broken)


def test_a_norm_without_floor_is_seen() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(painn_module, "NORM_FLOOR", 0.0)
        broken = PotentialUnderTest.of(potential_of(PAINN))
        with pytest.raises(AssertionError, match=r"near the symmetric site|not finite"):
            CONTRACT["symmetric_sites"](broken)
        with pytest.raises(AssertionError, match="isolated atom gives gradients that are not finite"):
            CONTRACT["isolated_atoms"](broken)


def test_a_context_that_shifts_neutral_structures_is_seen() -> None:
    potential = potential_of(PAINN, charge_and_spin=True)
    assert isinstance(potential.context, StructureContext)
    potential.context.network[2] = nn.Linear(8, 8).double()
    with pytest.raises(AssertionError, match="neutral"):
        CONTRACT["charge_and_spin"](PotentialUnderTest.of(potential))


def test_a_context_that_does_nothing_is_seen() -> None:
    potential = potential_of(PAINN, charge_and_spin=True)
    assert isinstance(potential.context, StructureContext)
    with torch.no_grad():
        potential.context.network[2].weight.zero_()
    with pytest.raises(AssertionError, match="effect of charge"):
        CONTRACT["charge_and_spin"](PotentialUnderTest.of(potential))


def test_a_weight_that_nothing_uses_is_seen() -> None:
    potential = potential_of(PAINN)
    potential.backbone.forgotten = nn.Linear(2, 2).double()
    with pytest.raises(AssertionError, match=r"without effect.*forgotten"):
        CONTRACT["weight_gradients"](PotentialUnderTest.of(potential))


def test_a_potential_without_forces_is_not_tested() -> None:
    potential = potential_of(PAINN)
    with torch.no_grad():
        for weight in potential.parameters():
            weight.zero_()
    with pytest.raises(AssertionError, match="none to test"):
        PotentialUnderTest.of(potential)


def test_a_dtype_without_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bounds for float32 and float64.*bfloat16"):
        PotentialUnderTest.of(potential_of(PAINN).to(torch.bfloat16))


def test_check_contract_passes_a_good_potential_and_leaves_it_alone() -> None:
    potential = potential_of(PAINN).float()
    before = {name: value.clone() for name, value in potential.state_dict().items()}
    check_contract(potential)
    assert potential.dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in potential.state_dict().items())


def test_check_contract_names_all_that_failed() -> None:
    with pytest.raises(AssertionError, match=r"(?s)checks failed\ntranslation: .*lattice_moves: .*wrapping: "):
        check_contract(Somewhere(PotentialConfig(backbone=SCHNET, heads=("a",), head_width=8)))
