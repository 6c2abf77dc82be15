"""Ensembles, compiled: the loop over members that compilers get is the ensemble, for any sizes."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from potentials.backbones import BACKBONES
from potentials.compiled import CompiledPotential, weights_and_buffers
from potentials.derivatives import prepare
from potentials.ensemble import Ensemble
from potentials.graph import AtomicGraph, batch
from potentials.potential import Potential, PotentialConfig
from potentials.program_key import program_key
from potentials.structures import graph_from_atoms

pytestmark = pytest.mark.filterwarnings(
    # raised while torch imports its own compiler
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)


def build(names: Sequence[str], **settings: Any) -> Ensemble:
    members = []
    for seed, name in enumerate(names):
        backbone = BACKBONES[name][0](**{"cutoff": 4.0, "width": 4, "depth": 1, "radial_size": 4, **settings})
        members.append(Potential(PotentialConfig(backbone=backbone, heads=("a",), head_width=4), seed=seed).double())
        members[-1].references.set_head("a", {"Cu": 0.1 * seed}, scale=1.0 + seed)
    return Ensemble(members)


def graphs() -> list[AtomicGraph]:
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=1)
    alone = [graph_from_atoms(atoms, 4.0) for atoms in (crystal, molecule("H2O"), crystal * (2, 1, 1))]
    return [*alone, batch(alone), batch([graph_from_atoms(Atoms("H"), 4.0), *alone])]


def require_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-11, equal_nan=True, msg=name)


@pytest.mark.parametrize("derivatives", [True, False])
@pytest.mark.parametrize("names", [("painn",) * 3, ("painn", "egnn", "painn"), ("mace",) * 2], ids="-".join)
def test_one_by_one_is_the_same(names: Sequence[str], derivatives: bool) -> None:
    ensemble = build(names)
    for graph in graphs():
        tensors = prepare(graph, torch.float64)
        require_same(ensemble(tensors, derivatives=derivatives), ensemble(graph, derivatives=derivatives))


def test_branches_one_by_one() -> None:
    backbone = BACKBONES["painn"][0](cutoff=4.0, width=4, depth=1, radial_size=4)
    whole = Potential(PotentialConfig(backbone=backbone, heads=("a", "b"), head_width=4)).double()
    ensemble = Ensemble([whole.only(head).renamed(("a",)) for head in whole.heads])
    require_same(ensemble(prepare(graphs()[3], torch.float64)), ensemble(graphs()[3]))


@pytest.mark.slow
@pytest.mark.parametrize("names", [("painn", "painn"), ("painn", "egnn", "painn")], ids="-".join)
def test_compiled_is_the_same(names: Sequence[str]) -> None:
    ensemble = build(names)
    compiled = CompiledPotential(ensemble)
    for graph in graphs():
        require_same(compiled(graph), ensemble(graph))


def test_members_of_other_cutoffs_are_refused() -> None:
    near, far = build(["painn"] * 2, cutoff=3.0).members(), build(["painn"] * 2).members()
    mixed = Ensemble([near[0], far[1]])
    with pytest.raises(ValueError, match="different cutoffs and cannot be compiled as one: use compile=False, or"):
        CompiledPotential(mixed)
    with pytest.raises(ValueError, match="different cutoffs and cannot be compiled"):
        mixed(prepare(graphs()[0], torch.float64))


def test_the_key_of_a_program_follows_members_and_not_their_weights() -> None:
    def key(ensemble: Ensemble) -> str | None:
        state = weights_and_buffers(ensemble)
        return program_key(CompiledPotential(ensemble).plain, state, prepare(graphs()[0], torch.float64), {})

    first = key(build(["painn"] * 2))
    assert first is not None
    changed = build(["painn"] * 2)
    with torch.no_grad():
        for weight in changed.buffers():
            if weight.is_floating_point():
                weight.add_(1.0)
    assert key(changed) == first
    assert len({first, key(build(["painn"] * 3)), key(build(["painn"] * 2, width=8))}) == 3
