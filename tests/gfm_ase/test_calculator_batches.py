"""A calculator's potential in batches: the same numbers, the same refusals."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from gfm_ase import GFMCalculator
from md_workflows import ASEEngine, CellSettings, RelaxSettings
from md_workflows.batched.engine import BatchedEngine
from md_workflows.engine import engine_for, evaluate_many


def metals() -> list[Atoms]:
    structures = [bulk("Cu"), bulk("Al", cubic=True) * (2, 1, 1), fcc111("Cu", (2, 1, 3), vacuum=5.0), Atoms("Al")]
    for number, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=number)
    return structures


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_batches_give_what_the_calculator_gives(two_heads: Path, compiled: bool) -> None:
    calculator = GFMCalculator(two_heads, head="emt", dtype="float64", compile=compiled)
    engine = engine_for(calculator)
    assert isinstance(engine, BatchedEngine)
    outcomes = list(evaluate_many(engine, metals()))
    assert len(outcomes) == 4
    for outcome in outcomes:
        atoms = metals()[outcome.index]
        atoms.calc = calculator
        assert outcome.result is not None
        assert outcome.result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        assert outcome.result.atoms.get_forces() == pytest.approx(atoms.get_forces(), abs=1e-10)
        if atoms.pbc.any():
            assert outcome.result.stress == pytest.approx(atoms.get_stress(), abs=1e-12)


def test_relaxations_are_those_of_one_by_one(two_heads: Path) -> None:
    calculator = GFMCalculator(two_heads, head="emt", dtype="float64")
    settings = RelaxSettings(optimizer="lbfgs", fmax=0.02, max_steps=12, cell=CellSettings())
    structures = metals()[:2]
    alone = {o.index: o.result for o in ASEEngine(calculator).relax_many(structures, settings)}
    many = {o.index: o.result for o in engine_for(calculator).relax_many(structures, settings)}
    for index, one in alone.items():
        other = many[index]
        assert one is not None
        assert other is not None
        assert other.steps == one.steps
        assert other.reason is one.reason
        assert other.atoms.positions == pytest.approx(one.atoms.positions, abs=1e-6)
        assert other.atoms.cell.array == pytest.approx(one.atoms.cell.array, abs=1e-6)


def test_what_the_head_does_not_know_is_one_failure(two_heads: Path) -> None:
    engine = engine_for(GFMCalculator(two_heads, head="emt"))
    charged = bulk("Cu")
    charged.info["charge"] = 1
    outcomes = {o.index: o for o in evaluate_many(engine, [bulk("Au"), bulk("Cu"), charged])}
    assert "has never seen Au" in outcomes[0].error
    assert outcomes[1].result is not None
    assert "trained without them" in outcomes[2].error


def test_charge_and_spin_go_with_each_structure(conditioned: Path) -> None:
    calculator = GFMCalculator(conditioned, head="xtb", dtype="float64")
    ions = []
    for charge in (0, 1, -1):
        water = molecule("H2O")
        water.info["charge"] = charge
        ions.append(water)
    energies = {o.index: o.result.energy for o in evaluate_many(engine_for(calculator), ions) if o.result}
    for index, water in enumerate(ions):
        water.calc = calculator
        assert energies[index] == pytest.approx(water.get_potential_energy(), abs=1e-9)
    assert len(np.unique(np.round(list(energies.values()), 6))) == 3


def test_identity_follows_weights_head_and_dtype(two_heads: Path) -> None:
    ways = [{"head": "emt"}, {"head": "xtb"}, {"head": "emt", "dtype": "float64"}]
    names = [GFMCalculator(two_heads, **way).batch_model().identity for way in ways]
    assert len(set(names)) == 3
    assert GFMCalculator(two_heads, head="emt").batch_model().identity == names[0]


def test_what_cannot_go_in_batches_is_refused(with_outputs: Path, without_energies: Path) -> None:
    calculator = GFMCalculator(with_outputs, head="emt")
    calculator.use_direct_forces()
    with pytest.raises(ValueError, match="it cannot drive direct forces"):
        calculator.batch_model()
    with pytest.raises(ValueError, match="has learnt no energies"):
        GFMCalculator(without_energies, head="emt").batch_model()
