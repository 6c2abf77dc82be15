"""The compiled evaluation says what the plain one says, for any sizes, from one compilation."""

import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch._dynamo.utils import counters

from potentials.backbones import BACKBONES
from potentials.compiled import CompiledPotential
from potentials.graph import AtomicGraph, batch
from potentials.potential import Potential, PotentialConfig
from potentials.programs import NotCompiledError, Program
from potentials.structures import graph_from_atoms

ROUNDINGS = 200
"""Operations in a chain from an edge to a force: two layers of some 20 each and sums over 40 edges, there and back."""

pytestmark = pytest.mark.filterwarnings(
    # raised while torch imports its own compiler
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)


def small(backbone: str, depth: int = 1, **settings: object) -> Potential:
    config, _ = BACKBONES[backbone]
    values = {"cutoff": 4.0, "width": 8, "depth": depth, "radial_size": 6, **settings}
    potential = Potential(
        PotentialConfig(backbone=config(**values), heads=("emt", "xtb"), head_width=32, charge_and_spin=True), seed=1
    )
    potential.references.set_head("emt", {"Al": -0.1, "Cu": 0.2}, scale=0.7, shift=0.05)
    potential.references.set_head("xtb", {"H": -10.7, "C": -48.8, "O": -102.5}, scale=1.9)
    return potential


def crystal(length: int, *, dataset: int = 0, cutoff: float = 4.0) -> AtomicGraph:
    atoms = bulk("Cu", cubic=True) * (length, 1, 1)
    atoms.numbers[::3] = 13
    atoms.rattle(0.1, seed=length)
    return graph_from_atoms(atoms, cutoff, dataset=dataset)


def of_molecule(name: str, **info: float) -> AtomicGraph:
    atoms = molecule(name)
    atoms.info.update(info)
    return graph_from_atoms(atoms, 4.0, dataset=1)


def graphs() -> dict[str, AtomicGraph]:
    ion = of_molecule("CH3OH", charge=1.0, spin=1.0)
    return {
        "one crystal": crystal(1),
        "two crystals": batch([crystal(1), crystal(2)]),
        "one molecule": of_molecule("H2O"),
        "an ion": ion,
        "both levels": batch([crystal(2), ion, crystal(1), of_molecule("H2O")]),
        "a pair of atoms": of_molecule("H2"),
        "as many graphs as pairs": batch([of_molecule("H2")] * 5),
        "one primitive cell with a molecule": batch([graph_from_atoms(bulk("Cu"), 4.0), of_molecule("H2O")]),
        "with an atom alone": batch([graph_from_atoms(Atoms("H"), 4.0, dataset=1), crystal(1)]),
        "many": batch([crystal(1), crystal(2), crystal(3), *[of_molecule("CH3OH")] * 9]),
    }


def assert_same(compiled: CompiledPotential, graph: AtomicGraph, dtype: torch.dtype, what: str) -> None:
    with torch.no_grad():
        plain = compiled.potential(graph)
    found = compiled(graph)
    assert found.keys() == plain.keys()
    eps = torch.finfo(dtype).eps
    for name, values in plain.items():
        assert found[name].dtype == torch.float64
        assert not found[name].requires_grad
        expected = values.numpy()
        scale = max(1e-6, float(np.nanmax(np.abs(expected), initial=0.0)))
        if name in {"energy", "energies"}:
            eps_here = 2 * torch.finfo(torch.float64).eps  # of the references on top, in float64
            allowed = ROUNDINGS * (eps * 1.9 * graph.n_atoms + eps_here * scale)
        else:
            allowed = ROUNDINGS * eps * max(scale, 0.1)  # forces on edges are of 0.1 eV/Å where they cancel on atoms
        assert np.allclose(found[name].numpy(), expected, rtol=0, atol=allowed, equal_nan=True), (what, name)


@pytest.fixture
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh")
def test_compiled_equals_eager_from_one_compilation_for_all_sizes() -> None:
    """A single graph comes first: its sizes must not be what the function is compiled for."""
    compiled = CompiledPotential(small("painn"))
    for what, graph in graphs().items():
        assert_same(compiled, graph, torch.float32, what)
    assert not counters["stats"]  # nothing was compiled again for another size

    # new weights in the same tensors are seen
    before = compiled(crystal(1))["energy"]
    with torch.no_grad():
        for parameter in compiled.potential.parameters():
            parameter.mul_(1.1)
    assert abs(float(compiled(crystal(1))["energy"] - before)) > 1e-4
    assert_same(compiled, crystal(1), torch.float32, "new weights")


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("backbone", "settings"),
    [*((name, {}) for name in BACKBONES), ("egnn", {"update_positions": True})],
)
def test_every_backbone_in_both_dtypes(backbone: str, settings: dict[str, object], dtype: torch.dtype) -> None:
    compiled = CompiledPotential(small(backbone, 2, **settings).to(dtype))
    for what, graph in graphs().items():
        assert_same(compiled, graph, dtype, what)
    assert not counters["stats"]


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "graph", [graph_from_atoms(Atoms("H"), 4.0, dataset=1), graph_from_atoms(bulk("Cu"), 4.0)], ids=["atom", "cell"]
)
def test_one_atom_is_computed_without_compiling(graph: AtomicGraph) -> None:
    compiled = CompiledPotential(small("painn"))
    with torch.no_grad():
        plain = compiled.potential(graph)
    for name, value in compiled(graph).items():
        assert np.array_equal(value.numpy(), plain[name].numpy(), equal_nan=True), name
    assert compiled._compiled is None


@pytest.mark.usefixtures("fresh")
def test_two_atoms_out_of_reach_are_computed_without_compiling() -> None:
    compiled = CompiledPotential(small("painn"))
    apart = graph_from_atoms(Atoms("H2", positions=[[0, 0, 0], [0, 0, 9]]), 4.0, dataset=1)
    assert compiled(apart)["energy"] == compiled.potential(apart)["energy"]
    assert compiled._compiled is None


def test_a_compiler_that_makes_another_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one did, with settings that merged two sums: all forces were zero."""

    run = Program.__call__

    def forgetful(program: Program, arguments: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(value * (value.shape[1:] != (3,)) for value in run(program, arguments))

    def forgetful_too(function: Any, state: Any, example: Any) -> Any:
        return lambda state, inputs: tuple(value * (value.shape[1:] != (3,)) for value in function(state, inputs))

    monkeypatch.setattr(Program, "__call__", forgetful)
    monkeypatch.setattr("potentials.compiled._just_in_time", forgetful_too)
    with pytest.raises(NotCompiledError, match=r"makes another function of this potential .* use compile = false"):
        CompiledPotential(small("painn"))(crystal(1))


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"compile=True needs a C\+\+ compiler .* on the PATH; install one"):
        CompiledPotential(small("painn"))
