"""Outputs beyond the energy: their settings, what they are made of, and that they leave the energy alone."""

from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from pydantic import ValidationError

from potentials.backbones import BACKBONES
from potentials.compiled import CompiledPotential
from potentials.graph import AtomicGraph, batch
from potentials.output_config import OutputConfig
from potentials.potential import Potential, PotentialConfig
from potentials.structures import graph_from_atoms

ALL = (
    {"name": "charges"},
    {"name": "dipole"},
    {"name": "magmoms", "shared": True},
    {"name": "direct_forces"},
    {"name": "gap", "level": "graph", "extensive": False},
)


def build(*outputs: dict[str, Any], backbone: str = "painn") -> Potential:
    small = BACKBONES[backbone][0](cutoff=4.0, width=8, depth=1, radial_size=6)
    settings = {"backbone": small, "heads": ("emt", "xtb"), "head_width": 8, "outputs": outputs}
    return Potential(PotentialConfig.model_validate(settings), seed=1)


def lively(*outputs: dict[str, Any]) -> Potential:
    """Outputs of order 1, other ones for each head."""
    potential = build(*outputs).double()
    assert potential.outputs is not None
    for output in outputs:
        for row, head in enumerate(potential.heads):
            made = potential.outputs.output(output["name"])
            made.set_scale(head, 40.0 * (1 + row), 0.3 if made.config.kind == "scalar" else 0.0)
    return potential


def structures(charge: float = 0.0) -> AtomicGraph:
    ion, crystal = molecule("CH3OH"), bulk("Cu", cubic=True)
    ion.info["charge"] = charge
    crystal.rattle(0.1, seed=1)
    return batch([graph_from_atoms(ion, 4.0, dataset=1), graph_from_atoms(crystal, 4.0)])


def test_energies_of_a_seed_are_the_same_with_and_without_outputs() -> None:
    with_outputs, without = build(*ALL)(structures()), build()(structures())
    assert set(with_outputs) - set(without) == {output["name"] for output in ALL}
    assert all(torch.equal(with_outputs[name], value) or name == "stress" for name, value in without.items())
    assert torch.equal(with_outputs["stress"].nan_to_num(), without["stress"].nan_to_num())


def test_without_derivatives_the_rest_is_the_same() -> None:
    potential = build(*ALL)
    whole, part = potential(structures()), potential(structures(), derivatives=False)
    assert set(whole) - set(part) == {"forces", "virial", "stress"}
    assert all(torch.equal(value, whole[name]) for name, value in part.items())


def test_shapes_levels_and_dtype() -> None:
    potential = build(*ALL)
    results = potential(structures())
    rows = {"atom": 10, "graph": 2}
    for name, row in potential.quantities.items():
        assert results[name].shape == (rows[row.level], *row.shape), name
        assert results[name].dtype == torch.float64, name


@pytest.mark.parametrize("charge", [0.0, 1.0])
def test_a_dipole_is_charges_times_positions_and_dipoles_of_atoms(charge: float) -> None:
    """Both parts by hand: with dipoles of atoms scaled to nothing, and with nothing passed between atoms."""
    potential, graph = lively(*ALL), structures(charge)
    assert potential.outputs is not None
    both = potential(graph)["dipole"][0].detach().numpy()
    potential.outputs.output("dipole").scale_D.zero_()
    results = potential(graph)
    charges, positions = results["charges"][:6].detach().numpy(), graph.positions[:6].numpy()
    by_hand = ((positions - positions.mean(axis=0)) * charges[:, None]).sum(axis=0)
    assert results["dipole"][0].detach().numpy() == pytest.approx(by_hand, abs=1e-12)
    assert np.linalg.norm(by_hand) > 0.01
    assert np.linalg.norm(both - by_hand) > 0.01
    if not charge:  # then it does not matter about which point
        assert (positions * charges[:, None]).sum(axis=0) == pytest.approx(by_hand, abs=1e-12)


def test_charges_add_up_in_every_structure_of_a_batch() -> None:
    charges = lively(*ALL)(structures(charge=-2.0))["charges"].detach()
    assert float(charges[:6].sum()) == pytest.approx(-2.0, abs=1e-12)
    assert float(charges[6:].sum()) == pytest.approx(0.0, abs=1e-12)
    assert float((charges[:6] + 2 / 6).abs().max()) > 0.01


def test_one_head_alone_says_the_same() -> None:
    potential, graph = lively(*ALL), graph_from_atoms(molecule("CH3OH"), 4.0, dataset=1)
    wanted = potential(graph)
    alone = potential.only("xtb")(graph_from_atoms(molecule("CH3OH"), 4.0))
    assert alone.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.allclose(alone[name], value, rtol=0, atol=1e-14, equal_nan=True), name


def test_only_what_was_trained_counts_as_such() -> None:
    potential = build(*ALL)
    assert potential.outputs is not None
    assert potential.trained_outputs("emt") == {}
    potential.outputs.output("charges").set_scale("xtb", 0.1)
    assert list(potential.trained_outputs("xtb")) == ["charges"]
    assert list(potential.only("xtb").trained_outputs("xtb")) == ["charges"]
    assert potential.only("emt").trained_outputs("emt") == {}
    assert build().trained_outputs("emt") == {}


def test_scales_stay_in_float64() -> None:
    potential = lively({"name": "charges"}).float()
    assert potential.outputs is not None
    assert potential.outputs.output("charges").scale_D.dtype == torch.float64
    assert potential.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
def test_compiled_outputs_are_the_plain_ones() -> None:
    torch._dynamo.reset()
    potential = lively(*ALL)
    compiled = CompiledPotential(potential)
    for graph in (structures(1.0), graph_from_atoms(molecule("CH3OH"), 4.0, dataset=1)):
        with torch.no_grad():
            plain = potential(graph)
        found = compiled(graph)
        assert found.keys() == plain.keys()
        for name, value in plain.items():
            assert found[name].shape == value.shape, name
            assert torch.allclose(found[name], value, rtol=0, atol=1e-10, equal_nan=True), name
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "energy", "level": "graph"}, "no name of an output, for results have another one of it"),
        ({"name": "my gap", "level": "graph"}, "no name of an output; use letters"),
        ({"name": "_gap", "level": "graph"}, "no name of an output; use letters"),
        ({"name": "dipole", "level": "atom"}, "dipole has level = 'graph', not 'atom'"),
        ({"name": "charges", "kind": "vector"}, "charges has kind = 'scalar', not 'vector'"),
        ({"name": "dipole", "extensive": False}, "dipole has extensive = True, not False"),
        ({"name": "magmoms", "unit": "ħ"}, "magmoms has unit = 'μB'"),
        ({"name": "gap"}, "level"),
        ({"name": "gap", "level": "edge"}, "level"),
        ({"name": "gap", "level": "graph", "width": 0}, "width"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        OutputConfig.model_validate(given)


def test_two_outputs_of_one_name() -> None:
    with pytest.raises(ValidationError, match="two outputs are called 'charges'"):
        build({"name": "charges"}, {"name": "charges", "shared": True})


def test_known_outputs_bring_their_row() -> None:
    dipole = OutputConfig.model_validate({"name": "dipole"}).quantity
    assert (dipole.level, dipole.shape, dipole.unit, dipole.extensive) == ("graph", (3,), "e·Å", True)
    assert OutputConfig.model_validate({"name": "direct_forces"}).quantity.trained_on == "forces"
    own = OutputConfig.model_validate({"name": "gap", "level": "graph", "extensive": False, "unit": "eV"}).quantity
    assert (own.level, own.shape, own.unit, own.extensive, own.trained_on) == ("graph", (), "eV", False, "gap")
