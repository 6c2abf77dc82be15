"""What a calculator tells of its own errors: of an ensemble, of a last layer, calibrated or not."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from gfm_ase import GFMCalculator
from gfm_ase.loading import Loaded
from md_workflows import (
    MDSettings,
    MDStoppedError,
    RelaxSettings,
    UncertaintyPolicy,
    relax_many,
    run_md,
    run_md_many,
    uncertainties_of,
)
from md_workflows.engine import engine_for, evaluate_many
from potentials.backbones.painn import PaiNNConfig
from potentials.calibration import HeadCalibration, QuantityCalibration, half_widths
from potentials.checkpoint import save_calibrated, save_checkpoint
from potentials.ensemble import Ensemble
from potentials.manifest import describe
from potentials.potential import Potential, PotentialConfig

NAMES = ("energy_uncertainty", "forces_uncertainty", "stress_uncertainty", "uncertainty")
FOUND = {"structures": {"*": 30}, "values": {"*": 30}}
ROW = QuantityCalibration(floor=0.02, factors={"0.5": {"*": 0.7}, "0.9": {"*": 1.75}}, **FOUND)
OF_FORCES = QuantityCalibration(
    floor=0.05, factors={"0.5": {"*": 0.8, "Cu": 0.9}, "0.9": {"*": 2.25, "Cu": 2.5}}, **FOUND
)
CALIBRATION = HeadCalibration(quantities={"energy": ROW, "forces": OF_FORCES, "stress": ROW})


def member(seed: int, *, cutoff: float = 4.0, **settings: Any) -> Potential:
    backbone = PaiNNConfig(cutoff=cutoff, width=8, depth=1, radial_size=6)
    values = {"backbone": backbone, "heads": ("emt", "xtb"), "head_width": 8, **settings}
    made = Potential(PotentialConfig.model_validate(values), seed=seed).double()
    for head, e0 in (("emt", {"Al": -0.1, "Cu": -0.2}), ("xtb", {"H": -10.0, "O": -100.0})):
        made.references.set_head(head, e0, scale=10.0 + seed)
    return made


def written(path: Path, potential: Potential | Ensemble, calibration: HeadCalibration | None = None) -> Path:
    save_checkpoint(path, potential, describe(potential, [], made_with={"gfm-ase": "0.1.0"}))
    if calibration is not None:
        save_calibrated(path, path, "emt", calibration)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ensemble") / "plain.safetensors"
    return written(path, Ensemble([member(seed) for seed in range(3)]))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ensemble") / "calibrated.safetensors"
    return written(path, Ensemble([member(seed) for seed in range(3)]), CALIBRATION)


def results(calculator: GFMCalculator, atoms: Atoms) -> dict[str, Any]:
    calculator.calculate(atoms.copy())
    return dict(calculator.results)


def by_hand(atoms: Atoms, head: str = "emt") -> dict[str, Any]:
    """Means and standard deviations of three calculators."""
    alone = []
    for seed in range(3):
        own = member(seed)
        alone.append(results(GFMCalculator(Loaded(own, describe(own, [], made_with={})), head=head), atoms))
    stacked = {name: np.array([one[name] for one in alone]) for name in alone[0]}
    forces = np.sqrt(stacked["forces"].var(0, ddof=1).mean(1))
    found = {name: value.mean(0) for name, value in stacked.items()}
    found |= {"energy_uncertainty": stacked["energy"].std(ddof=1), "forces_uncertainty": forces}
    found["uncertainty"] = forces.max()
    if "stress" in stacked:
        found["stress_uncertainty"] = np.sqrt(stacked["stress"].var(0, ddof=1).mean())
    return found


def test_standard_deviations_of_members(plain: Path, alloy: Atoms) -> None:
    calculator = GFMCalculator(plain, head="emt")
    assert (calculator.uncertainties.calibrated, calculator.uncertainties.coverage) == (False, None)
    found, wanted = results(calculator, alloy), by_hand(alloy)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert [type(found[name]) for name in ("energy_uncertainty", "uncertainty", "stress_uncertainty")] == [float] * 3
    assert found["forces_uncertainty"].shape == (len(alloy),)
    assert found["uncertainty"] > 0.01


def test_a_molecule_has_no_stress_to_be_sure_of(plain: Path) -> None:
    found = results(GFMCalculator(plain, head="xtb"), molecule("H2O"))
    assert {name for name in found if "uncertainty" in name} == set(NAMES) - {"stress_uncertainty"}
    assert found["forces_uncertainty"] == pytest.approx(by_hand(molecule("H2O"), "xtb")["forces_uncertainty"], abs=1e-9)


@pytest.mark.parametrize("coverage", [None, 0.5, 0.9])
def test_half_widths_by_hand(coverage: float | None, calibrated: Path, alloy: Atoms) -> None:
    calculator = GFMCalculator(calibrated, head="emt")
    raw, share = by_hand(alloy), coverage or 0.9
    if coverage is not None:
        results(calculator, alloy)
        calculator.use_coverage(coverage)
        assert calculator.results == {}
    assert (calculator.uncertainties.calibrated, calculator.uncertainties.coverage) == (True, share)
    found = results(calculator, alloy)
    widths = {
        "energy_uncertainty": half_widths(ROW, raw["energy_uncertainty"], coverage=share, atoms=len(alloy)),
        "forces_uncertainty": half_widths(OF_FORCES, raw["forces_uncertainty"], coverage=share, numbers=alloy.numbers),
        "stress_uncertainty": half_widths(ROW, raw["stress_uncertainty"], coverage=share),
    }
    for name, width in widths.items():
        assert found[name] == pytest.approx(width, abs=1e-9), name
    assert found["uncertainty"] == found["forces_uncertainty"].max()
    factor = {"Al": 2.25, "Cu": 2.5} if share == 0.9 else {"Al": 0.8, "Cu": 0.9}
    first = factor[alloy[0].symbol] * np.hypot(raw["forces_uncertainty"][0], 0.05)
    assert found["forces_uncertainty"][0] == pytest.approx(first)
    assert found["forces"] == pytest.approx(raw["forces"], abs=1e-9)


def test_coverages_that_are_not_there(calibrated: Path, alloy: Atoms) -> None:
    calculator = GFMCalculator(calibrated, head="emt")
    before = results(calculator, alloy)
    with pytest.raises(ValueError, match=r"coverage 0\.95 is not among those calibrated: 0\.5, 0\.9; choose one"):
        calculator.use_coverage(0.95)
    assert calculator.uncertainties.coverage == 0.9
    assert results(calculator, alloy)["uncertainty"] == before["uncertainty"]
    other = GFMCalculator(calibrated, head="xtb")
    assert not other.uncertainties.calibrated
    with pytest.raises(ValueError, match="head 'xtb' has no calibrated uncertainties; make them: gfm-ase calibrate"):
        other.use_coverage(0.9)


def test_only_what_was_calibrated_is_told(tmp_path: Path, alloy: Atoms) -> None:
    of_energy = HeadCalibration(quantities={"energy": ROW})
    path = written(tmp_path / "energy.safetensors", Ensemble([member(seed) for seed in range(3)]), of_energy)
    calculator = GFMCalculator(path, head="emt")
    found = results(calculator, alloy)
    assert {name for name in found if "uncertainty" in name} == {"energy_uncertainty"}
    wanted = half_widths(ROW, by_hand(alloy)["energy_uncertainty"], atoms=len(alloy))
    assert found["energy_uncertainty"] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", ["ensemble", "last layer"])
def test_direct_forces_have_no_uncertainty_of_their_own(kind: str, alloy: Atoms) -> None:
    more: dict[str, Any] = {"outputs": ({"name": "direct_forces", "width": 4},), "last_layer": kind == "last layer"}
    members = [member(seed, **more) for seed in range(2)]
    for one in members:
        assert one.outputs is not None
        one.outputs.output("direct_forces").set_scale("emt", 10.0)
        if one.last_layer is not None:
            one.last_layer.set_head("emt", ["Al", "Cu"], (torch.eye(8).double(), 1.0), None)
    potential = Ensemble(members) if kind == "ensemble" else members[0]
    loaded = Loaded(potential, describe(potential, [], made_with={}))
    calculator, exact = (GFMCalculator(loaded, head="emt") for _ in range(2))
    wanted = results(exact, alloy)["energy_uncertainty"]
    calculator.use_direct_forces()
    found = results(calculator, alloy)
    assert {name for name in found if "uncertainty" in name} == {"energy_uncertainty"}
    assert found["energy_uncertainty"] == pytest.approx(wanted)
    told = calculator.uncertainties.results({"forces_uncertainty": torch.ones(3)}, forces=False)
    assert told == {}, "nor where a compiled program gives those of the derivatives"


def test_heads_that_know_none_tell_none(alloy: Atoms) -> None:
    one = member(0, last_layer=True)
    assert one.last_layer is not None
    one.last_layer.set_head("emt", ["Al", "Cu"], (torch.eye(8).double(), 1.0), None)
    loaded = Loaded(one, describe(one, [], made_with={}))
    of_energy = results(GFMCalculator(loaded, head="emt"), alloy)
    assert {name for name in of_energy if "uncertainty" in name} == {"energy_uncertainty"}
    water = results(GFMCalculator(loaded, head="xtb"), molecule("H2O"))
    assert not [name for name in water if "uncertainty" in name]
    assert GFMCalculator(loaded, head="xtb").batch_model().outputs == {}


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda calculator: pickle.loads(pickle.dumps(calculator)),  # noqa: S301 - its own pickle
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_tell_the_same(how: str, calibrated: Path, alloy: Atoms) -> None:
    calculator = GFMCalculator(calibrated, head="emt")
    calculator.use_coverage(0.5)
    wanted = results(calculator, alloy)
    twin = COPIES[how](calculator)
    found = results(twin, alloy)
    assert all(np.array_equal(found[name], value) for name, value in wanted.items())
    twin.use_coverage(0.9)
    assert (calculator.uncertainties.coverage, twin.uncertainties.coverage) == (0.5, 0.9)
    assert results(twin, alloy)["uncertainty"] > wanted["uncertainty"]
    assert results(calculator, alloy)["uncertainty"] == wanted["uncertainty"]


def in_a_worker(task: tuple[GFMCalculator, Atoms]) -> dict[str, Any]:
    return results(*task)


@pytest.mark.slow
def test_in_another_process(calibrated: Path, alloy: Atoms) -> None:
    calculator = GFMCalculator(calibrated, head="emt")
    wanted = results(calculator, alloy)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (found,) = pool.map(in_a_worker, [(calculator, alloy)])
    assert all(found[name] == pytest.approx(value, abs=1e-12) for name, value in wanted.items())


def metals() -> list[Atoms]:
    structures = [bulk("Cu", cubic=True), bulk("Al"), Atoms("CuAl", positions=[[0, 0, 0], [0, 0, 2.4]])]
    for number, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=number)
    return structures


def require_told(atoms: Atoms, calculator: GFMCalculator) -> None:
    """The uncertainties that a frame has are those of the calculator for its positions."""
    wanted, found = results(calculator, atoms), uncertainties_of(atoms)
    assert set(found) >= {"energy_uncertainty", "forces_uncertainty", "uncertainty"}
    for name, value in found.items():
        assert value == pytest.approx(wanted[name], abs=1e-8), name


def test_many_at_once_carry_them(calibrated: Path) -> None:
    calculator = GFMCalculator(calibrated, head="emt")
    assert set(calculator.batch_model().outputs) == set(NAMES)
    assert calculator.batch_model().outputs["forces_uncertainty"] == "atom"
    alone = GFMCalculator(calibrated, head="emt")
    outcomes = [*evaluate_many(engine_for(calculator), metals())]
    outcomes += relax_many(metals(), RelaxSettings(optimizer="fire", fmax=1e-4, max_steps=3), calculator=calculator)
    assert len(outcomes) == 6
    for outcome in outcomes:
        assert outcome.result is not None, outcome.error
        require_told(outcome.result.atoms, alone)
    settings = MDSettings(ensemble={"name": "nve"}, steps=3, timestep_fs=1.0)
    runs = list(run_md_many(metals(), settings, calculator=calculator))
    assert len(runs) == 3
    for run in runs:
        assert run.atoms is not None, run.stopped
        require_told(run.atoms, alone)


def test_a_policy_stops_dynamics(plain: Path, alloy: Atoms) -> None:
    calculator = GFMCalculator(plain, head="emt")
    value = results(calculator, alloy)["uncertainty"]
    chosen = MDSettings(ensemble={"name": "nve"}, steps=2, timestep_fs=0.1)
    for limit in (0.5 * value, 2 * value):
        guarded = replace_policy(chosen, UncertaintyPolicy(limit=limit))
        if limit < value:
            with pytest.raises(MDStoppedError, match=r"at step 0 \(the model's uncertainty reached .* at atom \d+"):
                run_md(alloy, guarded, calculator=calculator)
        else:
            assert run_md(alloy, guarded, calculator=calculator).steps == 2
    many = list(
        run_md_many([alloy, alloy], replace_policy(chosen, UncertaintyPolicy(limit=0.5 * value)), calculator=calculator)
    )
    assert all("the model's uncertainty reached" in run.stopped for run in many)


def replace_policy(settings: MDSettings, policy: UncertaintyPolicy) -> MDSettings:
    return settings.model_copy(update={"uncertainty": policy})


def test_members_of_several_cutoffs_cannot_be_compiled(alloy: Atoms) -> None:
    mixed = Ensemble([member(0), member(1, cutoff=3.5)])
    loaded = Loaded(mixed, describe(mixed, [], made_with={}))
    assert results(GFMCalculator(loaded, head="emt"), alloy)["uncertainty"] > 0
    with pytest.raises(ValueError, match=r"different cutoffs and cannot be compiled as one: use compile=False, or"):
        results(GFMCalculator(loaded, head="emt", compile=True), alloy)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled(calibrated: Path, alloy: Atoms) -> None:
    calculators = [GFMCalculator(calibrated, head="emt", compile=choice) for choice in (False, True)]
    wanted, found = (results(calculator, alloy) for calculator in calculators)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
