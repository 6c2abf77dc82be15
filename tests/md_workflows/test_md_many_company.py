"""Many runs in company: temperatures as ASE counts them, what calculators read, what one may not do to others."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from md_workflows import NVE, Bussi, Langevin, MDGuards, MDSettings, NoseHooverChain, run_md, run_md_many
from md_workflows.batch_files import BatchFiles
from md_workflows.batched.ase_model import ASEModel
from md_workflows.batched.dynamics.session import Asked, begin
from md_workflows.batched.dynamics.state import BatchState, Gone, extended
from md_workflows.batched.fleet import Fleet, fleet_of


def copper() -> Atoms:
    return bulk("Cu", cubic=True)


@pytest.mark.parametrize(
    "ensemble", [Bussi(temperature_K=600), NoseHooverChain(temperature_K=600)], ids=lambda e: e.name
)
def test_temperatures_are_counted_as_ase_does(ensemble: Bussi | NoseHooverChain, tmp_path: Path) -> None:
    """Whatever a thermostat counts; four atoms have 12 degrees of freedom, 9 of them internal."""
    settings = MDSettings(ensemble=ensemble, steps=4, log_interval=4)
    (outcome,) = run_md_many(copper(), settings, calculator=EMT(), files=tmp_path / "runs")
    assert outcome.atoms is not None
    assert outcome.temperature_K == pytest.approx(outcome.atoms.get_temperature(), rel=1e-12)
    logged = np.genfromtxt(tmp_path / "runs" / "000000.csv", delimiter=",", names=True)
    assert logged["temperature_K"][-1] == pytest.approx(outcome.temperature_K, rel=1e-12)


class Reads(Calculator):  # type: ignore[misc]  # ASE has no types
    """Sees more than elements and places."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        energy = atoms.get_tags().sum() + atoms.get_initial_magnetic_moments().sum() + atoms.info.get("field", 0)
        self.results = {"energy": float(energy), "forces": np.zeros((len(atoms), 3))}


def test_calculators_read_all_that_was_given() -> None:
    atoms = copper()
    atoms.set_tags(1)
    atoms.set_initial_magnetic_moments([10.0] * 4)
    atoms.info["field"] = 100
    atoms.set_constraint(FixAtoms([0]))
    settings = MDSettings(ensemble=NVE(), steps=1)
    (outcome,) = run_md_many(atoms, settings, calculator=Reads())
    assert outcome.energies is not None
    assert outcome.energies.potential == run_md(atoms, settings, calculator=Reads()).energies.potential == 144.0


def test_atoms_at_rest_stop_nobody_else() -> None:
    held = copper()
    held.set_constraint(FixAtoms([0, 1, 2, 3]))
    settings = MDSettings(ensemble=Bussi(temperature_K=300), steps=1)
    stopped = {one.index: one.stopped for one in run_md_many([copper(), held, copper()], settings, calculator=EMT())}
    assert stopped[0] == stopped[2] == ""
    assert "all of them are zero; give initial velocities" in stopped[1]


def test_seeds_beyond_their_column_are_told() -> None:
    settings = [MDSettings(ensemble=Langevin(temperature_K=300, seed=seed), steps=1) for seed in (2**63, 2**63 - 1)]
    stopped = {one.index: one.stopped for one in run_md_many([copper(), copper()], settings, calculator=EMT())}
    assert "takes seeds below 2**63" in stopped[0]
    assert stopped[1] == ""


def test_chains_that_differ_are_told_before_anything_is_computed() -> None:
    settings = [MDSettings(ensemble=NoseHooverChain(temperature_K=300, tchain=n), steps=1) for n in (3, 4)]
    with pytest.raises(ValueError, match=r"one tchain, these have \[3, 4\]; give all the same"):
        run_md_many([copper(), copper()], settings, calculator=EMT())


@pytest.mark.parametrize("written", [False, True])
def test_runs_that_have_ended_are_kept_for_a_state_alone(written: bool, tmp_path: Path) -> None:
    settings = [MDSettings(ensemble=NVE(), steps=1)] * 5
    files = BatchFiles(tmp_path / "runs") if written else None
    model = ASEModel(EMT(), "emt")
    session = begin(Asked([copper()] * 5, settings, [MDGuards()] * 5, model, "EMT", files), "error")
    held = [len(session._gone) for _ in session.run(None)]
    assert max(held) == (1 if written else 0)  # with one at a time, each begin is a state


class Warm(Calculator):  # type: ignore[misc]  # ASE has no types
    """Depends on how often it was asked."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]
    asked = 0

    def reset(self) -> None:
        super().reset()
        self.asked = 0

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.asked += 1
        self.results = {"energy": 0.0, "forces": -0.1 * (atoms.positions - 1e-3 * self.asked)}


def test_a_restart_forgets_what_a_calculator_remembers(tmp_path: Path) -> None:
    """The run that wrote the state did so, too: in the same process bits are the same."""

    def settings(steps: int) -> MDSettings:
        return MDSettings(ensemble=NVE(), steps=steps, initial_temperature_K=300, state_interval=4)

    (whole,) = run_md_many(copper(), settings(12), calculator=Warm(), files=tmp_path / "whole")
    calculator, files = Warm(), tmp_path / "parts"
    list(run_md_many(copper(), settings(8), calculator=calculator, files=files))
    (parts,) = run_md_many(copper(), settings(12), calculator=calculator, files=files, on_existing="restart")
    assert whole.atoms is not None
    assert parts.atoms is not None
    assert np.array_equal(parts.atoms.positions, whole.atoms.positions)


def test_who_goes_on_is_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 50
    ended = fleet_of([Atoms("Cu")] * n, range(n), torch.device("cpu"))
    ended.graph.update(step=torch.zeros(n, dtype=torch.int64), steps=torch.zeros(n, dtype=torch.int64))
    state = BatchState({}, "model", ended=ended, gone=[Gone(key, "", 0.0) for key in range(n)])
    read = []
    keys = Fleet.keys.fget
    assert keys is not None
    monkeypatch.setattr(Fleet, "keys", property(lambda fleet: read.append(1) or keys(fleet)))
    going_on = extended(state, [5, 0] * (n // 2), Path("state.npz"))
    assert len(read) < 10
    assert going_on.fleet is not None
    assert going_on.fleet.graph["key"].tolist() == list(range(0, n, 2))
    assert [one.key for one in going_on.gone] == list(range(1, n, 2))
