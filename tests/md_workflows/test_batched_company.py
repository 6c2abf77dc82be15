"""Structures in company: failures of constraints, energies of constraints, two calls at once, and full calls."""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixBondLengths, FixSymmetry, Hookean
from numpy.typing import NDArray

from md_workflows import ASEEngine, CellSettings, RelaxSettings
from md_workflows.batched.ase_model import ASEModel
from md_workflows.batched.engine import BatchedEngine
from md_workflows.batched.relaxing import Relaxation
from md_workflows.batched.room import measure_room
from md_workflows.batched.sizing import free_bytes
from md_workflows.engine import evaluate_many
from tests.md_workflows.pair_model import pair_model


class GivesUp(FixBondLengths):  # type: ignore[misc]  # ASE has no types
    def adjust_forces(self, atoms: Atoms, forces: NDArray[np.float64]) -> None:
        raise ValueError("Did not converge")


def test_a_constraint_that_raises_ends_its_own_structure_alone() -> None:
    free, held = bulk("Cu", cubic=True, a=3.5), bulk("Cu", cubic=True, a=3.5)
    held.set_constraint(GivesUp([(0, 1)]))
    settings = RelaxSettings(max_steps=2)
    found = {one.index: one for one in BatchedEngine(pair_model(), "pairs").relax_many([free, held, free], settings)}
    assert {index: one.error for index, one in found.items()} == {0: "", 1: "ValueError: Did not converge", 2: ""}
    assert found[1].result is None


def test_the_energy_of_a_constraint_is_counted_once() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    atoms.set_constraint(Hookean(0, 1, 5.0, rt=1.5))
    (ours,) = evaluate_many(BatchedEngine(ASEModel(EMT(), "emt"), "EMT"), [atoms])
    (theirs,) = evaluate_many(ASEEngine(EMT()), [atoms])
    assert ours.result is not None
    assert theirs.result is not None
    assert ours.result.energy == pytest.approx(theirs.result.energy, abs=1e-12)
    for constrained in (True, False):
        energies = [
            one.atoms.get_potential_energy(apply_constraint=constrained) for one in (ours.result, theirs.result)
        ]
        assert energies[0] == pytest.approx(energies[1], abs=1e-12)
    assert abs(ours.result.energy - ours.result.atoms.get_potential_energy(apply_constraint=False)) > 0.1


def test_stresses_are_those_of_the_model_where_symmetry_is_held() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixSymmetry(atoms))
    atoms.set_positions(atoms.positions + 0.1 * np.eye(4, 3), apply_constraint=False)
    settings = RelaxSettings(max_steps=0, cell=CellSettings())
    (ours,) = BatchedEngine(ASEModel(EMT(), "emt"), "EMT").relax_many([atoms], settings)
    (theirs,) = ASEEngine(EMT()).relax_many([atoms], settings)
    assert ours.result is not None
    assert theirs.result is not None
    assert ours.result.fmax == pytest.approx(theirs.result.fmax, abs=1e-10)
    np.testing.assert_allclose(np.asarray(ours.result.stress), np.asarray(theirs.result.stress), atol=1e-12)


def test_two_calls_of_one_engine_keep_out_of_each_others_lists() -> None:
    settings = RelaxSettings(fmax=1e-3, max_steps=40)
    outer = [bulk("Cu", cubic=True, a=a) for a in (3.6, 3.5, 3.3)]
    for one in outer[1:]:
        one.rattle(0.1, seed=2)
    inner = [bulk("Cu", a=3.5), bulk("Cu", a=3.4), bulk("Cu", a=3.3)]
    alone = {one.index: one for one in BatchedEngine(pair_model(), "pairs").relax_many(outer, settings)}
    engine, among = BatchedEngine(pair_model(), "pairs"), {}
    for one in engine.relax_many(outer, settings):
        among[one.index] = one
        assert [other.error for other in evaluate_many(engine, inner)] == ["", "", ""]
    for index, one in alone.items():
        assert not among[index].error
        assert one.result is not None
        assert among[index].result is not None
        assert among[index].result.energy == pytest.approx(one.result.energy, abs=1e-10)


@pytest.mark.parametrize("atoms", [molecule("C60"), bulk("Cu", cubic=True) * (3, 2, 2)], ids=["guessed", "half"])
def test_a_call_that_nothing_more_fits_into_tells_of_its_size(atoms: Atoms) -> None:
    """A guess far above the cost, or a structure of more than half of the budget: calls grow all the same."""
    model = pair_model()
    assert model.cost(atoms) > model.sizer.budget / 2
    list(evaluate_many(BatchedEngine(model, "pairs"), itertools.repeat(atoms, 40)))
    assert model.sizer.budget > 4000 or model.sizer.settled
    measured = pair_model()
    measure_room(measured, [atoms] * 40)
    assert measured.sizer.budget > 4000 or measured.sizer.settled


def test_what_was_admitted_and_cannot_be_made_is_forgotten() -> None:
    odd = bulk("Cu")
    odd.info["charge"] = "none"
    made: list[Relaxation] = []
    model = ASEModel(EMT(), "emt")

    class Noted(Relaxation):
        def leave(self, keys: list[int]) -> None:
            super().leave(keys)
            made.append(self)

    from md_workflows.batched.advance import Advance

    departures = list(Advance(model, Noted(model, RelaxSettings(max_steps=0), "EMT")).run([odd, bulk("Cu")]))
    assert [bool(one.error) for one in departures] == [True, False]
    assert not made[0]._free


def test_memory_that_torch_keeps_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"mem_get_info": (40.0, 80.0), "memory_reserved": 35.0, "memory_allocated": 5.0}
    for name, value in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert free_bytes(torch.device("cuda")) == 70.0
