"""Relaxation of many structures at once goes step for step as ASE's optimizers do, one by one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian, Hookean
from ase.filters import FrechetCellFilter

from md_workflows import ASEEngine, CellSettings, Outcome, RelaxSettings, StopReason
from md_workflows.batched.ase_model import ASEModel
from md_workflows.batched.engine import BatchedEngine
from md_workflows.batched.strain import frechet_adjoint, logarithm
from tests.md_workflows.pair_model import pair_model

CELLS = {
    "fixed": None,
    "free": CellSettings(),
    "hydrostatic": CellSettings(hydrostatic=True),
    "constant volume": CellSettings(constant_volume=True),
    "mask": CellSettings(mask=(True, True, False, False, False, True)),
    "pressure": CellSettings(pressure_GPa=5.0),
}


class Together(ASEModel):
    """A calculator's structures in one fleet: what a potential does, with numbers that are ASE's."""

    room = 1e9


def crystals() -> list[Atoms]:
    random = np.random.default_rng(5)
    found = []
    for symbol, times in (("Cu", (1, 1, 1)), ("Al", (2, 1, 1)), ("Ag", (1, 1, 2))):
        atoms = bulk(symbol, cubic=True) * times
        atoms.rattle(0.08, rng=random)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * random.standard_normal((3, 3))), scale_atoms=True)
        found.append(atoms)
    held, bound, spring = found[1].copy(), found[2].copy(), found[1].copy()
    held.set_constraint(FixAtoms([0, 2]))
    bound.set_constraint([FixCartesian(1, [True, False, False]), FixAtoms([3])])
    spring.set_constraint(Hookean(0, 1, 2.0, 2.5))
    return [*found, held, bound, spring]


def results(outcomes: Iterator[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.index)


def together() -> BatchedEngine:
    return BatchedEngine(Together(EMT(), "emt"), "EMT")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", ["fire", "lbfgs"])
def test_is_ase_step_for_step(optimizer: str, cell: str) -> None:
    settings = RelaxSettings(optimizer=optimizer, fmax=0.02, max_steps=200, cell=CELLS[cell])
    alone = results(ASEEngine(EMT()).relax_many(crystals(), settings))
    many = results(together().relax_many(crystals(), settings))
    for one, other in zip(alone, many, strict=True):
        assert one.result is not None
        assert other.result is not None
        assert (other.result.steps, other.result.reason) == (one.result.steps, one.result.reason)
        assert other.result.energy == pytest.approx(one.result.energy, abs=1e-7)
        assert other.result.fmax == pytest.approx(one.result.fmax, abs=1e-6)
        assert other.result.atoms.positions == pytest.approx(one.result.atoms.positions, abs=1e-6)
        assert other.result.atoms.cell.array == pytest.approx(one.result.atoms.cell.array, abs=1e-6)
        assert other.result.stress == pytest.approx(one.result.stress, abs=1e-6)
    assert all(outcome.result is not None and outcome.result.converged for outcome in many)


def test_symmetry_is_kept() -> None:
    pytest.importorskip("spglib", reason="FixSymmetry needs spglib")
    from ase.constraints import FixSymmetry  # ruff: isort: skip

    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.set_cell(atoms.cell * [1.03, 1.01, 1.01], scale_atoms=True)
    atoms.positions[4:, 0] += 0.1  # two layers of the doubled cell: still symmetric about them
    atoms.set_constraint(FixSymmetry(atoms))
    settings = RelaxSettings(fmax=0.02, cell=CellSettings())
    one = results(ASEEngine(EMT()).relax_many([atoms], settings))[0].result
    other = results(together().relax_many([atoms, bulk("Al")], settings))[0].result
    assert one is not None
    assert other is not None
    assert other.converged
    assert other.steps == one.steps
    assert other.atoms.positions == pytest.approx(one.atoms.positions, abs=1e-6)
    assert len(other.atoms.constraints) == 1


def test_bond_lengths_are_kept() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=4)
    atoms.set_constraint(FixBondLengths([(0, 1)]))
    length = atoms.get_distance(0, 1)
    outcome = results(together().relax_many([atoms], RelaxSettings(fmax=0.05, max_steps=100)))[0]
    assert outcome.result is not None
    assert outcome.result.converged
    assert outcome.result.atoms.get_distance(0, 1) == pytest.approx(length, abs=1e-8)


def test_a_potential_in_batches_finds_the_minima_of_one_by_one() -> None:
    """A graph model with neighbour lists, batches of few, in flight: as alone."""
    random = np.random.default_rng(0)
    structures = []
    for number in range(20):
        atoms = bulk("Cu", cubic=number % 2 == 0, a=3.4 + 0.02 * number) * (1 + number % 3, 1, 1)
        atoms.rattle(0.1, rng=random)
        structures.append(atoms)
    settings = RelaxSettings(optimizer="lbfgs", fmax=0.01, cell=CellSettings())
    model = pair_model()
    model.sizer.budget, model.sizer.settled = 4000, True
    many = results(BatchedEngine(model, "pairs").relax_many(structures, settings))
    assert [outcome.index for outcome in many] == list(range(20))
    for given, outcome in zip(structures, many, strict=True):
        alone = results(BatchedEngine(pair_model(), "pairs").relax_many([given], settings))[0].result
        assert alone is not None
        assert outcome.result is not None
        assert outcome.result.converged
        assert outcome.result.steps == alone.steps
        assert outcome.result.energy == pytest.approx(alone.energy, abs=1e-9)
        assert outcome.seconds > 0


def test_slabs_by_a_mask_and_refusals_by_name() -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0, orthogonal=False)
    slab.rattle(0.05, seed=1)
    free = CellSettings(mask=(True, True, False, False, False, True))
    many = results(together().relax_many([slab], RelaxSettings(fmax=0.02, cell=free)))
    alone = results(ASEEngine(EMT()).relax_many([slab], RelaxSettings(fmax=0.02, cell=free)))
    assert many[0].result is not None
    assert alone[0].result is not None
    assert many[0].result.steps == alone[0].result.steps
    refused = results(together().relax_many([slab, bulk("Cu")], RelaxSettings(cell=CellSettings())))
    assert "would stretch an open direction" in refused[0].error
    assert refused[1].result is not None


def test_numbers_that_run_away() -> None:
    class Breaks(EMT):
        calls = 0

        def calculate(self, *arguments: Any, **keywords: Any) -> None:
            super().calculate(*arguments, **keywords)
            type(self).calls += 1
            if type(self).calls > 3:
                self.results["forces"] = self.results["forces"] * np.nan

    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    outcome = next(BatchedEngine(ASEModel(Breaks(), "breaks"), "Breaks").relax_many([atoms], RelaxSettings()))
    result = outcome.result
    assert result is not None
    assert result.reason is StopReason.NON_FINITE
    assert not result.converged
    assert np.isfinite(result.atoms.positions).all()
    assert np.isfinite(result.atoms.get_forces()).all()  # of the last good geometry
    again = result.atoms.copy()
    again.calc = EMT()
    assert result.energy == pytest.approx(again.get_potential_energy())


def test_logarithm_and_derivative_of_the_exponential() -> None:
    scipy = pytest.importorskip("scipy.linalg")
    random = np.random.default_rng(3)
    strain = 0.2 * random.standard_normal((4, 3, 3))
    gradient = random.standard_normal((4, 3, 3))
    found = frechet_adjoint(torch.from_numpy(strain), torch.from_numpy(gradient)).numpy()
    exponential = torch.linalg.matrix_exp(torch.from_numpy(strain))
    assert logarithm(exponential).numpy() == pytest.approx(strain, abs=1e-10)
    for number in range(4):
        for row, column in np.ndindex(3, 3):
            direction = np.zeros((3, 3))
            direction[row, column] = 1.0
            derivative = scipy.expm_frechet(strain[number], direction, compute_expm=False)
            assert found[number, row, column] == pytest.approx((derivative * gradient[number]).sum(), abs=1e-12)


def test_forces_of_a_free_cell_are_derivatives() -> None:
    """Of ASE's filter, which is what the engine's forces are compared with above; here by finite differences."""
    atoms = crystals()[0]
    atoms.calc = EMT()
    target = FrechetCellFilter(atoms)
    before = target.get_positions()
    forces = target.get_forces()
    step = np.zeros_like(before)
    step[-2, 0] = 1e-4
    energies = []
    for sign in (1, -1):
        target.set_positions(before + sign * step)
        energies.append(target.get_potential_energy())
    assert forces[-2, 0] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-5)
