"""Labels of frames: keys, units, signs, and what becomes of bad ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import write

from train.config import DatasetConfig
from train.frame import Frame
from train.reading import overlooked, read_frames
from train.sieve import Sieve

VOIGT = np.array([1.0, 2.0, 3.0, 0.4, 0.5, 0.6]) * 1e-2
MATRIX = np.array([[1.0, 0.6, 0.5], [0.6, 2.0, 0.4], [0.5, 0.4, 3.0]]) * 1e-2


def crystal(**results: Any) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    values = {"energy": -7.0, "forces": np.arange(6.0).reshape(2, 3), "stress": VOIGT, **results}
    atoms.calc = SinglePointCalculator(atoms, **{name: value for name, value in values.items() if value is not None})
    return atoms


def config(*paths: Path, **settings: Any) -> DatasetConfig:
    return DatasetConfig(name="salt", train=tuple(str(path) for path in paths), **settings)


def read(atoms: Atoms | list[Atoms], path: Path, **settings: Any) -> list[Frame]:
    write(path, atoms)
    return read_frames(config(path, **settings), "train")


def test_units_are_converted_once(tmp_path: Path) -> None:
    settings = {"energy_unit": "Hartree", "length_unit": "Bohr", "stress_unit": "GPa", "stress_sign": "negative"}
    (frame,) = read(crystal(), tmp_path / "a.xyz", **settings)
    assert frame.energy == pytest.approx(-7.0 * 27.211386, rel=1e-6)
    assert frame.forces is not None
    assert frame.stress is not None
    np.testing.assert_allclose(frame.forces[1, 2], 5.0 * 51.422067, rtol=1e-6)  # 1 Hartree/Bohr in eV/Å
    np.testing.assert_allclose(frame.stress, -MATRIX / 160.21766, rtol=1e-6)  # 1 eV/Å³ is 160.2 GPa
    np.testing.assert_array_equal(frame.atoms.positions, crystal().positions)


@pytest.mark.parametrize(
    ("unit", "in_eV"), [("meV", 1e-3), ("Ry", 13.605693), ("kcal/mol", 0.0433641), ("kJ/mol", 0.01036427)]
)
def test_energy_units(tmp_path: Path, unit: str, in_eV: float) -> None:
    (frame,) = read(crystal(), tmp_path / "a.xyz", energy_unit=unit)
    assert frame.energy == pytest.approx(-7.0 * in_eV, rel=1e-6)


def test_kbar_and_a_virial(tmp_path: Path) -> None:
    (frame,) = read(crystal(), tmp_path / "a.xyz", stress_unit="kbar")
    assert frame.stress is not None
    np.testing.assert_allclose(frame.stress, MATRIX * units.GPa / 10)
    atoms = crystal(stress=None)
    atoms.info["virial"] = -MATRIX * atoms.cell.volume
    (frame,) = read(atoms, tmp_path / "b.xyz", stress_key="virial", stress_unit="eV", stress_sign="negative")
    assert frame.stress is not None
    np.testing.assert_allclose(frame.stress, MATRIX, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.xyz", "a.db"])
def test_labels_under_other_names(tmp_path: Path, name: str) -> None:
    atoms = crystal()
    forces = np.full((2, 3), 0.25)
    if name == "a.db":
        connect(tmp_path / name).write(atoms, REF_energy=-9.0, data={"REF_forces": forces, "REF_stress": 2 * MATRIX})
    else:
        atoms.info |= {"REF_energy": -9.0, "REF_stress": 2 * MATRIX}
        atoms.arrays["REF_forces"] = forces
        write(tmp_path / name, atoms)
    keys = {f"{quantity}_key": f"REF_{quantity}" for quantity in ("energy", "forces", "stress")}
    (frame,) = read_frames(config(tmp_path / name, **keys), "train")
    assert frame.energy == -9.0
    assert frame.forces is not None
    assert frame.stress is not None
    np.testing.assert_allclose(frame.forces, forces)
    np.testing.assert_allclose(frame.stress, 2 * MATRIX)


def test_a_key_of_a_standard_name_is_found_where_ase_puts_it(tmp_path: Path) -> None:
    (frame,) = read(crystal(), tmp_path / "a.xyz", energy_key="energy", forces_key="forces")
    assert frame.energy == -7.0
    assert frame.forces is not None


def test_forces_on_fixed_atoms_are_those_of_the_file(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 1]))
    (frame,) = read(atoms, tmp_path / "a.traj")
    assert frame.forces is not None
    np.testing.assert_array_equal(frame.forces, np.arange(6.0).reshape(2, 3))


def test_a_missing_label_is_unknown(tmp_path: Path) -> None:
    frames = read([crystal(), crystal(energy=None), crystal(forces=None), crystal(stress=None)], tmp_path / "a.xyz")
    known = [(f.energy is not None, f.forces is not None, f.stress is not None) for f in frames]
    assert known == [(True, True, True), (False, True, True), (True, False, True), (True, True, False)]


def test_free_energy_is_not_energy(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"none of the 1 frames of train has an energy in an attached calculator; there is"
    ):
        read(crystal(energy=None, free_energy=-7.1), tmp_path / "a.traj")
    (frame,) = read(crystal(energy=None, free_energy=-7.1), tmp_path / "b.traj", energy_key="free_energy")
    assert frame.energy == -7.1


def test_no_energies_names_the_keys_that_are_there(tmp_path: Path) -> None:
    atoms = bulk("Cu")
    atoms.info |= {"REF_energy": -1.0, "run": 7}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - checked below
        read(atoms, tmp_path / "a.xyz")
    assert "there is REF_energy, run; did you mean energy_key = 'REF_energy'?" in str(caught.value)
    with pytest.raises(ValueError, match=r"has an energy called 'ref_energy'.* did you mean energy_key = 'REF_energy'"):
        read(atoms, tmp_path / "b.xyz", energy_key="ref_energy")
    with pytest.raises(ValueError, match="there is nothing but the structures"):
        read(bulk("Cu"), tmp_path / "c.xyz")


def test_a_key_that_no_training_frame_has_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has forces called 'REF_forces'; .* did you mean forces_key = 'forces'"):
        read(crystal(), tmp_path / "a.xyz", forces_key="REF_forces")
    with pytest.raises(ValueError, match=r"has a stress called 'REF_stress'"):
        read(crystal(), tmp_path / "b.xyz", stress_key="REF_stress")


def test_overlooked_labels_are_told(tmp_path: Path) -> None:
    atoms = crystal(forces=None)
    atoms.arrays["REF_forces"] = np.zeros((2, 3))
    path = tmp_path / "a.xyz"
    lines = overlooked(config(path), read(atoms, path))
    assert lines == ["no forces found, but there is 'REF_forces'; is forces_key = 'REF_forces' meant?"]
    assert overlooked(config(path), read(crystal(), path)) == []


def with_keys(**values: Any) -> Atoms:
    """A crystal with labels under keys e, f and s; good ones where none are given."""
    atoms = crystal(energy=None, forces=None, stress=None)
    atoms.calc = None
    atoms.info |= {"e": values.get("e", -7.0), "s": values.get("s", MATRIX)}
    atoms.arrays["f"] = values.get("f", np.zeros((2, 3)))
    return atoms


def lonely_with_stress() -> Atoms:
    atoms = molecule("H2")
    atoms.info |= {"e": -1.0, "s": MATRIX}
    return atoms


BAD = {
    "nan energy": (with_keys(e=np.nan), "the energy contains nan; a label must be finite"),
    "two energies": (with_keys(e=[1.0, 2.0]), r"the energy has shape \[2\]; it must be one number"),
    "inf force": (with_keys(f=np.full((2, 3), np.inf)), "the forces contains inf"),
    "wrong shape": (with_keys(f=np.zeros((2, 2))), r"the forces have shape \[2, 2\]; they must be \[2, 3\]"),
    "nan stress": (with_keys(s=MATRIX * np.nan), "the stress contains nan"),
    "skewed": (with_keys(s=MATRIX + np.triu(np.ones((3, 3)), 1)), "the stress .* is not symmetric"),
    "words": (with_keys(s="unconverged"), "the stress is 'unconverged'; it must be numbers"),
    "short": (with_keys(s=[1.0, 2.0]), r"the stress has shape \[2\]; it must be 6 numbers"),
    "no cell": (lonely_with_stress(), "the frame has a stress, but no periodic cell"),
    "empty": (Atoms(), "the frame has no atoms"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_frame_raises_or_is_dropped_and_counted(tmp_path: Path, case: str) -> None:
    bad, says = BAD[case]
    path = tmp_path / "a.xyz"
    for atoms in (with_keys(), bad):
        write(path, atoms, append=True)
    keys = {"energy_key": "e", "forces_key": "f", "stress_key": "s"}
    with pytest.raises(
        ValueError, match=rf"data set 'salt', .*a\.xyz:1: {says}.* \(on_bad = \"drop\" leaves such frames"
    ):
        read_frames(config(path, **keys), "train")
    sieve = Sieve("salt", "drop")
    frames = read_frames(config(path, on_bad="drop", **keys), "train", sieve=sieve)
    assert [frame.source for frame in frames] == [f"{path}:0"]
    kind = "empty frame" if case == "empty" else "bad label"
    assert sieve.counts == {kind: 1}
    (line,) = sieve.report()
    assert line.startswith(f"1 frame left out ({kind}); the first is {path}:1: ")


@pytest.mark.parametrize(
    "results", [{"energy": np.nan}, {"forces": np.full((2, 3), np.nan)}, {"stress": VOIGT * np.nan}]
)
def test_a_nan_in_the_calculator_is_no_missing_label(tmp_path: Path, results: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"a\.xyz:1: the {next(iter(results))} contains nan"):
        read([crystal(), crystal(**results)], tmp_path / "a.xyz")


def test_stress_of_no_cell_is_unknown_where_it_is_zero(tmp_path: Path) -> None:
    atoms = molecule("H2")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, stress=np.zeros(6))
    (frame,) = read(atoms, tmp_path / "a.xyz")
    assert frame.stress is None


def test_large_forces_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    write(path, [crystal(), crystal(forces=np.zeros((2, 3)))])
    sieve = Sieve("salt", "raise")
    frames = read_frames(config(path, max_force=1.0), "train", sieve=sieve)
    assert [frame.source for frame in frames] == [f"{path}:1"]
    assert sieve.counts == {"force above max_force": 1}


def test_an_isolated_atom_is_a_frame(tmp_path: Path) -> None:
    atom = Atoms("H")
    atom.calc = SinglePointCalculator(atom, energy=-13.6)
    (frame,) = read(atom, tmp_path / "a.xyz")
    assert (len(frame.atoms), frame.energy) == (1, -13.6)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    write(tmp_path / "a.xyz", [crystal()] * 250)
    read_frames(config(tmp_path / "a.xyz"), "train", progress=lambda *what: told.append(what))
    assert told == [("reading salt train", 100, None), ("reading salt train", 200, None)]
