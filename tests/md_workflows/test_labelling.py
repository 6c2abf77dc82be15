"""Labels: those of the calculator, each structure once, whatever a structure does to it or a kill to all."""

import csv
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read

from md_workflows import open_pool
from md_workflows.labelling.calculators import CalculatorSpec
from md_workflows.labelling.labels import LABEL, Here, LabelSettings
from md_workflows.labelling.run import LabelFiles, LabellingSettings, LabelResult, label
from md_workflows.relaxation import RelaxSettings
from tests.md_workflows.labelling_samples import copper
from train.config import DatasetConfig
from train.reading import read_frames

ROOT = Path(__file__).parents[2]
SAMPLES = "tests.md_workflows.labelling_samples"
ODD = CalculatorSpec(f"{SAMPLES}:Odd")


def failures(result: LabelResult) -> dict[str, str]:
    if not result.files.failures.exists():
        return {}
    rows = csv.DictReader(result.files.failures.read_text().splitlines())
    return {row["identifier"]: row["error"] for row in rows}


def test_labels_are_the_calculator_s_and_train_reads_them(tmp_path: Path) -> None:
    frames = copper(3)
    frames[0].set_constraint(FixAtoms([0]))  # a label is not what is left of it by a constraint
    wrong = SinglePointCalculator(frames[1], energy=99.0, forces=np.ones((4, 3)))
    frames[1].calc = wrong  # of a potential, say: no label
    result = label([*frames, frames[2].copy()], tmp_path / "new.extxyz", CalculatorSpec("emt"))
    assert (result.labelled, result.failed, result.duplicates, result.resumed) == (3, 0, 1, 0)
    assert not failures(result)
    config = DatasetConfig(name="emt", train=(str(result.files.labelled),))
    for frame, given in zip(read_frames(config, "train"), frames, strict=True):
        bare = Atoms(given.numbers, given.positions, cell=given.cell, pbc=True, calculator=EMT())
        # positions of extended XYZ have eight digits; the slope of EMT's energy is below 10 eV/Å here
        assert frame.energy == pytest.approx(bare.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(frame.forces, bare.get_forces(), atol=1e-7)
        np.testing.assert_allclose(frame.stress, bare.get_stress(voigt=False), atol=1e-9)
    told = read(result.files.labelled, index=0).info
    assert told["label_calculator"] == "emt"
    assert told["label_version"].startswith("ase 3.")
    assert told["name"] == "n0"


def test_xtb_has_the_charge_and_the_spin_of_info(tmp_path: Path) -> None:
    from tblite.ase import TBLite

    ion, radical, wrong, half = molecule("H2O"), molecule("OH"), molecule("CH4"), molecule("NH3")
    ion.info.update(charge=1, spin=1)
    radical.info.update(spin=1)
    wrong.info.update(charge=1, spin=0)
    half.info.update(charge=0.5)
    result = label([ion, radical, wrong, half, molecule("H2O")], tmp_path / "x.extxyz", CalculatorSpec("xtb"))
    assert (result.labelled, result.failed) == (3, 2)
    found = {atoms.info["identifier"]: atoms for atoms in read(result.files.labelled, index=":")}
    for identifier, given, charge, spin in [(0, ion, 1, 1), (1, radical, 0, 1), (4, molecule("H2O"), 0, 0)]:
        given.calc = TBLite(method="GFN2-xTB", charge=charge, multiplicity=spin + 1, verbosity=0)
        assert found[identifier].get_potential_energy() == pytest.approx(given.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(found[identifier].get_forces(), given.get_forces(), atol=1e-6)
    told = failures(result)
    assert told["2"] == "ValueError: atoms.info['spin'] is 0, and of 9 electrons so many cannot be unpaired"
    assert told["3"] == "ValueError: atoms.info['charge'] is 0.5; xtb wants a whole number"
    gfn1 = label([molecule("H2O")], tmp_path / "g.extxyz", CalculatorSpec("xtb", ("method=GFN1-xTB",)))
    other = read(gfn1.files.labelled).get_potential_energy()
    assert other == pytest.approx(-156.9675, abs=1e-3)  # as tblite's documentation has it
    assert read(gfn1.files.labelled).info["label_calculator"] == "xtb method=GFN1-xTB"


def test_what_a_calculator_lacks_is_no_label(tmp_path: Path) -> None:
    result = label(copper(1), tmp_path / "e.extxyz", CalculatorSpec(f"{SAMPLES}:EnergyAlone"))
    assert set(read(result.files.labelled).calc.results) == {"energy"}
    flat = bulk("Cu") * (2, 2, 1)
    flat.pbc = False
    result = label([flat], tmp_path / "flat.extxyz", CalculatorSpec("emt"))
    assert set(read(result.files.labelled).calc.results) == {"energy", "forces"}


def test_failures_are_rows_and_can_be_tried_again(tmp_path: Path) -> None:
    frames = copper(4)
    frames[1].info["odd"] = "nan"
    frames[2].numbers[:] = 26
    frames[3].info["charge"] = 1
    result = label(frames, tmp_path / "f.extxyz", ODD)
    assert failures(result) == {
        "1": "ValueError: the calculator gives no finite forces",
        "2": "NotImplementedError: No EMT-potential for Fe",
    }
    emt = label(frames, tmp_path / "f.extxyz", CalculatorSpec("emt"))  # another calculator: other labels
    assert (emt.resumed, failures(emt)["3"]) == (0, "ValueError: atoms.info['charge'] is 1, and emt knows no charge")
    assert label(frames, tmp_path / "f.extxyz", ODD).resumed == 4
    again = label(frames, tmp_path / "f.extxyz", ODD, LabellingSettings(retry_failed=True))
    assert (again.resumed, again.failed) == (2, 2)
    assert label(frames[:1], tmp_path / "f.extxyz", ODD, LabellingSettings(resume=False)).resumed == 0
    assert not result.files.failures.exists()  # there are none any more


def test_a_child_hangs_or_dies_for_itself_alone(tmp_path: Path) -> None:
    frames = copper(4)
    frames[1].info["odd"] = "hangs"
    frames[2].info["odd"] = "dies"
    start = time.monotonic()
    result = label(frames, tmp_path / "c.extxyz", ODD, LabellingSettings(timeout_s=4))
    assert failures(result) == {
        "1": "TimeoutError: no labels after 4 s; give a longer --timeout",
        "2": "the calculator ended its process with exit code 7",
    }
    assert time.monotonic() - start < 50  # not the 60 s that it would have taken
    here = label([frames[0], frames[3]], tmp_path / "h.extxyz", ODD)
    for one, other in zip(read(here.files.labelled, ":"), read(result.files.labelled, ":"), strict=True):
        assert one.get_potential_energy() == other.get_potential_energy()
        assert (one.get_forces() == other.get_forces()).all()
    with pytest.raises(ValueError, match="cannot be made"):
        label(frames, tmp_path / "b.extxyz", CalculatorSpec(ODD.name, ("sigma=2",)), LabellingSettings(timeout_s=9))


def test_workers_give_the_same_file(tmp_path: Path) -> None:
    frames = copper(5)
    here = label(frames, tmp_path / "here.extxyz", CalculatorSpec("emt"))
    with open_pool("process", {"workers": 2}) as pool:
        there = label(frames, tmp_path / "there.extxyz", CalculatorSpec("emt"), pool=pool)
    assert here.files.labelled.read_bytes() == there.files.labelled.read_bytes()


CHILD = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from md_workflows.labelling.calculators import CalculatorSpec
from md_workflows.labelling.run import label
from tests.md_workflows.labelling_samples import copper
label(copper(8), "k.extxyz", CalculatorSpec({ODD.name!r}, ("log=log", "seconds=0.3")))
"""


def test_a_kill_loses_nothing_that_is_in_the_table(tmp_path: Path) -> None:
    """Of eight structures that take 0.3 s each, the one under way at the kill is computed twice."""
    log = tmp_path / "log"
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not log.exists() or len(log.read_text().split()) < 4:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    assert not (tmp_path / "k.extxyz").exists()
    subprocess.run([sys.executable, "-c", CHILD], cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
    counts = Counter(log.read_text().split())
    assert sorted(counts) == [f"n{seed}" for seed in range(8)]
    # what waits for a transaction is worth at most 20 of them: mostly one of 0.3 s, more where the disk is slow
    assert sum(counts.values()) <= 8 + 3
    assert len(read(tmp_path / "k.extxyz", index=":")) == 8


def test_calculators_that_there_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, settings, told in [
        ("dft", (), "--calculator dft is not known; there are xtb, emt, and module:callable"),
        ("emt", ("cutoff=3",), "--set cutoff: emt does not take it; it takes"),
        ("emt", ("asap",), "--set asap is not of the form KEY=VALUE"),
        ("xtb", ("gfn=1",), "--set gfn: xtb does not take it; it takes method"),
        ("xtb", ("charge=1",), r"--set charge: xtb takes charge and spin \(unpaired electrons\) of each structure"),
        (f"{SAMPLES}:Od", (), "is not there"),
        (f"{SAMPLES}:nothing", (), "gives a str, which is no ASE calculator"),
    ]:
        with pytest.raises(ValueError, match=told):
            CalculatorSpec(name, settings).build()
    monkeypatch.setattr("md_workflows.labelling.calculators.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"--calculator xtb needs tblite: pip install 'gfm-ase\[labels\]'"):
        CalculatorSpec("xtb").build()
    assert CalculatorSpec(f"{SAMPLES}:Odd").version == "unknown"


def test_where_labels_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels are written as \.extxyz, and not as '\.xyz'"):
        LabelFiles.of(tmp_path / "a.xyz")
    with pytest.raises(ValueError, match="does not exist"):
        LabelFiles.of(tmp_path / "none" / "a.extxyz")


def test_labellers_relax_nothing() -> None:
    with pytest.raises(AssertionError, match="relaxes no"):
        Here(CalculatorSpec("emt")).relax_many([], RelaxSettings())
    measured = LABEL.measure([Atoms()], Here(CalculatorSpec("emt")), LabelSettings())
    assert measured[0].error.startswith("ValueError: the structure has no atoms")
