"""An ensemble is its members: what a loop over them gives, their mean and their spread."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor

from potentials.backbones import BACKBONES
from potentials.ensemble import Ensemble, within
from potentials.graph import AtomicGraph, batch
from potentials.potential import Potential, PotentialConfig
from potentials.radial_tables import RadialTables
from potentials.stack import Stack
from potentials.structures import graph_from_atoms
from potentials.testing import CONTRACT, TOLERANCES, UNCERTAINTY_CONTRACT, PotentialUnderTest

CUTOFF = 4.0
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-12}
"""Part of the largest value: two orders of the sums of a network of some 100 operations, see `Tolerances`."""
KINDS = {
    "energy": "energy_uncertainty",
    "forces": "forces_uncertainty",
    "stress": "stress_uncertainty",
}


def build(name: str = "painn", seed: int = 0, *, cutoff: float = CUTOFF, width: int = 8, **settings: Any) -> Potential:
    backbone = BACKBONES[name][0](cutoff=cutoff, width=width, depth=2, radial_size=6)
    values = {"backbone": backbone, "heads": ("emt", "xtb"), "head_width": 8, **settings}
    made = Potential(PotentialConfig.model_validate(values), seed=seed)
    for number, head in enumerate(made.heads):  # of one head other numbers in each member
        e0 = dict.fromkeys(("H", "C", "O", "Al", "Cu"), -0.3 * number - 0.1 * seed)
        made.references.set_head(head, e0, scale=1.0 + 0.5 * seed, shift=0.05 * seed)
    return made


@cache
def trio(name: str = "painn", dtype: torch.dtype = torch.float32) -> tuple[Potential, ...]:
    return tuple(build(name, seed).to(dtype) for seed in range(3))


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[0] = 13
    atoms.rattle(0.1, seed=1)
    return atoms


def graphs(cutoff: float = CUTOFF, row: int = 0) -> list[AtomicGraph]:
    return [graph_from_atoms(atoms, cutoff, dataset=row) for atoms in (crystal(), molecule("CH3OH"))]


def looped(members: Sequence[Potential], graphs_of: Sequence[AtomicGraph]) -> dict[str, np.ndarray]:
    """[M, ...] of each member, asked alone; a graph for each, or one for all."""
    with torch.no_grad():
        rows = [member(graph) for member, graph in zip(members, graphs_of, strict=True)]
    return {name: torch.stack([row[name] for row in rows]).numpy() for name in rows[0] if name in KNOWN}


KNOWN = ("energy", "energies", "forces", "virial", "stress", "charges")


def spread(of_members: dict[str, np.ndarray], graph: AtomicGraph) -> dict[str, np.ndarray]:
    """By hand: standard deviations of a sample, of forces and stress those of a component."""
    forces = np.sqrt((of_members["forces"].std(0, ddof=1) ** 2).mean(1))
    stress = of_members["stress"].std(0, ddof=1)
    voigt = np.stack([stress[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], axis=1)
    owner = graph.graph_index.numpy()
    return {
        **{name: value.mean(0) for name, value in of_members.items()},
        "energy_uncertainty": of_members["energy"].std(0, ddof=1),
        "forces_uncertainty": forces,
        "stress_uncertainty": np.sqrt((voigt**2).mean(1)),
        "uncertainty": np.array([forces[owner == row].max(initial=0.0) for row in range(graph.n_graphs)]),
    }


def require(found: dict[str, Tensor], wanted: dict[str, np.ndarray], part: float) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == torch.float64, name
        bound = part * max(1.0, float(np.nan_to_num(np.abs(value)).max(initial=0.0)))
        np.testing.assert_allclose(found[name].numpy(), value, rtol=0, atol=bound, err_msg=name)


def require_as_loop(members: Sequence[Potential], ensemble: Ensemble, graph: AtomicGraph, part: float) -> None:
    require(ensemble(graph), spread(looped(members, [graph] * len(members)), graph), part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", BACKBONES)
def test_it_is_a_loop_over_its_members(name: str, dtype: torch.dtype) -> None:
    members, graph = trio(name, dtype), batch(graphs())
    ensemble = Ensemble(members)
    assert [type(part) for part in ensemble.parts] == [Stack]
    require_as_loop(members, ensemble, graph, ROUNDING[dtype])
    assert float(ensemble(graph)["uncertainty"].min()) > 10 * ROUNDING[dtype], "members that differ"


@pytest.mark.parametrize("name", BACKBONES)
def test_tables_of_members(name: str) -> None:
    members, graph = trio(name), batch(graphs())
    ensemble = Ensemble(members)
    tables = [member.tabulated() for member in members]
    if tables[0] is None:
        assert ensemble.tabulated() is None
        return
    tabulated = ensemble.tabulated()
    assert tabulated is not None
    require_as_loop([one for one in tables if one is not None], tabulated, graph, ROUNDING[torch.float32])


def knots(potential: Potential | None) -> set[int]:
    assert potential is not None
    return {len(part.table) for part in potential.modules() if isinstance(part, RadialTables)}


def test_tables_of_other_sizes_are_made_alike() -> None:
    members = [build("ember", seed) for seed in range(3)]
    with torch.no_grad():  # a network of sharper turns takes more knots
        for name, weight in members[1].named_parameters():
            if "radial" in name:
                weight *= 4.0
    alone = [knots(member.tabulated()) for member in members]
    assert max(alone[1]) > max(alone[0]), alone
    tabulated = Ensemble(members).tabulated()
    assert tabulated is not None
    assert [type(part) for part in tabulated.parts] == [Stack]
    assert all(knots(member) == {max(alone[1])} for member in tabulated.members())
    graph = batch(graphs())
    require_as_loop(tabulated.members(), tabulated, graph, ROUNDING[torch.float32])
    require_as_loop(members, tabulated, graph, 1e-4)


def test_tables_beside_a_backbone_without_any() -> None:
    members = [build("ember", 0), build("painn", 1), build("ember", 2)]
    tabulated = Ensemble(members).tabulated()
    assert tabulated is not None
    require_as_loop(members, tabulated, batch(graphs()), 1e-4)


def test_members_of_other_cutoffs_see_as_far_as_they_see_alone() -> None:
    cutoffs = (4.0, 3.0, 4.0, 3.5)
    members = [build(seed=seed, cutoff=cutoff).double() for seed, cutoff in enumerate(cutoffs)]
    ensemble = Ensemble(members)
    assert (ensemble.cutoff, ensemble.one_cutoff) == (4.0, False)
    own = [batch(graphs(cutoff)) for cutoff in cutoffs]
    require(ensemble(own[0]), spread(looped(members, own), own[0]), ROUNDING[torch.float64])
    near, alone = within(own[0], 3.0), own[1]
    assert near.n_edges == alone.n_edges < own[0].n_edges
    rows = [
        sorted(map(tuple, torch.cat([one.edge_index.T.double(), one.edge_shift], dim=1).tolist()))
        for one in (near, alone)
    ]
    assert rows[0] == rows[1]
    swapped = near.edge_index[:, near.edge_reverse]
    assert torch.equal(swapped, near.edge_index.flip(0))
    assert torch.equal(near.edge_shift[near.edge_reverse], -near.edge_shift)


def test_architectures_can_be_mixed() -> None:
    members = [build("painn", 0), build("mace", 1), build("painn", 2), build("egnn", 3), build("painn", 4, width=12)]
    ensemble = Ensemble(members, names=[f"run {number}" for number in range(5)])
    assert ensemble.places == [[0, 2], [1], [3], [4]]
    assert [type(part).__name__ for part in ensemble.parts] == ["Stack", "Potential", "Potential", "Potential"]
    require_as_loop(members, ensemble, batch(graphs()), ROUNDING[torch.float32])
    of_members = ensemble.of_members(batch(graphs()))["energy"].numpy()
    assert of_members == pytest.approx(looped(members, [batch(graphs())] * 5)["energy"], abs=1e-4)
    assert ensemble.names == tuple(f"run {number}" for number in range(5))


@pytest.mark.parametrize("row", [0, 1])
def test_heads_in_another_order(row: int) -> None:
    first, second = build(seed=0), build(seed=1, heads=("xtb", "emt"))
    ensemble = Ensemble([first, second])
    assert ensemble.heads == ("emt", "xtb")
    mine, other = batch(graphs(row=row)), batch(graphs(row=1 - row))
    wanted = spread(looped([first, second], [mine, other]), mine)
    require(ensemble(mine), wanted, ROUNDING[torch.float32])


def test_parts_of_an_ensemble() -> None:
    ensemble = Ensemble(trio(), names=("a", "b", "c"))
    mixed = ensemble(batch(graphs(row=1)))
    for part in (ensemble.only("xtb"), ensemble.part(("xtb",))):
        assert (part.heads, part.names) == (("xtb",), ("a", "b", "c"))
        alone = part(batch(graphs()))
        require(alone, {name: value.numpy() for name, value in mixed.items()}, ROUNDING[torch.float32])
    with pytest.raises(ValueError, match="unknown head 'dft'; this ensemble has emt, xtb"):
        ensemble.known_uncertainties("dft")


def test_float64_is_that_of_the_members() -> None:
    members = [member.in_float64() for member in trio()]
    ensemble = Ensemble(trio())
    for double in (ensemble.in_float64(), copy.deepcopy(ensemble).double()):
        assert double.dtype == torch.float64
        require_as_loop(members, double, batch(graphs()), ROUNDING[torch.float64])
    assert ensemble.dtype == torch.float32


@pytest.mark.parametrize("name", BACKBONES)
def test_members_come_out_as_they_went_in(name: str) -> None:
    members = [*trio(name), build("egnn", 7)]
    before = [copy.deepcopy(member.state_dict()) for member in members]
    for member, found, state in zip(members, Ensemble(members).members(), before, strict=True):
        assert found.config == member.config
        assert {key: (value.dtype, value.shape) for key, value in found.state_dict().items()} == {
            key: (value.dtype, value.shape) for key, value in state.items()
        }
        assert all(torch.equal(value, state[key]) for key, value in found.state_dict().items())
        assert not any(value.is_meta for value in [*found.parameters(), *found.buffers()])
        with torch.no_grad():
            still = copy.deepcopy(member).requires_grad_(
                requires_grad=False
            )  # weights at rest have kernels of their own
            assert torch.equal(found(graphs()[0])["forces"], still(graphs()[0])["forces"])


def test_what_went_in_is_left_alone() -> None:
    members = [build(seed=0).train(), build("egnn", 1).train()]
    ensemble = Ensemble(members)
    before = ensemble(graphs()[0])["energy"].clone()
    assert all(member.training and all(w.requires_grad for w in member.parameters()) for member in members)
    with torch.no_grad():
        for member in (*members, *ensemble.members()):
            for weight in member.parameters():
                weight.zero_()
    assert torch.equal(ensemble(graphs()[0])["energy"], before)


@pytest.mark.parametrize("mixed", [False, True])
def test_without_derivatives(mixed: bool) -> None:
    members = [build(seed=0), build(seed=1), build("egnn" if mixed else "painn", seed=2)]
    ensemble, graph = Ensemble(members), batch(graphs())
    found, whole = ensemble(graph, derivatives=False), ensemble(graph)
    assert set(found) == {"energy", "energies", "energy_uncertainty"}
    assert all(torch.allclose(found[name], whole[name], rtol=1e-6) for name in found)


def test_small_structures_and_batches() -> None:
    structures = [Atoms("Cu"), crystal(), Atoms("HO", positions=[[0, 0, 0], [0, 0, 9.0]]), molecule("H2O"), Atoms("H")]
    alone = [graph_from_atoms(atoms, CUTOFF) for atoms in structures]
    members = trio("painn", torch.float64)
    ensemble, together = Ensemble(members), batch(alone)
    found = ensemble(together)
    require_as_loop(members, ensemble, together, ROUNDING[torch.float64])
    for number, graph in enumerate(alone):
        require_as_loop(members, ensemble, graph, ROUNDING[torch.float64])
        one, mine = ensemble(graph), together.graph_index == number
        for name, value in one.items():
            kept = found[name][mine] if len(found[name]) == together.n_atoms else found[name][number : number + 1]
            torch.testing.assert_close(kept, value, rtol=1e-10, atol=1e-11, equal_nan=True, msg=name)
    assert float(found["uncertainty"][0]) == 0.0, "all members know that an atom alone feels no force"
    assert float(found["energy_uncertainty"][0]) > 0.0


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
