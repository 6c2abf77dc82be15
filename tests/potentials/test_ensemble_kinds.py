"""Branches of one backbone, outputs, references, what makes no ensemble, and the contracts of physics."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from potentials.ensemble import Ensemble
from potentials.graph import batch
from potentials.potential import Potential
from potentials.stack import Stack
from potentials.testing import CONTRACT, TOLERANCES, UNCERTAINTY_CONTRACT, PotentialUnderTest
from tests.potentials.members import (
    ROUNDING,
    build,
    graphs,
    looped,
    require,
    require_as_loop,
    spread,
    trio,
)


def branches(name: str) -> tuple[list[Potential], Potential]:
    whole = build(name, heads=("a", "b", "c"), outputs=({"name": "charges", "width": 4},))
    return [whole.only(head).renamed(("emt",)) for head in whole.heads], whole


@pytest.mark.parametrize("name", ["painn", "mace", "ember"])
def test_branches_of_one_backbone(name: str) -> None:
    members, whole = branches(name)
    ensemble, graph = Ensemble(members), batch(graphs())
    (stack,) = ensemble.parts
    assert isinstance(stack, Stack)
    assert stack.one_backbone
    assert not Ensemble(trio(name)).parts[0].one_backbone
    require_as_loop(members, ensemble, graph, ROUNDING[torch.float32])
    own = looped([whole] * 3, [batch(graphs(row=row)) for row in range(3)])
    require(ensemble(graph), spread(own, graph), ROUNDING[torch.float32])
    quick = ensemble(graph, derivatives=False)
    assert set(quick) == {"energy", "energies", "charges", "energy_uncertainty"}
    weights = sum(value.numel() for value in stack.buffers())
    assert weights < 2 * sum(value.numel() for value in whole.state_dict().values()), "one backbone is kept"


def test_outputs_are_averaged() -> None:
    outputs = ({"name": "charges", "width": 4},)
    members = [build(seed=seed, outputs=outputs) for seed in range(3)]
    for member in members:
        assert member.outputs is not None
        member.outputs.output("charges").set_scale("emt", 20.0)
    ensemble = Ensemble(members)
    require_as_loop(members, ensemble, batch(graphs()), 10 * ROUNDING[torch.float32])
    assert list(ensemble.trained_outputs("emt")) == ["charges"]
    assert list(ensemble.trained_outputs("xtb")) == []
    assert set(ensemble.results) == set(ensemble(graphs()[0]))
    assert set(ensemble.quantities) | {"virial"} == set(ensemble.results)


def test_its_references_are_means_of_what_all_know() -> None:
    members = [build(seed=0), build(seed=1)]
    members[0].references.set_head("emt", {"Cu": -1.0, "Al": -2.0}, scale=2.0)
    members[1].references.set_head("emt", {"Cu": -3.0, "Ag": -2.0}, scale=4.0)
    shared = Ensemble(members).references
    assert shared.elements("emt") == ("Cu",)
    assert (shared.e0("emt"), float(shared.scale_D[0])) == ({"Cu": -2.0}, 3.0)


def test_estimates_of_last_layers_are_not_its_own() -> None:
    members = [build(seed=seed, last_layer=True) for seed in range(2)]
    ensemble = Ensemble(members)
    assert not ensemble.config.last_layer
    plain = [member.without_uncertainty() for member in members]
    require_as_loop(plain, ensemble, graphs()[0], ROUNDING[torch.float32])


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([build()], "an ensemble has two members or more; 1 given"),
        ([], "an ensemble has two members or more; 0 given"),
        ([build(), build(heads=("emt", "dft"))], r"must agree in their heads: .*'xtb'\], member 1 \['dft', 'emt'\]"),
        ([build(), build(), build(outputs=({"name": "charges"},))], "must agree in their outputs: .*, member 2"),
        ([build(), build(charge_and_spin=True)], "must agree in their charge_and_spin: the first has False, member 1"),
        ([build(), build().double()], "must agree in their dtype: the first has torch.float32, member 1 torch.float64"),
    ],
    ids=["one", "none", "heads", "outputs", "charge", "dtype"],
)
def test_what_makes_no_ensemble(members: list[Potential], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Ensemble(members)


WITHOUT_WEIGHTS = sorted(
    set(CONTRACT)
    - {"elements", "references", "charge_and_spin", "weight_gradients", "symmetric_sites", "isolated_atoms"}
)
"""The others change or differentiate weights of the potential, which an ensemble keeps in its stacks."""


@cache
def subject(kind: str) -> PotentialUnderTest:
    """Members with forces of order 1 eV/Å; their mean is held to the contract of a potential."""
    seeds = {"alike": ("painn", "painn", "painn"), "mixed": ("painn", "egnn", "painn")}[kind]
    lively = [PotentialUnderTest.of(build(name, seed).double()) for seed, name in enumerate(seeds)]
    ensemble: Any = Ensemble([one.potential for one in lively])
    return PotentialUnderTest(ensemble, TOLERANCES[torch.float64], max(one.energy_scale for one in lively))


LONG = {"every_neighbour_counts"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in WITHOUT_WEIGHTS]
)
def test_physics_contract(name: str) -> None:
    CONTRACT[name](subject("alike"))


@pytest.mark.parametrize("name", ["rotation", "batch_members", "forces", "stress", "crossing_the_cutoff"])
def test_physics_contract_of_a_mixture(name: str) -> None:
    CONTRACT[name](subject("mixed"))


@pytest.mark.parametrize("kind", ["alike", "mixed"])
@pytest.mark.parametrize("name", ["symmetries", "supercells", "batch_members"])
def test_uncertainty_contract(name: str, kind: str) -> None:
    UNCERTAINTY_CONTRACT[name](subject(kind))
