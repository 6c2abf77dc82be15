"""Charges, dipole, moments and other outputs as ASE properties; direct forces only where they are asked for."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase import GFMCalculator
from gfm_ase.cli import app
from potentials.checkpoint import load_checkpoint
from potentials.structures import graph_from_atoms


@pytest.fixture
def methanol() -> Atoms:
    atoms = molecule("CH3OH")
    atoms.rattle(0.05, seed=1)
    atoms.info["charge"] = 1.0
    return atoms


def of(path: Path, head: str, **settings: object) -> GFMCalculator:
    return GFMCalculator(path, head=head, dtype="float64", device="cpu", **settings)


def test_properties_are_those_of_the_potential(with_outputs: Path, methanol: Atoms) -> None:
    methanol.calc = of(with_outputs, "xtb")
    potential, _ = load_checkpoint(with_outputs)
    said = potential.double()(graph_from_atoms(methanol, 4.0, dataset=1))
    expected = {name: value.detach() for name, value in said.items()}
    assert methanol.get_charges() == pytest.approx(expected["charges"].numpy(), abs=1e-12)
    assert methanol.get_charges().sum() == pytest.approx(1.0, abs=1e-12)
    assert methanol.get_dipole_moment() == pytest.approx(expected["dipole"][0].numpy(), abs=1e-12)
    assert methanol.get_magnetic_moments() == pytest.approx(expected["magmoms"].numpy(), abs=1e-12)
    results = methanol.calc.results
    assert isinstance(results["gap"], float)
    assert results["gap"] == pytest.approx(float(expected["gap"][0]), abs=1e-12)
    assert results["field"] == pytest.approx(expected["field"].numpy(), abs=1e-12)
    assert "hardness" not in results  # of the other head
    assert {"charges", "dipole", "magmoms"} < set(methanol.calc.implemented_properties)


def test_a_head_without_energies_gives_what_it_has_learnt(
    without_energies: Path, tmp_path: Path, methanol: Atoms
) -> None:
    methanol.calc = of(without_energies, "xtb")
    assert methanol.get_charges().sum() == pytest.approx(1.0, abs=1e-12)
    assert methanol.calc.results.keys() == {"charges", "dipole", "magmoms", "direct_forces", "gap", "field"}
    for ask in (methanol.get_potential_energy, methanol.get_forces, methanol.get_stress):
        with pytest.raises(PropertyNotImplementedError, match=r"'xtb' has learnt no energies .*; it gives charges"):
            ask()
    write(tmp_path / "methanol.xyz", methanol)
    done = CliRunner().invoke(app, ["relax", str(without_energies), str(tmp_path / "methanol.xyz"), "--head", "xtb"])
    assert "has learnt no energies and no forces" in str(done.exception)


def test_forces_stay_exact_beside_direct_ones(with_outputs: Path, methanol: Atoms) -> None:
    methanol.calc = of(with_outputs, "xtb")
    forces, step = methanol.get_forces(), 1e-4
    energies = []
    for sign in (1, -1):
        moved = methanol.copy()
        moved.calc = methanol.calc
        moved.positions[2, 1] += sign * step
        energies.append(moved.get_potential_energy())
    assert forces[2, 1] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-6)
    assert np.abs(methanol.calc.results["direct_forces"] - forces).max() > 0.01


def test_direct_forces_on_request(with_outputs: Path, alloy: Atoms) -> None:
    exact, direct = of(with_outputs, "emt"), of(with_outputs, "emt")
    alloy.calc = exact
    wanted, energy = alloy.get_forces(), alloy.get_potential_energy()
    as_output = exact.results["direct_forces"]
    alloy.get_stress()

    alloy.calc = direct
    assert alloy.get_forces() == pytest.approx(wanted)
    direct.use_direct_forces()
    assert alloy.get_forces() == pytest.approx(as_output, abs=1e-12)
    assert np.abs(as_output - wanted).max() > 0.01
    assert alloy.get_potential_energy() == pytest.approx(energy, abs=1e-12)
    with pytest.raises(PropertyNotImplementedError):
        alloy.get_stress()
    copied = pickle.loads(pickle.dumps(direct))  # noqa: S301 - our own object
    alloy.calc = copied
    assert alloy.get_forces() == pytest.approx(as_output, abs=1e-12)
    assert "stress" in exact.implemented_properties  # of its own, not of the class


def test_direct_forces_that_are_not_there(two_heads: Path) -> None:
    with pytest.raises(ValueError, match="head 'xtb' has no direct forces; train with"):
        of(two_heads, "xtb").use_direct_forces()


def test_a_dipole_of_molecules_alone(with_outputs: Path, methanol: Atoms) -> None:
    methanol.calc = of(with_outputs, "xtb")
    methanol.get_dipole_moment()
    methanol.set_cell([20, 20, 20])
    methanol.pbc = (True, False, False)
    assert len(methanol.get_charges()) == 6
    with pytest.raises(PropertyNotImplementedError):
        methanol.get_dipole_moment()


def test_what_a_head_has_not_learnt_is_not_offered(with_outputs: Path, two_heads: Path, alloy: Atoms) -> None:
    alloy.calc = of(with_outputs, "emt")
    with pytest.raises(PropertyNotImplementedError):
        alloy.get_charges()
    assert alloy.get_magnetic_moments().shape == (8,)
    assert "hardness" in alloy.calc.results
    alloy.calc = of(two_heads, "emt")
    with pytest.raises(PropertyNotImplementedError):
        alloy.get_magnetic_moments()
    assert set(alloy.calc.results) <= set(alloy.calc.implemented_properties)


def test_results_go_through_files(with_outputs: Path, methanol: Atoms, tmp_path: Path) -> None:
    methanol.calc = of(with_outputs, "xtb")
    charges, dipole = methanol.get_charges(), methanol.get_dipole_moment()
    for name in ("one.extxyz", "one.traj"):
        write(tmp_path / name, methanol)
        again = read(tmp_path / name)
        assert again.get_charges() == pytest.approx(charges, abs=1e-7)
        assert again.get_dipole_moment() == pytest.approx(dipole, abs=1e-7)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], terminal_width=200)
    assert result.exit_code == 0, result.output
    return result.output


def test_evaluate_and_inspect(
    with_outputs: Path, methanol: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label under its own name and one under another: errors of what the head has learnt."""
    monkeypatch.setenv("COLUMNS", "200")
    methanol.calc = of(with_outputs, "xtb")
    labelled = methanol.copy()
    labelled.info.update(energy=1.0, gap=0.25)
    labelled.info["mu"] = methanol.get_dipole_moment() + np.array([0.3, 0.0, 0.0]) + methanol.positions.mean(axis=0)
    labelled.arrays["charges"] = methanol.get_charges()
    write(tmp_path / "a.extxyz", labelled)
    shown = run(
        "evaluate", with_outputs, tmp_path / "a.extxyz", "--head", "xtb", "--energy-key", "energy",
        "--label", "dipole=mu", "--dtype", "float64", "--json", tmp_path / "errors.json", "--plot", tmp_path / "a.png",
    )  # fmt: skip
    assert "charges, e" in shown
    assert "dipole, eA" in shown
    errors = json.loads((tmp_path / "errors.json").read_text())["xtb"]
    assert errors["dipole_mae_eA"] == pytest.approx(0.1, abs=1e-6)
    assert errors["charges_mae_e"] == pytest.approx(0.0, abs=1e-6)
    assert errors["gap_mae_1"] == pytest.approx(abs(methanol.calc.results["gap"] - 0.25), abs=1e-6)
    assert "magmoms_mae_muB" not in errors
    assert (tmp_path / "a.png").stat().st_size > 1000
    told = run("inspect", with_outputs)
    assert "charges (e), one head a data set" in told


@pytest.mark.parametrize(
    ("given", "told"),
    [("dipole", "not of the form OUTPUT=KEY"), ("hardness=h", "the head has no output 'hardness'; it has charges")],
)
def test_labels_that_cannot_be(given: str, told: str, with_outputs: Path, methanol: Atoms, tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", methanol)
    result = CliRunner().invoke(
        app, ["evaluate", str(with_outputs), str(tmp_path / "a.extxyz"), "--head", "xtb", "--label", given]
    )
    assert result.exit_code != 0
    assert told in f"{result.output} {result.exception}"
