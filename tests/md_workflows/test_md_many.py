"""Many structures move together as each would alone, and what befalls one is its own outcome."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixBondLengths
from ase.io import read

from md_workflows import BatchFiles, MDSettings, replicated, run_md, run_md_many
from md_workflows.batched.dynamics.registry import INTEGRATORS
from md_workflows.batched.models import GraphModel
from md_workflows.md_files import LOG_COLUMNS, log_row
from md_workflows.md_many import MDOutcome
from potentials.graph import AtomicGraph
from tests.md_workflows.ensembles_of_tests import ensemble
from tests.md_workflows.pair_model import CUTOFF, evaluate, pair_model


def crystals(count: int = 6) -> list[Atoms]:
    """Copper of 1, 4 and 8 atoms, some with an atom that is held."""
    found = []
    for number in range(count):
        atoms = [bulk("Cu", a=3.5, cubic=True), bulk("Ag", a=3.6, cubic=True), bulk("Cu", a=3.5) * (2, 2, 2)][
            number % 3
        ]
        atoms.rattle(0.05, seed=number)
        found.append(atoms)
    return found


def different(name: str, count: int = 6, **other: object) -> list[MDSettings]:
    """Settings of which no two have the same steps, temperature, time step and seed."""
    return [
        MDSettings(
            ensemble=ensemble(name, temperature_K=300.0 + 50 * number, seed=number),
            steps=12 + 3 * number,
            timestep_fs=1.0 + number % 3,
            initial_temperature_K=400.0 + 30 * number,
            velocity_seed=number,
            **other,
        )
        for number in range(count)
    ]


def ordered(outcomes: list[MDOutcome]) -> list[MDOutcome]:
    found = sorted(outcomes, key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in found] == list(range(len(found)))
    return found


@pytest.mark.parametrize("name", INTEGRATORS)
def test_a_batch_is_its_structures_one_by_one(name: str) -> None:
    structures, settings = crystals(), different(name)
    together = ordered(list(run_md_many(structures, settings, calculator=pair_model())))
    for outcome, atoms, own in zip(together, structures, settings, strict=True):
        (alone,) = run_md_many(atoms, own, calculator=pair_model())
        assert (outcome.steps, outcome.stopped, alone.stopped) == (own.steps, "", "")
        assert outcome.time_fs == own.steps * own.timestep_fs
        # chaos multiplies a rounding of 1e-16 by far less than 1e4 in some tens of steps
        np.testing.assert_allclose(outcome.atoms.positions, alone.atoms.positions, rtol=0, atol=1e-11)
        np.testing.assert_allclose(outcome.atoms.get_momenta(), alone.atoms.get_momenta(), rtol=0, atol=1e-11)
        assert outcome.energies.total == pytest.approx(alone.energies.total, abs=1e-10)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_with_a_calculator_a_batch_is_its_structures_to_the_bit(name: str, tmp_path: Path) -> None:
    structures, settings = crystals(3), different(name, 3, trajectory_interval=4, log_interval=3, state_interval=5)
    together = ordered(list(run_md_many(structures, settings, calculator=EMT(), files=tmp_path / "all")))
    for key, (outcome, atoms, own) in enumerate(zip(together, structures, settings, strict=True)):
        (alone,) = run_md_many(atoms, own, calculator=EMT(), files=tmp_path / str(key))
        assert np.array_equal(outcome.atoms.positions, alone.atoms.positions)
        assert np.array_equal(outcome.atoms.get_momenta(), alone.atoms.get_momenta())
        assert outcome.energies == alone.energies
        for suffix in ("extxyz", "csv"):
            all_of_it = (tmp_path / "all" / f"{key:06d}.{suffix}").read_bytes()
            assert all_of_it == (tmp_path / str(key) / f"000000.{suffix}").read_bytes()


def test_constant_energy_is_that_of_ases_integrator() -> None:
    atoms, settings = crystals(1)[0], different("nve", 1)[0]
    atoms.set_constraint(FixAtoms([1]))
    (outcome,) = run_md_many(atoms, settings, calculator=EMT())
    oracle = run_md(atoms, settings, calculator=EMT())
    np.testing.assert_allclose(outcome.atoms.positions, oracle.atoms.positions, rtol=0, atol=1e-12)
    assert outcome.energies.total == pytest.approx(oracle.energies.total, abs=1e-11)
    assert outcome.energies.drift_per_atom == pytest.approx(oracle.energies.drift_per_atom, abs=1e-12)
    assert outcome.temperature_K == pytest.approx(oracle.temperature_K)
    assert outcome.atoms.constraints
    assert np.array_equal(outcome.atoms.positions[1], atoms.positions[1])
    assert atoms.calc is None
    assert not atoms.has("momenta")


def test_replicas_differ_in_their_seeds_alone() -> None:
    settings = MDSettings(ensemble=ensemble("nve"), steps=3, initial_temperature_K=300.0, velocity_seed=5)
    structures, each = replicated(crystals(2), settings, 3)
    assert [one.velocity_seed for one in each] == [5, 6, 7, 5, 6, 7]
    assert [len(atoms) for atoms in structures] == [4] * 6
    outcomes = ordered(list(run_md_many(structures, each, calculator=pair_model())))
    assert len({outcome.atoms.positions.tobytes() for outcome in outcomes}) == 6
    with pytest.raises(ValueError, match="replicas is 0"):
        replicated(crystals(1), settings, 0)


def test_frames_and_logs_hold_what_they_say(tmp_path: Path) -> None:
    settings = different("nve", 6, trajectory_interval=3, log_interval=2)
    outcomes = ordered(list(run_md_many(crystals(), settings, calculator=pair_model(), files=tmp_path / "out")))
    for key, outcome in enumerate(outcomes):
        frames = read(tmp_path / "out" / f"{key:06d}.extxyz", index=":")
        assert [frame.info["step"] for frame in frames] == list(range(0, outcome.steps + 1, 3))
        lines = (tmp_path / "out" / f"{key:06d}.csv").read_text().splitlines()
        assert lines[0] == ",".join(LOG_COLUMNS)
        assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(0, outcome.steps + 1, 2))
        if outcome.steps % 6 == 0:
            told = [float(value) for value in lines[-1].split(",")]
            again = [float(value or 0) for value in log_row(outcome.atoms, outcome.steps, outcome.time_fs)]
            stress = outcome.atoms.get_stress(include_ideal_gas=True)
            again[LOG_COLUMNS.index("pressure_GPa")] = -stress[:3].mean() / units.GPa
            assert told == pytest.approx(again, rel=1e-9)  # the same numbers, summed in another order


def test_frames_of_traj_and_no_log(tmp_path: Path) -> None:
    files = BatchFiles(tmp_path / "out", suffix=".traj", log=False)
    list(run_md_many(crystals(2), different("nve", 2), calculator=EMT(), files=files))
    assert sorted(path.name for path in files.directory.iterdir()) == ["000000.traj", "000001.traj", "state.npz"]
    frames = read(files.directory / "000000.traj", index=":")
    assert [frame.info["step"] for frame in frames] == [0, 10]
    assert frames[1].get_forces().shape == (4, 3)


def test_memory_that_runs_out_halves_and_loses_nothing() -> None:
    called: list[int] = []

    def narrow(graph: AtomicGraph) -> dict[str, torch.Tensor]:
        if graph.n_graphs > 3:
            raise torch.OutOfMemoryError("no more")
        called.append(graph.n_graphs)
        return evaluate(graph)

    model = GraphModel(narrow, CUTOFF, device=torch.device("cpu"), identity="narrow", check=lambda _: None)
    model.sizer.budget = 1e6
    structures, settings = crystals(12), different("nve", 12)
    outcomes = ordered(list(run_md_many(structures, settings, calculator=model)))
    assert all(outcome.steps == own.steps for outcome, own in zip(outcomes, settings, strict=True))
    assert max(called) == 3
    for outcome, expected in zip(
        outcomes, ordered(list(run_md_many(structures, settings, calculator=pair_model()))), strict=True
    ):
        np.testing.assert_allclose(outcome.atoms.positions, expected.atoms.positions, rtol=0, atol=1e-11)


def test_what_cannot_be_run_is_an_outcome() -> None:
    held = crystals(1)[0]
    held.set_constraint(FixBondLengths([(0, 1)]))
    gold, broken = bulk("Au", cubic=True), crystals(1)[0]
    broken.positions[0] = broken.positions[1]
    structures = [held, gold, broken, crystals(1)[0]]
    settings = MDSettings(ensemble=ensemble("nve"), steps=4)
    outcomes = ordered(list(run_md_many(structures, settings, calculator=pair_model())))
    for outcome, words in zip(outcomes, ("FixBondLengths", "never seen Au", "in one place", ""), strict=True):
        assert words in outcome.stopped
        assert (outcome.atoms is None) == bool(words)
    assert outcomes[3].steps == 4


def test_no_steps_are_the_first_geometry() -> None:
    (outcome,) = run_md_many(crystals(1), MDSettings(ensemble=ensemble("nve"), steps=0), calculator=LennardJones())
    assert (outcome.steps, outcome.stopped) == (0, "")
    assert np.array_equal(outcome.atoms.positions, crystals(1)[0].positions)


def test_progress_ends_with_all_steps() -> None:
    told: list[tuple[int, int | None]] = []
    settings = different("nve", 3)
    list(
        run_md_many(
            crystals(3), settings, calculator=pair_model(), progress=lambda done, total: told.append((done, total))
        )
    )
    assert told[-1] == (12 + 15 + 18, 12 + 15 + 18)
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"structures": []}, "no structures are given"),
        ({"settings": different("nve", 2)}, "2 settings are given for 3 structures"),
        ({"calculator": None}, "the atoms have no calculator"),
        ({"on_existing": "append"}, "on_existing='append' is not known"),
        ({"settings": different("nve", 2) + different("nve", 1, state_interval=7)}, "one state_interval"),
        ({"settings": [*different("nve", 2), MDSettings(ensemble=ensemble("langevin"), steps=1)]}, "one kind of ensem"),
        ({"files": "no/such/place"}, "does not exist"),
        ({"files": BatchFiles(Path("out"), suffix=".xyz")}, r"has to end in one of"),
        ({"files": Path(__file__)}, "is a file; many runs write into a directory"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_computed(changed: dict[str, object], words: str) -> None:
    given = {"structures": crystals(3), "settings": different("nve", 3), "calculator": pair_model(), **changed}
    with pytest.raises(ValueError, match=words):
        run_md_many(given.pop("structures"), given.pop("settings"), **given)
