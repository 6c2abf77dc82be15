"""Labels of outputs: found, converted, checked; what is missing is unknown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potentials.output_config import OutputConfig
from potentials.quantities import Quantity
from train.config_dataset import DatasetConfig
from train.data import label
from train.labelled import batch_labelled
from train.reading import read_frames

OUTPUTS: list[Quantity] = [
    OutputConfig.model_validate(given).quantity
    for given in (
        {"name": "charges"},
        {"name": "dipole"},
        {"name": "magmoms"},
        {"name": "direct_forces"},
        {"name": "gap", "level": "graph", "extensive": False},
        {"name": "field", "level": "atom", "kind": "vector"},
    )
]
CHARGES = np.array([-0.6, 0.3, 0.3])


def water(**results: Any) -> Atoms:
    atoms = molecule("H2O")
    atoms.positions += 1.0
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, **results)
    return atoms


def read(folder: Path, *frames: Atoms, **settings: Any) -> list[Any]:
    write(folder / "frames.extxyz", list(frames))
    config = DatasetConfig.model_validate({"name": "a", "train": "frames.extxyz", **settings}, context={"base": folder})
    return read_frames(config, "train", outputs=OUTPUTS)


def test_what_ase_keeps_is_found_without_a_key(tmp_path: Path) -> None:
    atoms = water(charges=CHARGES, dipole=np.array([0.1, 0.2, 0.3]), magmoms=np.array([1.0, 0.0, 0.0]))
    atoms.info["gap"] = 7.5
    atoms.arrays["field"] = np.arange(9.0).reshape(3, 3)
    (frame,) = read(tmp_path, atoms)
    assert frame.outputs["charges"] == pytest.approx(CHARGES)
    assert frame.outputs["dipole"] == pytest.approx([0.1, 0.2, 0.3])
    assert frame.outputs["magmoms"] == pytest.approx([1.0, 0.0, 0.0])
    assert frame.outputs["gap"] == pytest.approx(7.5)
    assert frame.outputs["field"] == pytest.approx(np.arange(9.0).reshape(3, 3))


def test_keys_units_and_factors(tmp_path: Path) -> None:
    atoms = water()
    atoms.info.update(mu=[1.0, 0.0, 0.0], gap_meV=7500.0)
    labels = {"dipole": {"key": "mu", "unit": "Debye"}, "gap": {"key": "gap_meV", "factor": 1e-3}}
    (frame,) = read(tmp_path, atoms, labels=labels)
    assert frame.outputs["dipole"] == pytest.approx([0.20819433, 0, 0], rel=1e-7)  # CODATA
    assert frame.outputs["gap"] == pytest.approx(7.5)


@pytest.mark.parametrize("origin", ["coordinates", "mass"])
def test_the_dipole_of_an_ion_is_moved_to_the_mean_position(origin: str, tmp_path: Path) -> None:
    """Point charges: what is read is their dipole about the mean position, wherever it was taken about before."""
    atoms = water()
    charges = np.array([0.4, 0.3, 0.3])
    about = np.zeros(3) if origin == "coordinates" else atoms.get_center_of_mass()
    atoms.calc.results["dipole"] = charges @ (atoms.positions - about)
    atoms.info["charge"] = 1.0
    (frame,) = read(tmp_path, atoms, labels={"dipole": {"origin": origin}})
    assert frame.outputs["dipole"] == pytest.approx(charges @ (atoms.positions - atoms.positions.mean(0)), abs=1e-7)


def test_a_missing_label_is_unknown_and_batches(tmp_path: Path) -> None:
    frames = read(tmp_path, water(charges=CHARGES), water())
    batch = batch_labelled([label(frame, 4.0, outputs=OUTPUTS) for frame in frames])
    assert batch.known["charges"].tolist() == [True] * 3 + [False] * 3
    assert batch.known["dipole"].tolist() == [False, False]
    assert batch.labels["dipole"].shape == (2, 3)
    assert batch.labels["charges"].dtype == torch.float64
    assert "direct_forces" not in batch.labels  # it learns from the forces


def with_info(**info: Any) -> Atoms:
    atoms = water()
    atoms.info.update(info)
    return atoms


def crystal_with_a_dipole() -> Atoms:
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, dipole=np.ones(3))
    return atoms


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (water(charges=CHARGES + 0.3), r"charges add up to 0\.900 e, but atoms\.info\['charge'\] says 0"),
        (with_info(gap=float("nan")), "gap holds nan; a label must be finite"),
        (with_info(gap="wide"), "gap: 'wide' is given; it must be numbers"),
        (with_info(gap=[1.0, 2.0]), r"gap has shape \[2\]; it must be one number"),
        (with_info(dipole=[1.0, 2.0]), r"dipole has shape \[2\]; it must be \[3\]"),
        (crystal_with_a_dipole(), "it repeats; only molecules have one"),
    ],
)
def test_labels_that_cannot_be_right(frame: Atoms, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"frames\.extxyz:0: .*{told}"):
        read(tmp_path, frame)
    frames = read(tmp_path, frame, water(), on_bad="drop")
    assert len(frames) == 1


def test_charges_of_an_ion(tmp_path: Path) -> None:
    atoms = water(charges=CHARGES + 1 / 3)
    atoms.info["charge"] = 1.0
    assert read(tmp_path, atoms)[0].outputs["charges"] == pytest.approx(CHARGES + 1 / 3)


def test_a_key_that_no_frame_has(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has dipole called 'dip_xtb'; .*did you mean labels\.dipole\.key = 'dip_xyz'"
    ):
        read(tmp_path, with_info(dip_xyz=[1.0, 0.0, 0.0]), labels={"dipole": {"key": "dip_xtb"}})


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"dipole": {"unit": "au"}}, "the unit of dipole is 'au'; it must be 'e·Å' or"),
        ({"gap": {"unit": "meV"}}, "the unit of gap is 'meV'; it must be left out; give factor instead"),
        ({"direct_forces": {"key": "f"}}, "direct_forces learn from the forces; give forces_key"),
        ({"dipole": {"factor": -1.0}}, "greater than 0"),
    ],
)
def test_settings_of_labels_that_cannot_be(labels: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DatasetConfig.model_validate({"name": "a", "train": "x", "labels": labels})
