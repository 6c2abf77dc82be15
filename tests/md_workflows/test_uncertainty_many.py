"""Many runs, each with its own uncertainty: a batch does with each what `run_md` does with it alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read

from gfm_ase.calculator import without_gradients
from md_workflows import (
    BatchFiles,
    MDSettings,
    MDStoppedError,
    UncertaintyPolicy,
    read_h5,
    run_md,
    run_md_many,
    uncertainties_of,
)
from md_workflows.batched.ase_model import given_uncertainties
from md_workflows.batched.fleet import fleet_of
from md_workflows.batched.models import GraphModel
from md_workflows.md_many import MDOutcome
from potentials.structures import graph_from_atoms
from tests.md_workflows.doubtful import Free, flying, free_model
from tests.md_workflows.test_md_many import ordered
from tests.md_workflows.test_uncertainty_md import Killed
from tests.potentials.test_last_layer import lively

SPEEDS = (0.05, 0.02, 0.11, 0.0, 0.07)
LIMIT = 1.52
STEPS = 24
MODELS = {"ase": Free, "graph": free_model}


def structures() -> list[Atoms]:
    return [flying(speed, n_atoms=2 + number % 3) for number, speed in enumerate(SPEEDS)]


def above(speed: float) -> list[int]:
    """The steps at which an atom of this speed is beyond the limit."""
    return [step for step in range(STEPS + 1) if 1 + speed * step > LIMIT]


def settings(action: str = "keep", **other: Any) -> MDSettings:
    policy = UncertaintyPolicy(limit=LIMIT, action=action, interval=3, most=3, **other)
    intervals = {"trajectory_interval": 2, "log_interval": 5, "state_interval": 4}
    return MDSettings(ensemble={"name": "nve"}, uncertainty=policy, steps=STEPS, **intervals)


def run(files: Path, model: Any, chosen: Any = None, **how: Any) -> list[MDOutcome]:
    given = settings() if chosen is None else chosen
    return ordered(list(run_md_many(structures(), given, calculator=model, files=files, **how)))


@pytest.mark.parametrize("kind", MODELS)
def test_each_is_marked_and_kept_as_alone(kind: str, tmp_path: Path) -> None:
    outcomes = run(tmp_path / "many", MODELS[kind]())
    kept = read(tmp_path / "many" / "candidates.extxyz", index=":")
    for number, (atoms, outcome) in enumerate(zip(structures(), outcomes, strict=True)):
        alone = run_md(atoms, settings(), calculator=Free(), files=tmp_path / f"{number}.extxyz")
        steps = above(SPEEDS[number])
        assert outcome.doubts.steps_above == alone.doubts.steps_above == len(steps)
        assert outcome.doubts.largest == pytest.approx(alone.doubts.largest)
        mine = [one for one in kept if one.info["source"] == f"{number:06d}.extxyz"]
        assert [one.info["step"] for one in mine] == steps[::3][:3]
        assert outcome.doubts.kept == alone.doubts.kept == len(mine)
        path = tmp_path / f"{number}.candidates.extxyz"
        for one, other in zip(mine, read(path, index=":") if path.exists() else [], strict=True):
            assert one.calc is None
            assert one.info | {"source": ""} == pytest.approx(other.info | {"source": ""})
            np.testing.assert_allclose(one.arrays["forces_uncertainty"], other.arrays["forces_uncertainty"])
        frames = read(tmp_path / "many" / f"{number:06d}.extxyz", index=":")
        for one, other in zip(frames, read(tmp_path / f"{number}.extxyz", index=":"), strict=True):
            assert one.info["uncertain"] == other.info["uncertain"] == (one.info["step"] in steps)
            for name, value in uncertainties_of(other).items():
                np.testing.assert_allclose(uncertainties_of(one)[name], value, atol=1e-7)
    steps_in_file = [one.info["step"] for one in kept]
    assert kind == "ase" or steps_in_file == sorted(steps_in_file)  # ASE calculators: one run after another


@pytest.mark.parametrize("kind", MODELS)
def test_those_above_stop_alone(kind: str, tmp_path: Path) -> None:
    outcomes = run(tmp_path / "many", MODELS[kind](), settings("stop"))
    for number, (speed, outcome) in enumerate(zip(SPEEDS, outcomes, strict=True)):
        steps, atom = above(speed), 1 + number % 3
        if not steps:
            assert (outcome.stopped, outcome.steps) == ("", STEPS)
            continue
        value = 1 + speed * steps[0]
        assert outcome.stopped == (
            f"step {steps[0]}: the model's uncertainty reached {value:.4g} eV/Å at atom {atom} (Ag), more than 1.52"
        )
        assert outcome.steps == steps[0] - 1
        kept = read(tmp_path / "many" / f"{number:06d}.last_good.extxyz")
        assert kept.info["uncertain"] == outcome.atoms.info["uncertain"] == False  # noqa: E712 - and not 0
        assert kept.info["uncertainty"] == pytest.approx(value - speed)
        np.testing.assert_allclose(kept.arrays["forces_uncertainty"][atom], value - speed, atol=1e-7)
        with pytest.raises(MDStoppedError) as alone:
            run_md(structures()[number], settings("stop"), calculator=Free())
        assert alone.value.step == steps[0]
    assert not (tmp_path / "many" / "candidates.extxyz").exists()


def test_each_may_have_its_own_policy(tmp_path: Path) -> None:
    pool = tmp_path / "pool.extxyz"
    plain = settings().model_copy(update={"uncertainty": None})
    chosen = [settings("stop", candidates=pool), plain, settings("mark"), plain, settings("keep", candidates=pool)]
    outcomes = run(tmp_path / "many", free_model(), chosen)
    assert [bool(one.stopped) for one in outcomes] == [True, False, False, False, False]
    assert [one.doubts is None for one in outcomes] == [False, True, False, True, False]
    told = [(one.info["source"], one.info["step"]) for one in read(pool, index=":")]
    assert told == [
        ("000004.extxyz", 8), ("000000.extxyz", 11), ("000004.extxyz", 11), ("000004.extxyz", 14),
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "calls"), [("graph", 1), ("graph", 13), ("graph", 21), ("ase", 15)])
def test_killed_anywhere_and_continued(kind: str, calls: int, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", MODELS[kind]())
    parts = tmp_path / "parts"
    with pytest.raises(Killed):
        run(parts, killed(MODELS[kind](), calls))
    if (parts / "candidates.extxyz").exists():
        with (parts / "candidates.extxyz").open("a") as half:
            half.write("2\nhalf a fra")
    outcomes = run(parts, MODELS[kind](), on_existing="restart")
    assert [one.doubts for one in outcomes] == [one.doubts for one in whole]
    names = sorted(path.name for path in (tmp_path / "whole").iterdir() if path.name != "state.npz")
    assert "candidates.extxyz" in names
    for name in names:
        assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def killed(model: Any, calls: int) -> Any:
    """The model, which is killed in the call of this number, or an ASE calculator in its first structure."""
    done = [0]
    name = "_evaluate" if isinstance(model, GraphModel) else "calculate"
    own, length = getattr(model, name), 1 if isinstance(model, GraphModel) else len(SPEEDS)

    def counted(*arguments: Any, **named: Any) -> Any:
        done[0] += 1
        if done[0] == calls * length:
            raise Killed
        return own(*arguments, **named)

    setattr(model, name, counted)
    return model


SCRIPT = """
from pathlib import Path
from tests.md_workflows.test_uncertainty_many import run_long
run_long(Path({directory!r}), on_existing="restart")
"""


def run_long(directory: Path, **how: Any) -> list[MDOutcome]:
    policy = UncertaintyPolicy(limit=1.2, action="keep", interval=2, most=2000)
    intervals = {"trajectory_interval": 20, "log_interval": 20, "state_interval": 50}
    long = MDSettings(ensemble={"name": "nve"}, uncertainty=policy, steps=2500, timestep_fs=0.1, **intervals)
    return ordered(list(run_md_many(structures(), long, calculator=free_model(), files=directory, **how)))


@pytest.mark.slow
def test_sigkill_again_and_again_leaves_each_candidate_once(tmp_path: Path) -> None:
    whole, parts, kills = run_long(tmp_path / "whole"), tmp_path / "parts", 0
    waiting = np.random.default_rng(5)
    while True:
        state = parts / "state.npz"
        began = state.stat().st_mtime_ns if state.exists() else 0
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(directory=str(parts))], cwd=Path(__file__).parents[2]
        ) as process:
            while process.poll() is None:
                time.sleep(0.02)
                if kills < 4 and state.exists() and state.stat().st_mtime_ns > began:
                    time.sleep(float(waiting.uniform(0, 0.4)))
                    os.kill(process.pid, signal.SIGKILL)
                    break
        if process.returncode == 0:
            break
        kills += 1
    assert kills >= 2
    assert [one.doubts for one in run_long(parts, on_existing="restart")] == [one.doubts for one in whole]
    name = "candidates.extxyz"
    assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    told = [(one.info["source"], one.info["step"]) for one in read(parts / name, index=":")]
    assert len(set(told)) == len(told) == sum(one.doubts.kept for one in whole) > 1000


def test_what_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'uncertainty' is set, which EMT does not give"):
        run(tmp_path / "many", EMT())
    with pytest.raises(ValueError, match="limits are set on energy_uncertainty and uncertainty; a call looks at one"):
        run(tmp_path / "many", free_model(), [settings(), *[settings(output="energy_uncertainty")] * 4])
    with pytest.raises(ValueError, match="have one file of candidates, these have"):
        run(tmp_path / "many", free_model(), [settings(), *[settings(candidates=tmp_path / "a.extxyz")] * 4])
    with pytest.raises(ValueError, match="'keep' needs a file"):
        list(run_md_many(structures(), settings(), calculator=free_model()))
    with pytest.raises(ValueError, match="report uncertainty needs a calculator that gives its uncertainty, which EMT"):
        list(run_md_many(structures(), settings().model_copy(update={"uncertainty": None}), calculator=EMT(),
                         reporters=["uncertainty"]))  # fmt: skip
    pool = tmp_path / "pool.extxyz"
    pool.write_text("precious")
    for files, words in ((None, "pool.extxyz exists already; name another"), (tmp_path / "many", "holds pool.extxyz")):
        with pytest.raises(ValueError, match=words.replace(".", r"\.")):
            list(run_md_many(structures(), settings(candidates=pool), calculator=free_model(), files=files))
    with pytest.raises(ValueError, match=r"none cannot be written|does not exist; create it first"):
        run(tmp_path / "many", free_model(), settings(candidates=tmp_path / "none" / "pool.extxyz"))
    assert pool.read_text() == "precious"


def test_outputs_of_atoms_come_together_again_from_many_calls() -> None:
    """A call for each structure gives the columns that one call for all gives."""
    model, whole = free_model(), free_model()
    model.sizer.budget = model.sizer.ceiling = 1.0
    fleet = fleet_of(structures(), range(len(SPEEDS)), torch.device("cpu"))
    parts, together = model.compute(fleet), whole.compute(fleet)
    assert whole.outputs == {"uncertainty": "graph", "energy_uncertainty": "graph", "forces_uncertainty": "atom"}
    for name in whole.outputs:
        assert torch.equal(parts.outputs[name], together.outputs[name])
    assert together.outputs["forces_uncertainty"].shape == (fleet.n_atoms,)


def test_uncertainties_of_a_calculator_are_found_without_being_declared() -> None:
    class Declares(Free):
        implemented_properties = (*Free.implemented_properties, "uncertainty")

    class Refuses(Free):
        def calculate(self, *arguments: Any, **named: Any) -> None:
            raise RuntimeError("not this one")

    assert list(given_uncertainties(Free(), structures())) == [
        "uncertainty",
        "energy_uncertainty",
        "forces_uncertainty",
    ]
    assert list(given_uncertainties(Declares(), structures())) == ["uncertainty"]
    assert given_uncertainties(Refuses(), structures()) == given_uncertainties(EMT(), structures()) == {}


@pytest.mark.parametrize("kind", MODELS)
def test_each_run_has_its_own_report(kind: str, tmp_path: Path) -> None:
    """Looks at steps 0, 10 and 20: the mean of a straight line is that at step 10."""
    chosen = settings().model_copy(update={"uncertainty": None})
    for outcome in run(tmp_path / "many", MODELS[kind](), chosen, reporters=["uncertainty"]):
        (finding,) = outcome.reports["uncertainty"].findings()
        assert finding.value == pytest.approx(1 + 10 * SPEEDS[outcome.index])
        assert outcome.doubts is None
        assert (tmp_path / "many" / f"{outcome.index:06d}.uncertainty.csv").exists()


def test_frames_carry_what_a_potential_says_of_them(tmp_path: Path) -> None:
    """A potential with a last layer, float32, in a batch of two sizes: computed again of each frame, alone."""
    potential, where = lively("schnet", torch.float32), torch.device("cpu")
    names = ("energy_uncertainty", "forces_uncertainty", "uncertainty")
    told = {"identity": "last layer", "check": lambda _: None, "outputs": names}
    known = GraphModel(without_gradients(potential), potential.cutoff, device=where, **told)
    given = [molecule("H2O"), molecule("CH3OH")]
    plain = MDSettings(ensemble={"name": "nve"}, steps=4, timestep_fs=0.2, trajectory_interval=2)
    files = BatchFiles(tmp_path / "many", suffix=".h5")
    list(run_md_many(given, plain, calculator=known, files=files))
    for number in range(2):
        frames = read_h5(tmp_path / "many" / f"{number:06d}.h5", ":")
        assert len(frames) == 3
        for frame in frames:
            alone = potential(graph_from_atoms(frame, potential.cutoff))
            for name, value in uncertainties_of(frame).items():
                np.testing.assert_allclose(value, alone[name].detach().numpy().squeeze(), rtol=1e-4)
            assert set(uncertainties_of(frame)) == set(names)
