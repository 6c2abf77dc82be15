"""Uncertainties by the last layer: contract, checkpoint, compiler, and what is refused."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from potentials.backbones import BACKBONES
from potentials.checkpoint import load_checkpoint, save_checkpoint
from potentials.compiled import CompiledPotential
from potentials.graph import batch
from potentials.last_layer import GIVEN, LastLayer
from potentials.manifest import describe, golden_structure
from potentials.potential import Potential, PotentialConfig
from potentials.quantities import UNCERTAINTIES
from potentials.structures import graph_from_atoms
from potentials.testing import CONTRACT, UNCERTAINTY_CONTRACT, PotentialUnderTest
from potentials.testing.samples import cluster, crystal

HIDDEN = 8


def build(name: str = "painn", *, last_layer: bool = True) -> Potential:
    backbone = BACKBONES[name][0](cutoff=4.0, width=8, depth=2, radial_size=6)
    settings = {"backbone": backbone, "heads": ("gfn2", "emt"), "head_width": HIDDEN, "last_layer": last_layer}
    return Potential(PotentialConfig.model_validate(settings), seed=1)


@cache
def subject(name: str, dtype: torch.dtype) -> PotentialUnderTest:
    return PotentialUnderTest.of(build(name).to(dtype))


def lively(name: str = "painn", dtype: torch.dtype = torch.float64) -> Potential:
    """With uncertainties of both heads for H, C, O and Cu."""
    return subject(name, dtype).potential


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", UNCERTAINTY_CONTRACT)
def test_uncertainty_contract(name: str, backbone: str, dtype: torch.dtype) -> None:
    UNCERTAINTY_CONTRACT[name](subject(backbone, dtype))


@pytest.mark.parametrize("name", ["weight_gradients", "batch_members", "forces"])
def test_the_rest_of_the_contract_holds_beside_it(name: str) -> None:
    CONTRACT[name](subject("painn", torch.float64))


def test_broken_uncertainties_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    potential = lively()

    def mean(self: LastLayer, *arguments: object) -> dict[str, torch.Tensor]:
        found = forward(self, *arguments)
        atoms = torch.bincount(arguments[2].graph_index, minlength=len(found["energy_uncertainty"]))
        return {**found, "energy_uncertainty": found["energy_uncertainty"] / atoms}

    forward = LastLayer.forward
    monkeypatch.setattr(LastLayer, "forward", mean)
    with pytest.raises(AssertionError, match="supercell of 5 atoms: energy_uncertainty"):
        UNCERTAINTY_CONTRACT["supercells"](PotentialUnderTest.of(potential))


def test_a_potential_without_it_is_as_before() -> None:
    plain, more = build(last_layer=False), build()
    assert plain.uncertainties == ()
    assert plain.last_layer is None
    shared = plain.state_dict()
    assert all(torch.equal(value, more.state_dict()[name]) for name, value in shared.items())
    assert set(GIVEN).isdisjoint(plain(graph_from_atoms(cluster(4.0, 8), 4.0)))
    with pytest.raises(AssertionError, match="gives no uncertainties"):
        UNCERTAINTY_CONTRACT["symmetries"](PotentialUnderTest.of(plain))


def test_what_a_head_does_not_know_is_nan() -> None:
    potential = build()
    assert potential.last_layer is not None
    eye = torch.eye(HIDDEN, dtype=torch.float64)
    potential.last_layer.set_head("gfn2", ["H", "O"], None, (eye, {"H": 1.0, "O": 2.0}, np.inf))
    potential.last_layer.set_head("emt", ["H", "O"], (eye, 1.0), None)
    with torch.no_grad():
        one, other = (potential(graph_from_atoms(molecule("H2O"), 4.0, dataset=row)) for row in (0, 1))
    assert torch.isnan(one["energy_uncertainty"]).all()
    assert torch.isfinite(one["forces_uncertainty"]).all()
    assert torch.isfinite(other["energy_uncertainty"]).all()
    assert torch.isnan(other["forces_uncertainty"]).all()
    assert torch.isnan(other["uncertainty"]).all()
    assert torch.isfinite(one["uncertainty"]).all()


def test_one_head_alone_says_what_it_said_among_others() -> None:
    potential = lively()
    graph = graph_from_atoms(crystal(4.0), 4.0, dataset=1)
    only = potential.only("emt")
    assert only.uncertainties == GIVEN
    alone = graph_from_atoms(crystal(4.0), 4.0)
    with torch.no_grad():
        for name in GIVEN:
            torch.testing.assert_close(only(alone)[name], potential(graph)[name], rtol=1e-12, atol=0.0)


def test_tables_and_no_derivatives_say_the_same() -> None:
    potential = lively("ember")
    tables = potential.tabulated()
    assert tables is not None
    graph = graph_from_atoms(crystal(4.0), 4.0)
    with torch.no_grad():
        exact, tabulated, without = potential(graph), tables(graph), potential(graph, derivatives=False)
    torch.testing.assert_close(without["energy_uncertainty"], exact["energy_uncertainty"], rtol=1e-12, atol=0.0)
    assert {"forces_uncertainty", "uncertainty"}.isdisjoint(without)
    for name in GIVEN:
        torch.testing.assert_close(tabulated[name], exact[name], rtol=1e-5, atol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_compiled_says_the_same(dtype: torch.dtype) -> None:
    potential = lively(dtype=dtype)
    compiled = CompiledPotential(potential)
    strange = Atoms("ArH", positions=[[0, 0, 0], [0, 0, 1.5]])
    structures = [crystal(4.0), cluster(4.0, 9), strange, crystal(4.0)]
    for count in (1, 4):
        graph = batch([graph_from_atoms(atoms, 4.0, dataset=row % 2) for row, atoms in enumerate(structures[:count])])
        with torch.no_grad():
            wanted = potential(graph)
        found = compiled(graph)
        for name in GIVEN:
            torch.testing.assert_close(found[name], wanted[name], rtol=20 * torch.finfo(dtype).eps, atol=0.0)


def test_it_travels_in_the_checkpoint(tmp_path: Path) -> None:
    potential = lively(dtype=torch.float32)
    golden = [golden_structure(potential, crystal(4.0), head) for head in potential.heads]
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, potential, describe(potential, golden, made_with={"gfm-ase": "0", "torch": "2"}))
    again, manifest = load_checkpoint(path)
    assert manifest.potential.last_layer
    assert manifest.quantities["energy_uncertainty"].unit == "eV"
    assert again.last_layer is not None
    assert again.last_layer.energy_DHH.dtype == torch.float64
    graph = graph_from_atoms(cluster(4.0, 9), 4.0)
    with torch.no_grad():
        for name in GIVEN:
            assert torch.equal(again(graph)[name], potential(graph)[name])


def test_its_numbers_stay_float64() -> None:
    last_layer = lively().float().last_layer
    assert last_layer is not None
    assert {buffer.dtype for buffer in last_layer.buffers()} == {torch.float64, torch.bool}


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, np.nan])
def test_factors_must_be_positive_numbers(bad: float) -> None:
    last_layer = LastLayer(("a",), HIDDEN)
    eye = torch.eye(HIDDEN, dtype=torch.float64)
    with pytest.raises(ValueError, match="head 'a' must be finite and their factors positive"):
        last_layer.set_head("a", ["H"], (eye, bad), None)
    with pytest.raises(ValueError, match="head 'a' must be finite and their factors positive"):
        last_layer.set_head("a", ["H"], None, (eye, {"H": bad}, 1.0))
    with pytest.raises(ValueError, match="head 'a' must be finite"):
        last_layer.set_head("a", ["H"], (eye * torch.nan, 1.0), None)
    with pytest.raises(ValueError, match="head 'a' must be finite"):
        last_layer.set_head("a", ["H"], None, (eye, {"H": 1.0}, np.nan))


def test_an_output_cannot_have_the_name_of_an_uncertainty() -> None:
    for name in UNCERTAINTIES:
        with pytest.raises(ValueError, match="is no name of an output"):
            PotentialConfig.model_validate({"heads": ("a",), "outputs": [{"name": name, "level": "graph"}]})
