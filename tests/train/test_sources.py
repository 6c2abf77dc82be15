"""Published layouts: small files made in them, read into eV and Å."""

import gzip
import itertools
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import compare_atoms

from potentials.quantities import OUTPUTS
from train.config import DatasetConfig
from train.config_dataset import Format
from train.frame import Frame
from train.reading import read_frames
from train.sources.hdf5 import formal_charge
from train.sources.registry import SOURCES
from train.store.convert import Conversion, convert
from train.store.frames import stored_frames

RNG = np.random.default_rng(3)
WATER = np.array([8, 1, 1], dtype=np.uint8)
PLACES = RNG.normal(size=(2, 3, 3)) * 2


def frames(path: Path, layout: str, **settings: Any) -> list[Frame]:
    config = DatasetConfig(name="a", train=(str(path),), format=layout, **settings)  # type: ignore[arg-type]
    return read_frames(config, "train", outputs=list(OUTPUTS.values()))


def test_ani1x(tmp_path: Path) -> None:
    path = tmp_path / "ani1x-release.h5"
    energies, forces = np.array([-76.3, np.nan]), RNG.normal(size=(2, 3, 3)).astype(np.float32)
    forces[1] = np.nan
    with h5py.File(path, "w") as file:
        group = file.create_group("H2O1")
        group["atomic_numbers"] = WATER
        group["coordinates"] = PLACES.astype(np.float32)
        group["wb97x_dz.energy"] = energies
        group["wb97x_dz.forces"] = forces
    first, second = frames(path, "ani1x")
    assert first.energy == pytest.approx(-76.3 * 27.211386, rel=1e-7)
    np.testing.assert_allclose(first.forces, forces[0] * 27.211386, rtol=1e-6)
    np.testing.assert_allclose(first.atoms.positions, PLACES[0], rtol=1e-6)
    assert first.atoms.numbers.tolist() == [8, 1, 1]
    assert first.source == f"{path}:H2O1/0"
    assert (second.energy, second.forces) == (None, None)


def test_qm7x(tmp_path: Path) -> None:
    path = tmp_path / "1000.hdf5"
    forces = RNG.normal(size=(3, 3))
    with h5py.File(path, "w") as file:
        group = file.create_group("7/Geom-m7-i1-c1-opt")
        group["atNUM"], group["atXYZ"] = WATER, PLACES[0]
        group["ePBE0+MBD"], group["totFOR"] = np.array([-2076.1]), forces
    (frame,) = frames(path, "qm7x")
    assert (frame.energy, frame.source) == (-2076.1, f"{path}:7/Geom-m7-i1-c1-opt")
    np.testing.assert_array_equal(frame.forces, forces)


def test_spice(tmp_path: Path) -> None:
    path = tmp_path / "SPICE-2.hdf5"
    gradient, charges = RNG.normal(size=(2, 3, 3)), np.array([[-1.2, 0.1, 0.1]] * 2)
    with h5py.File(path, "w") as file:
        group = file.create_group("hydroxide-like")
        group["atomic_numbers"], group["conformations"] = WATER, PLACES
        group["smiles"] = np.array([b"[O-:1]([H:2])[H:3]"])
        group["dft_total_energy"], group["dft_total_gradient"] = np.array([-76.0, -75.5]), gradient
        group["mbis_charges"] = charges[..., None]
    first, second = frames(path, "spice")
    assert second.energy == pytest.approx(-75.5 * units.Hartree)
    np.testing.assert_allclose(first.forces, -gradient[0] * units.Hartree / units.Bohr)
    np.testing.assert_allclose(first.atoms.positions, PLACES[0] * 0.5291772, rtol=1e-6)
    assert first.atoms.info["charge"] == -1.0
    np.testing.assert_array_equal(first.outputs["charges"], charges[0])


@pytest.mark.parametrize(
    ("smiles", "charge"),
    [("[NH3+:1][CH2:2][C:3](=[O:4])[O-:5]", 0), ("[Ca+2]", 2), ("[Fe++]", 2), ("[Cl-].[Na+].[Cl-]", -1), ("CC#N", 0)],
)
def test_formal_charges(smiles: str, charge: int) -> None:
    assert formal_charge(smiles) == charge


def test_transition1x(tmp_path: Path) -> None:
    path = tmp_path / "Transition1x.h5"
    energies, forces = np.array([-2079.0, -2078.0]), RNG.normal(size=(2, 3, 3))
    with h5py.File(path, "w") as file:
        reaction = file.create_group("data/H2O/rxn0001")
        for group, rows in (
            (reaction, slice(0, 2)),
            (reaction.create_group("reactant"), slice(0, 1)),
            (reaction.create_group("product"), slice(1, 2)),
            (reaction.create_group("transition_state"), slice(1, 2)),
        ):
            group["atomic_numbers"], group["positions"] = WATER, PLACES[rows]
            group["wB97x_6-31G(d).energy"] = energies[rows]
            group["wB97x_6-31G(d).forces"] = forces[rows]
        file["train/H2O"] = file["data/H2O"]
    found = frames(path, "transition1x")
    assert [frame.source.partition(":")[2] for frame in found] == [
        "H2O/rxn0001/reactant/0",
        "H2O/rxn0001/product/0",
        "H2O/rxn0001/0",
        "H2O/rxn0001/1",
    ]
    assert [frame.energy for frame in found] == [-2079.0, -2078.0, -2079.0, -2078.0]
    np.testing.assert_array_equal(found[3].forces, forces[1])


def crystal(**record: Any) -> dict[str, Any]:
    cell = [[4.0, 0.0, 0.0], [0.5, 4.0, 0.0], [0.0, 0.0, 5.0]]
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": [0, 0, 0], "xyz": place, "label": symbol}
        for symbol, place in (("Fe", [0.0, 0.0, 0.0]), ("O", [2.0, 2.0, 2.5]))
    ]
    structure = {"@module": "pymatgen.core.structure", "charge": 0, "lattice": {"matrix": cell}, "sites": sites}
    return {"structure": structure, "corrected_total_energy": -15.0, **record}


def test_mptrj(tmp_path: Path) -> None:
    path = tmp_path / "MPtrj.json"
    stress = [[10.0, 1.0, 0.0], [1.0, 20.0, 0.0], [0.0, 0.0, -30.0]]
    whole = crystal(uncorrected_total_energy=-12.5, force=[[0, 0, 0.1], [0, 0, -0.1]], stress=stress, magmom=[2.5, 0.1])
    bare = crystal(uncorrected_total_energy=-12.0, force=[[0, 0, 0], [0, 0, 0]], stress=stress, magmom=None)
    path.write_text(json.dumps({"mp-1": {"mp-1-0-0": whole, "mp-1-0-1": bare}, "mp-2": {"mp-2-0-0": bare}}))
    first, second, third = frames(path, "mptrj")
    assert (first.energy, third.source) == (-12.5, f"{path}:mp-2/mp-2-0-0")
    np.testing.assert_allclose(first.stress, -np.array(stress) * 0.1 / 160.21766, rtol=1e-6)
    np.testing.assert_array_equal(first.outputs["magmoms"], [2.5, 0.1])
    assert second.outputs == {}
    assert first.atoms.get_chemical_symbols() == ["Fe", "O"]
    assert first.atoms.pbc.all()
    assert first.atoms.cell[1].tolist() == [0.5, 4.0, 0.0]
    shared = crystal(uncorrected_total_energy=1.0)
    shared["structure"]["sites"][0]["species"].append({"element": "Ni", "occu": 0.5})
    path.write_text(json.dumps({"mp-1": {"a": shared}}))
    with pytest.raises(ValueError, match="a site is shared by 2 elements"):
        frames(path, "mptrj")


def matpes(number: int = 0, **record: Any) -> dict[str, Any]:
    """An entry as MatPES 2025.1 has it; what only describes it is shortened."""
    entry = crystal(
        builder_meta={"emmet_version": "0.84"},
        nsites=2,
        elements=["Fe", "O"],
        volume=80.0,
        energy=-13.5,
        forces=[[0.25, 0.0, -0.5], [-0.25, 0.0, 0.5]],
        stress=[-5.0, 10.0, 20.0, 1.0, 2.0, 3.0],
        abs_forces=[0.559, 0.559],
        matpes_id=f"matpes-20240214_999484_{number}",
        bandgap=0.0,
        functional="PBE",
        cohesive_energy_per_atom=-4.25,
        provenance={"original_mp_id": "mp-999484", "md_ensemble": "NpT", "md_step": 93},
    )
    entry.update(record)
    for site, moment in zip(entry["structure"]["sites"], (2.25, -0.125), strict=True):
        site["properties"] = {"magmom": moment}
    return entry


@pytest.mark.parametrize("packed", [False, True])
def test_matpes(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("MatPES-PBE-2025.1.json.gz" if packed else "MatPES-PBE-2025.1.json")
    bare, skew = matpes(1, stress=None, forces=None), matpes(2, stress=None)
    del bare["structure"]["sites"][1]["properties"]
    skew["stress_matrix"] = [[-5.0, 3.0, 2.0], [3.001, 10.0, 1.0], [2.0, 1.0, 20.0]]
    content = json.dumps([matpes(), bare, skew]).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    first, second, third = frames(path, "matpes_pbe")
    assert (first.energy, first.source) == (-13.5, f"{path}:matpes-20240214_999484_0")
    np.testing.assert_array_equal(first.forces, [[0.25, 0.0, -0.5], [-0.25, 0.0, 0.5]])
    # xx, yy, zz, yz, xz, xy in kbar, VASP's sign; 1 eV/Å³ is 160.21766 GPa
    matrix = -np.array([[-5.0, 3.0, 2.0], [3.0, 10.0, 1.0], [2.0, 1.0, 20.0]]) * 0.1 / 160.21766
    np.testing.assert_allclose(first.stress, matrix, rtol=1e-6)
    np.testing.assert_allclose(third.stress, matrix, rtol=1e-3)
    np.testing.assert_array_equal(first.outputs["magmoms"], [2.25, -0.125])
    assert (second.forces, second.stress, second.outputs) == (None, None, {})
    np.testing.assert_array_equal(first.atoms.positions[1], [2.0, 2.0, 2.5])


def test_the_functionals_of_matpes_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "MatPES-R2SCAN-2025.1.json.gz"
    path.write_bytes(gzip.compress(json.dumps([matpes(functional="r2SCAN", energy=-25.0)]).encode()))
    assert [frame.energy for frame in frames(path, "matpes_r2scan")] == [-25.0]
    with pytest.raises(
        ValueError, match=r'json\.gz.*_0 is of r2SCAN, not of PBE; format = "matpes_r2scan" is the other'
    ):
        frames(path, "matpes_pbe")
    path.write_bytes(gzip.compress(json.dumps([matpes()]).encode()))
    with pytest.raises(ValueError, match=r'_0 is of PBE, not of r2SCAN; format = "matpes_pbe" is the other'):
        frames(path, "matpes_r2scan")


def test_json_that_breaks_off_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json.gz"
    whole = gzip.compress(json.dumps([matpes(number) for number in range(600)]).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.json\.gz cannot be read beyond its first [1-9]\d+ frames: .*end"):
        frames(path, "matpes_pbe")
    path.write_bytes(gzip.compress(b"[1, 2]"))
    with pytest.raises(ValueError, match=r"a\.json\.gz cannot be read beyond its first 0 frames: entry 0 is no record"):
        frames(path, "matpes_pbe")
    monkeypatch.setitem(sys.modules, "ijson", None)
    with pytest.raises(ValueError, match=r"needs ijson: pip install 'gfm-ase\[json\]'"):
        frames(path, "matpes_pbe")


def test_json_is_read_as_a_stream(tmp_path: Path) -> None:
    """Of a file of some 17 MB, no more than a little is in memory at once."""
    path = tmp_path / "a.json.gz"
    text = json.dumps(matpes())
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("[" + ",".join([text] * 200))
        for _ in range(49):
            file.write("," + ",".join([text] * 200))
        file.write("]")
    reading = SOURCES["matpes_pbe"].frames(path)
    next(reading)
    tracemalloc.start()
    count = 1 + sum(1 for _ in itertools.islice(reading, 1500))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1501
    assert peak < 2e6


def test_a_layout_goes_into_a_store(tmp_path: Path) -> None:
    test_qm7x(tmp_path)
    config = DatasetConfig(name="qm7x", train=(str(tmp_path / "1000.hdf5"),), format="qm7x")
    convert(Conversion(config, SOURCES["qm7x"].about, tmp_path / "a.store"))
    (one,), (other,) = frames(tmp_path / "1000.hdf5", "qm7x"), stored_frames(tmp_path / "a.store")
    assert not compare_atoms(one.atoms, other.atoms)
    assert one.energy == other.energy


def test_a_layout_has_its_own_units_and_may_lack_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_qm7x(tmp_path)
    with pytest.raises(ValueError, match=r"is in the layout of qm7x, .*; leave energy_unit out"):
        frames(tmp_path / "1000.hdf5", "qm7x", energy_unit="Hartree")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"needs h5py: pip install 'gfm-ase\[hdf5\]'"):
        frames(tmp_path / "1000.hdf5", "qm7x")


def test_every_layout_may_be_named_in_a_run_file_and_is_described() -> None:
    assert set(get_args(Format)) == {"auto", *SOURCES}
    for name, source in SOURCES.items():
        assert source.about.name == name
        assert source.about.source.startswith("https://")
        assert name == "hydragnn" or (source.about.theory and source.about.citation)
