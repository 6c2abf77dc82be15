"""The warning of structures outside of the data: when it comes, when not again, and who else hears of it."""

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from gfm_ase import GFMCalculator, OutsideDataWarning
from md_workflows import MDSettings, RelaxSettings, UncertaintyPolicy, relax_many, run_md_many
from md_workflows.uncertainty import uncertainties_of
from potentials.calibration import HeadCalibration, QuantityCalibration
from potentials.checkpoint import save_calibrated
from tests.gfm_ase.boxes import write

HEADS = {"emt": "Al Cu", "xtb": "H O"}
FOUND = {"structures": {"*": 30}, "values": {"*": 30}}

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    def made(limits: dict[str, float]) -> Path:
        folder = tmp_path_factory.mktemp("outside")
        return write(folder / "model.safetensors", HEADS, {"emt": {3: 9}, "xtb": {0: 9}}, {"emt": limits})

    return made


def rattled(amount: float = 0.1) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[0] = 13
    atoms.rattle(amount, seed=2)
    return atoms


def uncertainty(path: Path, atoms: Atoms) -> np.ndarray:
    calculator = GFMCalculator(path, head="emt", device="cpu")
    calculator.warn = False
    calculator.calculate(atoms)
    return np.array(calculator.results["forces_uncertainty"])


@pytest.fixture(scope="module")
def limits(make: Make) -> dict[str, float]:
    """Half of what the rattled cell has on aluminium, far above on copper."""
    given = uncertainty(make({"Al": 1e3, "Cu": 1e3}), rattled())
    return {"Al": float(given[0]) / 1.5, "Cu": float(given[1:].max()) * 10}


@pytest.fixture(scope="module")
def model(make: Make, limits: dict[str, float]) -> Path:
    return make(limits)


def silent(calculator: GFMCalculator, atoms: Atoms) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calculator.calculate(atoms)


def test_it_names_head_atom_uncertainty_and_limit(model: Path, limits: dict[str, float]) -> None:
    calculator = GFMCalculator(model, device="cpu")
    with pytest.warns(OutsideDataWarning, match="outside the data of head 'emt': AlCu3") as told:
        calculator.calculate(rattled())
    text = str(told[0].message)
    assert "at atom 0 (Al)" in text
    assert f"{calculator.results['forces_uncertainty'][0]:.3g} eV/Å" in text
    assert f"{limits['Al']:.3g} eV/Å" in text
    assert calculator.results["outside"] == pytest.approx(1.5)
    assert issubclass(OutsideDataWarning, UserWarning)


def test_inside_nothing_is_said(make: Make) -> None:
    calculator = GFMCalculator(make({"Al": 1e3, "Cu": 1e3}), head="emt", device="cpu")
    silent(calculator, rattled())
    assert 0 < calculator.results["outside"] < 1


def test_without_a_record_nothing_is_known(make: Make) -> None:
    calculator = GFMCalculator(make({}), head="emt", device="cpu")
    silent(calculator, rattled())
    assert "outside" not in calculator.results
    assert "outside" not in calculator.batch_model().outputs


def test_once_for_a_run_and_again_when_it_doubles(make: Make) -> None:
    atoms = rattled(0.02)
    first = uncertainty(make({}), atoms).max()
    calculator = GFMCalculator(make({"Al": first / 1.2, "Cu": first / 1.2}), head="emt", device="cpu")
    far = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for step in range(12):
            atoms.set_cell(atoms.cell * 0.97, scale_atoms=True)
            calculator.calculate(atoms)
            far.append(calculator.results["outside"])
            expected = _doublings(far)
            assert len(told) == expected, step
    assert 1 <= len(told) < 12
    other = atoms.copy()
    other.numbers[1] = 13  # another structure is another matter
    with pytest.warns(OutsideDataWarning):
        calculator.calculate(other)


def _doublings(far: list[float]) -> int:
    told, count = 0.0, 0
    for value in far:
        if value > max(1, 2 * told):
            told, count = value, count + 1
    return count


def test_dynamics_warn_once(model: Path) -> None:
    atoms = rattled()
    atoms.calc = GFMCalculator(model, device="cpu")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        VelocityVerlet(atoms, timestep=0.5).run(10)
    assert [one.category for one in told] == [OutsideDataWarning]


def test_it_can_be_switched_off(model: Path) -> None:
    calculator = GFMCalculator(model, device="cpu")
    calculator.warn = False
    silent(calculator, rattled())
    assert calculator.results["outside"] > 1  # it is still told
    other = GFMCalculator(model, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", OutsideDataWarning)
        other.calculate(rattled())


def test_copies_warn_for_themselves(model: Path) -> None:
    calculator = GFMCalculator(model, device="cpu")
    for twin in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):  # noqa: S301 - its own
        with pytest.warns(OutsideDataWarning):
            twin.calculate(rattled())


def test_calibrated_limits_are_those_of_before(model: Path, tmp_path: Path) -> None:
    """A structure on the limit is on it whatever the factors, floors and coverage."""
    row = QuantityCalibration(
        floor=0.05, factors={"0.5": {"*": 0.8, "Al": 0.5}, "0.9": {"*": 2.25, "Al": 3.0}}, **FOUND
    )
    path = tmp_path / "calibrated.safetensors"
    save_calibrated(path, model, "emt", HeadCalibration(quantities={"forces": row, "energy": row}))
    calculator = GFMCalculator(path, head="emt", device="cpu")
    with pytest.warns(OutsideDataWarning):
        calculator.calculate(rattled())
    raw = uncertainty(model, rattled())
    assert not np.allclose(raw, calculator.results["forces_uncertainty"])
    limit = raw[0] / 1.5
    expected = np.hypot(raw[0], 0.05) / np.hypot(limit, 0.05)
    assert calculator.results["outside"] == pytest.approx(expected)
    calculator.use_coverage(0.5)
    calculator.warn = False
    calculator.calculate(rattled())
    assert calculator.results["outside"] == pytest.approx(expected)


def test_direct_forces_are_not_judged(model: Path) -> None:
    """Only what has uncertainties of forces is."""
    calculator = GFMCalculator(model, head="xtb", device="cpu")
    assert calculator.uncertainties.limits is None


def test_an_element_without_training_atoms_is_outside(make: Make) -> None:
    """Its E0 may be known all the same, from the run file."""
    atoms = rattled()
    calculator = GFMCalculator(make({"Cu": 1e3}), head="emt", device="cpu")
    silent(calculator, atoms)  # aluminium has no limit, and a finite uncertainty
    assert calculator.potential.last_layer is not None
    calculator.potential.last_layer.seen_DZ[0, 13] = False
    calculator.reset()
    with pytest.warns(OutsideDataWarning, match=r"inf eV/Å at atom 0 \(Al\), an element without training"):
        calculator.calculate(atoms)
    assert calculator.results["outside"] == np.inf


def test_many_at_once_are_told_of_it(model: Path) -> None:
    """No Python warning for each of thousands: a number in frames and rows, and a policy that acts on it."""
    structures = [rattled(), rattled(0.05), bulk("Cu", cubic=True)]
    expected = []
    for atoms in structures:
        calculator = GFMCalculator(model, head="emt", device="cpu")
        calculator.warn = False
        calculator.calculate(atoms)
        expected.append(calculator.results["outside"])
    calculator = GFMCalculator(model, head="emt", device="cpu")
    policy = UncertaintyPolicy(limit=1.0, action="mark", output="outside")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(relax_many(structures, RelaxSettings(max_steps=0, uncertainty=policy), calculator=calculator))
        settings = MDSettings(ensemble={"name": "nve"}, steps=1, initial_temperature_K=10, uncertainty=policy)
        moved = list(run_md_many(structures, settings, calculator=calculator))
    for outcome in found:
        assert outcome.result is not None
        atoms = outcome.result.atoms
        assert uncertainties_of(atoms)["outside"] == pytest.approx(expected[outcome.index], rel=1e-5)
        assert atoms.info["uncertain"] == (expected[outcome.index] > 1)
    assert [one.doubts.steps_above > 0 for one in moved if one.doubts is not None] == [far > 1 for far in expected]


def test_stopping_says_how_far(model: Path) -> None:
    calculator = GFMCalculator(model, head="emt", device="cpu")
    policy = UncertaintyPolicy(limit=1.0, output="outside")
    settings = MDSettings(ensemble={"name": "nve"}, steps=3, initial_temperature_K=10, uncertainty=policy)
    (outcome,) = run_md_many([rattled()], settings, calculator=calculator)
    assert "distance outside its data reached 1." in outcome.stopped
    assert "times the limit, more than 1" in outcome.stopped


def test_commands_say_it_in_one_line(model: Path, tmp_path: Path) -> None:
    """As the console script prints it."""
    rattled().write(tmp_path / "cell.extxyz")
    words = ["relax", str(model), "cell.extxyz", "--max-steps", "1", "-o", "out.extxyz"]
    script = "import sys; from gfm_ase.cli import main; sys.argv[1:] = " + repr(words) + "; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert [line.startswith("warning: outside the data of head 'emt': AlCu3") for line in lines] == [True]
