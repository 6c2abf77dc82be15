"""The potential as a module: its configuration, its seed, its heads, what it gives."""

from typing import Any

import pytest
import torch
from ase.build import bulk, molecule
from pydantic import ValidationError

from potentials.backbones import BACKBONES
from potentials.backbones.egnn import EGNNConfig
from potentials.backbones.painn import PaiNNConfig
from potentials.graph import batch
from potentials.potential import Potential, PotentialConfig
from potentials.quantities import QUANTITIES, VOIGT
from potentials.structures import graph_from_atoms

SMALL = PaiNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6)


def small(**settings: Any) -> Potential:
    return Potential(PotentialConfig(**{"backbone": SMALL, "heads": ("a", "b"), "head_width": 8} | settings))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_configuration_survives_as_data(name: str) -> None:
    config = PotentialConfig(backbone=BACKBONES[name][0](width=8), heads=("a",), charge_and_spin=True)
    again = PotentialConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert type(again.backbone) is BACKBONES[name][0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": ("a", "b", "a")}, "two heads are called 'a'; names must differ"),
        ({"heads": ("a b",)}, "head 'a b': a name is letters, digits, '_' and '-', a letter or digit first"),
        ({"heads": ("-a",)}, "a letter or digit first"),
        ({"heads": ("a\n",)}, "a letter or digit first"),
        ({"heads": ()}, "at least 1 item"),
        ({"heads": ("a",), "width": 3}, "Extra inputs are not permitted"),
        ({"heads": ("a",), "backbone": {"name": "gemnet"}}, "does not match any of the expected tags.*'schnet'"),
        ({"heads": ("a",), "backbone": {"name": "painn", "cutof": 4}}, "Extra inputs are not permitted"),
        ({"heads": ("a",), "backbone": {"name": "painn", "cutoff": 0.0}}, "greater than 0.5"),
        ({"heads": ("a",), "backbone": {"name": "schnet", "radial_size": 1}}, "greater than or equal to 2"),
    ],
)
def test_a_wrong_configuration_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        PotentialConfig(**settings)


def test_the_seed_decides_and_the_session_does_not_notice() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again = small(), small()
    assert torch.equal(torch.rand(3), expected)
    other = Potential(first.config, seed=1)
    for (name, one), two, three in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two), name
        assert not torch.equal(one, three), name


def test_heads_by_name() -> None:
    potential = small()
    assert (potential.head_index("a"), potential.head_index("b")) == (0, 1)
    with pytest.raises(ValueError, match="unknown head 'c'; this potential has a, b"):
        potential.head_index("c")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_shapes_of_the_table_and_are_float64(dtype: torch.dtype) -> None:
    potential = small().to(dtype)
    assert potential.dtype == dtype
    graph = batch([graph_from_atoms(atoms, 4.0) for atoms in (molecule("H2O"), bulk("Cu"), molecule("CH4"))])
    with torch.no_grad():
        results = potential(graph)
    rows = {"graph": 3, "atom": 9}
    for name, quantity in QUANTITIES.items():
        assert results[name].shape == (rows[quantity.level], *quantity.shape), name
        assert results[name].dtype == torch.float64, name
        assert not results[name].requires_grad, name
    volume = bulk("Cu").cell.volume
    torch.testing.assert_close(results["stress"][1], results["virial"][1] / volume, rtol=1e-12, atol=0)
    assert torch.isnan(results["stress"][[0, 2]]).all()
    assert len(VOIGT) == len(set(VOIGT)) == 6


def test_results_are_the_same_with_and_without_gradients() -> None:
    """To rounding: torch takes other operations for a derivative that is differentiated again."""
    potential, graph = small().double(), graph_from_atoms(molecule("CH3CH2OH"), 4.0)
    trained = potential(graph)
    with torch.no_grad():
        plain = potential(graph)
    for name, value in plain.items():
        torch.testing.assert_close(trained[name].detach(), value, rtol=1e-12, atol=1e-13, equal_nan=True)
        assert trained[name].requires_grad, name


def test_stress_of_structures_without_volume_leaves_gradients_alone() -> None:
    """What is NaN in the results and left out of the loss must not come back as NaN from the division."""
    potential = small()
    periodic, open_one = graph_from_atoms(bulk("Cu"), 4.0), graph_from_atoms(molecule("H2O"), 4.0)
    weights = [weight for name, weight in potential.named_parameters() if "bias" not in name]

    def gradients(graph: Any) -> list[torch.Tensor]:
        stress = potential(graph)["stress"]
        loss = stress[torch.isfinite(stress)].square().sum()
        return [g for g in torch.autograd.grad(loss, weights, allow_unused=True) if g is not None]

    mixed, alone = gradients(batch([periodic, open_one])), gradients(periodic)
    assert any(bool(gradient.any()) for gradient in alone)
    for got, wanted in zip(mixed, alone, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-9)


def test_one_layer_is_enough() -> None:
    """The first layer of a backbone is its last as well."""
    graph = graph_from_atoms(molecule("H2O"), 4.0)
    for config in (BACKBONES[name][0](cutoff=4.0, width=8, depth=1, radial_size=6) for name in BACKBONES):
        results = small(backbone=config)(graph)
        assert float(results["forces"].detach().abs().max()) > 1e-6


def test_moved_points_change_the_answer() -> None:
    graph = graph_from_atoms(molecule("CH4"), 4.0)
    answers = []
    for moving in (False, True):
        config = EGNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6, update_positions=moving)
        potential = small(backbone=config)
        for name, weight in potential.named_parameters():
            if "movers" not in name:
                torch.nn.init.constant_(weight, 0.1)
        answers.append(potential(graph)["forces"].detach())
    assert float((answers[0] - answers[1]).abs().max()) > 1e-9
