"""The calculator gives the potential's numbers, and they are each other's derivatives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE
from ase.units import fs

from gfm_ase import GFMCalculator, load
from potentials.structures import graph_from_atoms

EPS = float(np.finfo(np.float64).eps)

# central differences in float64 with a step of 1e-4: truncation h²/6 times a third derivative of some 10 eV/Å³ is
# 2e-8, rounding of 10 eV over 2h is 1e-11
STEP = 1e-4
DIFFERENCE = 1e-6


def exact(path: Path, **settings: Any) -> GFMCalculator:
    return GFMCalculator(path, dtype="float64", device="cpu", **settings)


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    add_adsorbate(atoms, "Al", 1.8, "fcc")
    atoms.pbc = (True, True, False)
    atoms.rattle(0.05, seed=2)
    return atoms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("head", ["emt", "xtb"])
def test_it_is_the_potential(dtype: str, head: str, two_heads: Path, alloy: Atoms) -> None:
    atoms = alloy if head == "emt" else molecule("CH3OH")
    calculator = GFMCalculator(two_heads, head=head, dtype=dtype, device="cpu")
    atoms.calc = calculator
    potential = load(two_heads, device="cpu", dtype=dtype).potential
    with torch.no_grad():
        expected = potential(graph_from_atoms(atoms, potential.cutoff, dataset=potential.head_index(head)))
    assert atoms.get_potential_energy() == float(expected["energy"][0])
    assert np.array_equal(atoms.get_forces(), expected["forces"].numpy())
    assert np.array_equal(atoms.get_potential_energies(), expected["energies"].numpy())
    if head == "emt":
        matrix = expected["stress"][0].numpy()
        assert np.array_equal(atoms.get_stress(voigt=False), matrix)
        xx, yy, zz, yz, xz, xy = atoms.get_stress()
        assert np.array_equal(matrix, [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    assert calculator.results["forces"].dtype == np.float64
    assert str(calculator.potential.dtype) == f"torch.{dtype}"


def test_energies(two_heads: Path, alloy: Atoms) -> None:
    alloy.calc = exact(two_heads, head="emt")
    energy = alloy.get_potential_energy()
    assert alloy.get_potential_energy(force_consistent=True) == energy
    assert alloy.calc.get_property("free_energy", alloy) == energy
    assert alloy.get_potential_energies().shape == (8,)
    assert alloy.get_potential_energies().sum() == pytest.approx(energy, rel=8 * EPS)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (1, 0, 0), (0, 0, 0)])
def test_forces_are_finite_differences(pbc: tuple[int, int, int], one_head: Path, alloy: Atoms) -> None:
    alloy.pbc = pbc
    alloy.calc = exact(one_head)
    forces = alloy.get_forces()
    assert np.abs(forces).max() > 0.01
    numerical = calculate_numerical_forces(alloy, eps=STEP, iatoms=[0, 3])
    assert forces[[0, 3]] == pytest.approx(numerical, abs=DIFFERENCE)
    assert np.abs(forces.sum(axis=0)).max() < 1e-12


@pytest.mark.parametrize("make", [None, slab], ids=["crystal", "slab"])
def test_stress_is_a_finite_strain(make: Any, one_head: Path, alloy: Atoms) -> None:
    atoms = alloy if make is None else make()
    atoms.calc = exact(one_head)
    stress = atoms.get_stress()
    assert np.abs(stress).max() > 1e-4
    assert stress == pytest.approx(calculate_numerical_stress(atoms, eps=1e-5), abs=DIFFERENCE)


def test_the_skin_changes_nothing_along_a_trajectory(one_head: Path, alloy: Atoms) -> None:
    runs = []
    for skin in (0.0, 0.3, 2.0):
        atoms = alloy.copy()
        atoms.calc = GFMCalculator(one_head, skin=skin, device="cpu")
        found: list[Any] = []
        with VelocityVerlet(atoms, 4 * fs) as md:
            md.attach(lambda atoms=atoms, found=found: found.append((atoms.get_potential_energy(), atoms.get_forces())))
            atoms.set_momenta(np.random.default_rng(0).normal(size=(8, 3)) * 3)
            md.run(25)
        runs.append((found, atoms.calc.pairs.n_builds))
    for found, _ in runs[1:]:
        for (energy, forces), (expected, wanted) in zip(found, runs[0][0], strict=True):
            assert energy == expected
            assert np.array_equal(forces, wanted)
    assert runs[0][1] == 26
    assert 1 < runs[1][1] < 26
    assert runs[2][1] < runs[1][1]


def test_a_cell_that_changes_with_the_skin(one_head: Path, alloy: Atoms) -> None:
    reused, fresh = alloy.copy(), alloy.copy()
    reused.calc = GFMCalculator(one_head, skin=1.0, device="cpu")
    for strain in np.linspace(-0.02, 0.02, 6):
        reused.set_cell(alloy.cell.array * (1 + strain), scale_atoms=True)
        fresh.set_cell(reused.cell)
        fresh.positions = reused.positions
        fresh.calc = GFMCalculator(one_head, skin=0.0, device="cpu")
        assert reused.get_potential_energy() == fresh.get_potential_energy()
        assert np.array_equal(reused.get_stress(), fresh.get_stress())


def test_it_notices_every_change(two_heads: Path, alloy: Atoms) -> None:
    alloy.calc = exact(two_heads, head="emt")
    energies = [alloy.get_potential_energy()]
    alloy.numbers[1] = 13
    energies.append(alloy.get_potential_energy())
    alloy.pbc = (True, False, True)
    energies.append(alloy.get_potential_energy())
    alloy.set_cell(alloy.cell.array * 1.02)
    energies.append(alloy.get_potential_energy())
    alloy.positions[2, 0] += 0.01
    energies.append(alloy.get_potential_energy())
    del alloy[-1]
    energies.append(alloy.get_potential_energy())
    alloy += Atoms("Cu", positions=[[1.0, 6.0, 1.0]])
    energies.append(alloy.get_potential_energy())
    assert len(set(energies)) == len(energies)
    fresh = alloy.copy()
    fresh.calc = exact(two_heads, head="emt", skin=0.0)
    assert fresh.get_potential_energy() == energies[-1]


def test_nothing_is_computed_twice(one_head: Path, alloy: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    calculate = GFMCalculator.calculate
    monkeypatch.setattr(GFMCalculator, "calculate", lambda *given: (calls.append(1), calculate(*given)))
    alloy.calc = GFMCalculator(one_head, device="cpu")
    alloy.get_potential_energy()
    alloy.get_forces()
    alloy.get_stress()
    alloy.get_potential_energies()
    alloy.info["note"] = "a word that is no physics"
    alloy.get_potential_energy()
    assert len(calls) == 1


def test_mixed_periodicity(one_head: Path, alloy: Atoms) -> None:
    """A direction that does not repeat: as if the cell were very long there."""
    alloy.pbc = (True, False, True)
    alloy.calc = exact(one_head)
    far = alloy.copy()
    far.set_cell(alloy.cell.array * [[1], [20], [1]])
    far.pbc = True
    far.calc = exact(one_head)
    assert alloy.get_potential_energy() == pytest.approx(far.get_potential_energy(), rel=100 * EPS)
    assert alloy.get_forces() == pytest.approx(far.get_forces(), abs=1e-12)
    assert alloy.get_stress() == pytest.approx(20 * far.get_stress(), abs=1e-12)


def test_charge_and_spin_act_where_they_are_known(conditioned: Path) -> None:
    water = molecule("H2O")
    water.calc = exact(conditioned)
    energies = {}
    for charge, spin in ((0, 0), (1, 1), (-1, 1), (0, 2), (0, 0)):
        water.info.update(charge=charge, spin=spin)  # a change of info alone is noticed
        energies.setdefault((charge, spin), water.get_potential_energy())
        assert water.get_potential_energy() == energies[charge, spin]
    assert len({round(energy, 6) for energy in energies.values()}) == 4
    plain = molecule("H2O")
    plain.calc = exact(conditioned)
    assert plain.get_potential_energy() == energies[0, 0]
    assert plain.get_forces() == pytest.approx(calculate_numerical_forces(plain, eps=STEP), abs=DIFFERENCE)


def test_a_molecule_has_no_stress(two_heads: Path) -> None:
    water = molecule("H2O", vacuum=5.0)
    water.calc = GFMCalculator(two_heads, head="xtb", device="cpu")
    assert np.isfinite(water.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        water.get_stress()
    with pytest.raises(PropertyNotImplementedError):
        water.get_magnetic_moments()
    assert "stress" not in water.calc.results


def test_optimizer_and_cell_filter(one_head: Path, alloy: Atoms) -> None:
    alloy.calc = exact(one_head)
    before = alloy.get_potential_energy()
    with FIRE(FrechetCellFilter(alloy), logfile=None) as optimizer:
        optimizer.run(fmax=0.01, steps=30)
    assert alloy.get_potential_energy() < before


def test_results_are_written_and_read_again(one_head: Path, alloy: Atoms, tmp_path: Path) -> None:
    alloy.calc = exact(one_head)
    energy, forces, stress = alloy.get_potential_energy(), alloy.get_forces(), alloy.get_stress()
    for name in ("alloy.extxyz", "alloy.traj"):
        write(tmp_path / name, alloy)
        again = read(tmp_path / name)
        assert again.get_potential_energy() == pytest.approx(energy, abs=1e-7)
        assert again.get_forces() == pytest.approx(forces, abs=1e-7)
        assert again.get_stress() == pytest.approx(stress, abs=1e-7)


def test_one_atom_and_the_smallest_cell(one_head: Path) -> None:
    alone = Atoms("Cu")
    alone.calc = exact(one_head)
    assert np.array_equal(alone.get_forces(), np.zeros((1, 3)))
    primitive, twice = bulk("Cu"), bulk("Cu") * (2, 1, 1)
    primitive.calc, twice.calc = exact(one_head), exact(one_head)
    assert twice.get_potential_energy() == pytest.approx(2 * primitive.get_potential_energy(), rel=100 * EPS)
    assert twice.get_stress() == pytest.approx(primitive.get_stress(), abs=1e-12)
