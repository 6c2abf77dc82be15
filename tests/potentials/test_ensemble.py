"""An ensemble is its members: what a loop over them gives, their mean and their spread."""

from __future__ import annotations

import copy

import pytest
import torch
from ase import Atoms
from ase.build import molecule

from potentials.backbones import BACKBONES
from potentials.ensemble import Ensemble, within
from potentials.graph import batch
from potentials.potential import Potential
from potentials.radial_tables import RadialTables
from potentials.stack import Stack
from potentials.structures import graph_from_atoms
from tests.potentials.members import (
    CUTOFF,
    ROUNDING,
    build,
    crystal,
    graphs,
    looped,
    require,
    require_as_loop,
    spread,
    trio,
)


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
                weight.mul_(4.0)
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
