"""What ASE users do with calculators, and what they are told when something is wrong."""

import copy
import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from gfm_ase import GFMCalculator, load
from gfm_ase.loading import Loaded
from potentials.checkpoint import CheckpointError


@pytest.fixture
def calculator(one_head: Path) -> GFMCalculator:
    return GFMCalculator(one_head, device="cpu")


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def same(one: Any, other: Any, atoms: Atoms) -> None:
    first, second = atoms.copy(), atoms.copy()
    first.calc, second.calc = one, other
    assert first.get_potential_energy() == second.get_potential_energy()
    assert np.array_equal(first.get_forces(), second.get_forces())
    assert np.array_equal(first.get_stress(), second.get_stress())


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "copy", "torch"])
def test_copies(how: str, used: bool, calculator: GFMCalculator, alloy: Atoms) -> None:
    if used:
        calculator.get_property("energy", alloy)
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(calculator))  # noqa: S301 - its own pickle
    elif how == "torch":
        buffer = io.BytesIO()
        torch.save(calculator, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    else:
        twin = copy.deepcopy(calculator) if how == "deepcopy" else copy.copy(calculator)
    assert twin is not calculator
    assert (twin.head, twin.manifest) == (calculator.head, calculator.manifest)
    same(twin, calculator, alloy)
    other = alloy.copy()
    other.rattle(0.05, seed=9)
    same(twin, calculator, other)


def test_atoms_with_a_calculator_are_copied_deeply(calculator: GFMCalculator, alloy: Atoms) -> None:
    alloy.calc = calculator
    energy = alloy.get_potential_energy()
    twin = copy.deepcopy(alloy)
    assert twin.calc is not calculator
    twin.positions[0] += 0.1
    assert twin.get_potential_energy() != energy
    assert alloy.get_potential_energy() == energy
    bare = alloy.copy()
    assert bare.calc is None


def energy_of(task: tuple[GFMCalculator, Atoms]) -> float:
    calculator, atoms = task
    atoms.calc = calculator
    return float(atoms.get_potential_energy())


def test_other_processes(calculator: GFMCalculator, alloy: Atoms) -> None:
    """Spawned ones: they get the calculator by pickling."""
    alloy.calc = calculator
    expected = alloy.get_potential_energy()
    bare = alloy.copy()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(_energy_without_module, [pickle.dumps((calculator, bare))])) == [expected]


def _energy_without_module(task: bytes) -> float:
    return energy_of(pickle.loads(task))  # noqa: S301 - its own pickle


def test_one_calculator_for_two_structures(calculator: GFMCalculator, one_head: Path, alloy: Atoms) -> None:
    other = bulk("Cu", cubic=True)
    other.rattle(0.1, seed=1)
    alone = [GFMCalculator(one_head, device="cpu").get_property("energy", atoms) for atoms in (alloy, other)]
    alloy.calc = other.calc = calculator
    for _ in range(3):
        assert [alloy.get_potential_energy(), other.get_potential_energy()] == alone


def test_a_loaded_potential_serves_many(two_heads: Path, alloy: Atoms) -> None:
    loaded = load(two_heads, device="cpu")
    assert isinstance(loaded, Loaded)
    assert tuple(loaded.manifest.heads) == ("emt", "xtb")
    emt, xtb = GFMCalculator(loaded, head="emt"), GFMCalculator(loaded, head="xtb")
    same(emt, GFMCalculator(two_heads, head="emt", device="cpu"), alloy)
    assert np.isfinite(xtb.get_property("energy", molecule("H2O")))
    exact = GFMCalculator(loaded, head="emt", dtype="float64")
    same(exact, GFMCalculator(two_heads, head="emt", device="cpu", dtype="float64"), alloy)
    assert loaded.potential.dtype == torch.float32  # another calculator's wish changes nothing here
    assert loaded.potential.references.e0_DZ.dtype == torch.float64


def test_dtypes_by_torch_name(one_head: Path) -> None:
    assert GFMCalculator(one_head, dtype=torch.float64, device=torch.device("cpu")).potential.dtype == torch.float64


def test_the_only_head_needs_no_name(one_head: Path, alloy: Atoms) -> None:
    assert GFMCalculator(one_head).head == "emt"


def test_several_heads_want_a_name(two_heads: Path) -> None:
    with pytest.raises(ValueError, match="this potential has 2 heads; choose one: emt, xtb") as error:
        GFMCalculator(two_heads)
    one_line(error)


def test_unknown_head(two_heads: Path) -> None:
    with pytest.raises(ValueError, match="unknown head 'dft'; this potential has emt, xtb") as error:
        GFMCalculator(two_heads, head="dft")
    one_line(error)


def test_unknown_element(two_heads: Path) -> None:
    water = molecule("H2O")
    water.calc = GFMCalculator(two_heads, head="emt")
    for _ in range(2):
        with pytest.raises(ValueError, match="head 'emt' has never seen H, O; it was trained on Al, Cu") as error:
            water.get_potential_energy()
        one_line(error)
    water.numbers[:] = 29  # the calculator goes on after a mistake
    assert np.isfinite(water.get_potential_energy())


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_unknown_device(device: str, one_head: Path) -> None:
    for checkpoint in (one_head, load(one_head, device="cpu")):
        with pytest.raises(ValueError, match="'cpu'") as error:
            GFMCalculator(checkpoint, device=device)
        assert device in one_line(error)


@pytest.mark.parametrize("dtype", ["float16", "double", torch.bfloat16])
def test_unknown_dtype(dtype: Any, one_head: Path) -> None:
    for checkpoint in (one_head, load(one_head, device="cpu")):
        with pytest.raises(ValueError, match="use 'float32', 'float64', or None") as error:
            GFMCalculator(checkpoint, dtype=dtype, device="cpu")
        assert str(dtype) in one_line(error)


def test_a_skin_below_zero(one_head: Path) -> None:
    with pytest.raises(ValueError, match=r"skin is -1\.0 Å; it must be 0"):
        GFMCalculator(one_head, skin=-1.0)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors: there is no such file") as error:
        GFMCalculator(tmp_path / "model.safetensors")
    one_line(error)
    (tmp_path / "model.safetensors").write_bytes(b"half of it")
    with pytest.raises(CheckpointError, match="not a checkpoint, or a truncated one"):
        load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("info", [{"charge": 1}, {"spin": 2.0}, {"charge": np.int64(-1), "spin": 1}])
def test_charge_that_the_potential_does_not_know(info: dict[str, float], calculator: GFMCalculator) -> None:
    copper = bulk("Cu")
    copper.info.update(info)
    copper.calc = calculator
    with pytest.raises(ValueError, match="this potential was trained without them") as error:
        copper.get_potential_energy()
    assert "charge_and_spin = true" in one_line(error)
    copper.info.update(charge=0, spin=0)
    assert np.isfinite(copper.get_potential_energy())


@pytest.mark.parametrize("charge", ["plus", None, float("nan"), [1, 2]])
def test_charge_that_is_no_number(charge: object, conditioned: Path) -> None:
    water = molecule("H2O")
    water.info["charge"] = charge
    water.calc = GFMCalculator(conditioned)
    with pytest.raises(ValueError, match=r"atoms\.info\['charge'\] is .*; it must be a number") as error:
        water.get_potential_energy()
    one_line(error)


def nowhere(atoms: Atoms) -> None:
    atoms.cell[:] = 0


def two_in_one_place(atoms: Atoms) -> None:
    atoms.positions[3] = atoms.positions[5] + atoms.cell[0]


def not_a_number(atoms: Atoms) -> None:
    atoms.positions[2, 1] = np.nan


def flat(atoms: Atoms) -> None:
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]


def dummy(atoms: Atoms) -> None:
    atoms.numbers[1] = 0


def empty(atoms: Atoms) -> None:
    del atoms[:]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nowhere, "every direction that repeats needs a lattice vector"),
        (two_in_one_place, "atoms 3 and 5 are .* two atoms cannot be in one place"),
        (not_a_number, "position of atom 2 is .*; positions must be finite numbers"),
        (flat, "linearly dependent; the cell has no volume"),
        (dummy, "head 'emt' has never seen X"),
        (empty, "the structure has no atoms"),
    ],
)
@pytest.mark.parametrize("skin", [0.0, 1.0])
@pytest.mark.parametrize("used", [False, True])
def test_structures_that_cannot_be(
    spoil: Any, told: str, skin: float, used: bool, one_head: Path, alloy: Atoms
) -> None:
    alloy.calc = GFMCalculator(one_head, skin=skin, device="cpu")
    if used:
        alloy.get_potential_energy()
    good = alloy.copy()
    spoil(alloy)
    for _ in range(2):  # nothing of the structure before is handed out
        with pytest.raises(ValueError, match=told):
            alloy.get_potential_energy()
    good.calc = alloy.calc
    fresh = good.copy()
    fresh.calc = GFMCalculator(one_head, device="cpu")
    assert good.get_potential_energy() == fresh.get_potential_energy()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own import
def test_compiled(one_head: Path, alloy: Atoms) -> None:
    plain, compiled = GFMCalculator(one_head), GFMCalculator(one_head, compile=True)
    for atoms in (alloy, alloy * (2, 1, 1), bulk("Cu")):
        for name in ("energy", "forces", "stress", "energies"):
            expected = np.asarray(plain.get_property(name, atoms))
            scale = max(1.0, float(np.abs(expected).max()))
            assert compiled.get_property(name, atoms) == pytest.approx(expected, abs=2e-5 * scale), name
    same(pickle.loads(pickle.dumps(compiled)), compiled, alloy)  # noqa: S301 - its own pickle
