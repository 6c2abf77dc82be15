"""The repulsion of nuclei against the formula, LAMMPS' numbers of it, and what it does to two atoms that collide."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.data import covalent_radii
from ase.units import Bohr, Hartree

from potentials.backbones.painn import PaiNNConfig
from potentials.compiled import CompiledPotential
from potentials.potential import Potential, PotentialConfig
from potentials.repulsion import Repulsion, _fading
from potentials.structures import graph_from_atoms


def potential(*, repulsion: bool) -> Potential:
    backbone = PaiNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6)
    return Potential(PotentialConfig(backbone=backbone, heads=("one",), head_width=8, repulsion=repulsion), seed=1)


def added(atoms: Atoms) -> dict[str, np.ndarray]:
    """What the repulsion adds to energy and forces."""
    graph = graph_from_atoms(atoms, 4.0)
    found = [potential(repulsion=on).double()(graph) for on in (True, False)]
    return {name: (found[0][name] - found[1][name]).detach().numpy() for name in ("energy", "energies", "forces")}


def by_hand(first: int, second: int, distance: float) -> float:
    """eV, from the paper's formula."""
    length = 0.88534 * Bohr / (first**0.23 + second**0.23)
    x = distance / length
    screening = (
        0.18175 * np.exp(-3.1998 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    part = distance / (covalent_radii[first] + covalent_radii[second])
    fading = 1 - 28 * part**6 + 48 * part**7 - 21 * part**8 if part < 1 else 0.0
    return Hartree * Bohr * first * second / distance * screening * fading


@pytest.mark.parametrize(("first", "second"), [("H", "H"), ("C", "O"), ("Si", "Si"), ("Cs", "F")])
def test_two_atoms_as_the_formula_has_it(first: str, second: str) -> None:
    for distance in (0.3, 0.5, 0.9, 1.3):
        atoms = Atoms([first, second], positions=[[0, 0, 0], [0, 0, distance]])
        found = added(atoms)
        expected = by_hand(*atoms.numbers.tolist(), distance)
        assert found["energy"][0] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert found["energies"] == pytest.approx([expected / 2] * 2, rel=1e-9, abs=1e-9)
        step = 1e-5
        slope = (
            by_hand(*atoms.numbers.tolist(), distance + step) - by_hand(*atoms.numbers.tolist(), distance - step)
        ) / (2 * step)
        assert found["forces"][1, 2] == pytest.approx(-slope, rel=1e-6, abs=1e-6)


def test_it_ends_where_covalent_radii_touch() -> None:
    radius = 2 * covalent_radii[14]
    assert added(Atoms("Si2", positions=[[0, 0, 0], [0, 0, radius + 0.01]]))["energy"][0] == 0.0
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    value = _fading(ends)
    (first,) = torch.autograd.grad(value.sum(), ends, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), ends)
    torch.testing.assert_close(value.detach(), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert first.abs().max() < 1e-12
    assert second.abs().max() < 1e-12


def test_a_crystal_has_each_pair_once() -> None:
    atoms = Atoms("Li", cell=[2.0, 9.0, 9.0], pbc=[True, False, False])  # a chain: one pair an atom
    assert added(atoms)["energy"][0] == pytest.approx(by_hand(3, 3, 2.0), rel=1e-9)


def test_numbers_stay_exact_in_float32() -> None:
    module = Repulsion(4.0).float()
    assert module.charge_Z.dtype == module.radius_Z.dtype == torch.float64
    assert not module.state_dict()


def test_compiled_and_of_one_head() -> None:
    """Nothing of it is a weight: copies, branches and compiled code have it from the configuration."""
    repulsive = potential(repulsion=True).eval().requires_grad_(requires_grad=False)
    graph = graph_from_atoms(Atoms("CO", positions=[[0, 0, 0], [0, 0, 0.7]]), 4.0)
    wanted = repulsive(graph)
    for other in (repulsive.only("one"), repulsive.renamed(["two"]), CompiledPotential(repulsive)):
        torch.testing.assert_close(other(graph)["energy"], wanted["energy"], rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(other(graph)["forces"], wanted["forces"], rtol=1e-5, atol=1e-4)
