"""The model of torch-sim against `GFMCalculator`, torch-sim's own validation, and ASE's relaxations."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from gfm_ase import GFMCalculator

ROUNDING = 2e-5
"""eV and eV/Å of a float32 network: one sum in another order."""


@pytest.fixture(scope="module")
def torch_sim() -> Any:
    return pytest.importorskip("torch_sim", reason="torch-sim is not installed: pip install 'gfm-ase[torch-sim]'")


def structures() -> list[Atoms]:
    """Cells of several sizes and shapes, atoms outside of them."""
    found = []
    for number, repeat in enumerate([(1, 1, 1), (2, 1, 1), (1, 1, 1), (1, 2, 2)]):
        atoms = bulk("Cu", cubic=number != 2) * repeat
        atoms.numbers[::2] = 13
        shear = np.random.default_rng(number).normal(0, 0.1, (3, 3))
        atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
        atoms.rattle(0.1, seed=number)
        atoms.positions[0] += 2 * atoms.cell[0]
        found.append(atoms)
    return found


def same_as_calculator(computed: dict[str, torch.Tensor], frames: list[Atoms], calculator: GFMCalculator) -> None:
    first = 0
    for number, frame in enumerate(frames):
        atoms = frame.copy()
        atoms.calc = calculator
        rows = slice(first, first + len(atoms))
        assert abs(atoms.get_potential_energy() - float(computed["energy"][number])) < ROUNDING
        assert np.abs(atoms.get_forces() - computed["forces"][rows].numpy()).max() < ROUNDING
        if atoms.pbc.any():
            assert np.abs(atoms.get_stress(voigt=False) - computed["stress"][number].numpy()).max() < ROUNDING
        first += len(atoms)
    assert first == len(computed["forces"])


def test_a_batch_of_cells_has_the_calculators_numbers(torch_sim: Any, one_head: Path) -> None:
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel, state_of

    calculator = GFMCalculator(one_head, device="cpu")
    model = GFMTorchSimModel(calculator)
    state = state_of(structures(), model)
    same_as_calculator(model(state), structures(), calculator)
    assert {name: value.dtype for name, value in model(state).items()} == dict.fromkeys(
        ["energy", "forces", "stress"], torch.float64
    )


def test_molecules_have_no_stress(torch_sim: Any, two_heads: Path) -> None:
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel, state_of

    model = GFMTorchSimModel(two_heads, head="xtb", device="cpu")
    frames = [molecule("H2O"), molecule("CH3OH")]
    computed = model(state_of(frames, model))
    same_as_calculator(computed, frames, model.batched.calculator)
    assert computed["stress"].isnan().all()


def test_a_dict_and_float32_states(torch_sim: Any, one_head: Path) -> None:
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel, state_of

    model = GFMTorchSimModel(one_head, device="cpu", state_dtype=torch.float32)
    state = state_of(structures(), model)
    names = ("positions", "cell", "pbc", "atomic_numbers", "system_idx")
    as_dict = model({name: getattr(state, name) for name in names})
    assert all(value.dtype == torch.float32 for value in as_dict.values())
    assert all(torch.equal(value, as_dict[name]) for name, value in model(state).items())


def test_states_of_newer_versions(torch_sim: Any, conditioned: Path) -> None:
    """torch-sim 0.6, which needs Python 3.12, has one pbc per direction, and a charge where it is given one."""
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel

    model = GFMTorchSimModel(conditioned, device="cpu")
    ion = molecule("H2O")
    ion.set_cell([4.0, 4.0, 9.0])
    ion.pbc = [True, True, False]
    state = SimpleNamespace(
        positions=torch.from_numpy(ion.positions),
        cell=torch.from_numpy(ion.cell.array.T.copy())[None],
        pbc=torch.from_numpy(ion.pbc),
        atomic_numbers=torch.from_numpy(ion.numbers),
        system_idx=torch.zeros(3, dtype=torch.int64),
        charge=torch.tensor([1.0]),
        spin=torch.tensor([1.0]),
    )
    ion.info.update(charge=1.0, spin=1.0)
    same_as_calculator(model(state), [ion], model.batched.calculator)


def test_torch_sims_own_validation(torch_sim: Any, tmp_path: Path) -> None:
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel
    from tests.gfm_ase.conftest import write

    elements = {"H": -1.0, "C": -2.0, "Si": -3.0, "Fe": -4.0}
    model = GFMTorchSimModel(write(tmp_path / "model.safetensors", {"xtb": elements}), device="cpu")
    torch_sim.models.interface.validate_model_outputs(model, torch.device("cpu"), torch.float64)


def test_relaxations_end_where_ases_end(torch_sim: Any, one_head: Path) -> None:
    from benchmarks.torch_sim_relax import relax_with_torch_sim
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel
    from md_workflows import RelaxSettings, relax

    calculator = GFMCalculator(one_head, device="cpu", dtype="float64")
    frames = structures()[:2]
    found = relax_with_torch_sim(frames, GFMTorchSimModel(calculator), fmax=1e-3, max_steps=500)
    for frame, end in zip(frames, found, strict=True):
        own = relax(frame, RelaxSettings(fmax=1e-3, cell={}, max_steps=500), calculator=calculator)
        assert end.converged
        assert own.converged
        # both within fmax of a minimum: energies differ by less than fmax times the way, under an Å
        assert abs(end.energy - own.energy) < 1e-3 * len(frame)
        assert abs(end.atoms.get_volume() / own.atoms.get_volume() - 1) < 0.01
        check = end.atoms.copy()
        check.calc = calculator
        assert abs(check.get_potential_energy() - end.energy) < 1e-9
        assert np.linalg.norm(check.get_forces(), axis=1).max() < 1e-3


def test_what_has_not_converged_is_told(torch_sim: Any, one_head: Path) -> None:
    from benchmarks.torch_sim_relax import relax_with_torch_sim
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel

    frames = [bulk("Cu", cubic=True), *structures()[:2]]  # the first is at its minimum when the cell is fixed
    model = GFMTorchSimModel(one_head, device="cpu")
    for atoms_a_batch in (None, 5):
        found = relax_with_torch_sim(frames, model, fmax=1e-3, max_steps=2, cell="fixed", atoms_a_batch=atoms_a_batch)
        assert [one.converged for one in found] == [True, False, False]
        assert [one.atoms.get_chemical_formula() for one in found] == [f.get_chemical_formula() for f in frames]


def test_what_it_refuses(torch_sim: Any, one_head: Path, two_heads: Path, without_energies: Path) -> None:
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel, state_of

    model = GFMTorchSimModel(one_head, device="cpu")
    slab = fcc111("Cu", (1, 1, 2), vacuum=4)
    with pytest.raises(ValueError, match="2 kinds of periodicity in one batch"):
        state_of([bulk("Cu"), slab], model)
    with pytest.raises(ValueError, match="this torch-sim knows all directions or none"):
        state_of([slab], model)
    with pytest.raises(ValueError, match="a structure: head 'emt' has never seen Fe; it was trained on Al, Cu"):
        model(state_of([bulk("Cu"), bulk("Fe")], model))
    with pytest.raises(ValueError, match="head beside a calculator, which has its own"):
        GFMTorchSimModel(GFMCalculator(two_heads, head="emt", device="cpu"), head="xtb")
    with pytest.raises(ValueError, match="head 'xtb' has learnt no energies"):
        GFMTorchSimModel(without_energies, head="xtb", device="cpu")
    state = state_of([bulk("Cu")], model)
    fields = {name: getattr(state, name) for name in ("positions", "cell", "pbc", "atomic_numbers", "system_idx")}
    charged = SimpleNamespace(**fields, charge=torch.ones(1))
    with pytest.raises(ValueError, match="structures with charge or spin, but this potential was trained without them"):
        model(charged)
