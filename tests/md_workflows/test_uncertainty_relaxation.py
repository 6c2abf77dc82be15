"""Relaxations in a harmonic well, whose atoms come nearer to x = 0: where they are uncertain is known beforehand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read

from md_workflows import (
    ASEEngine,
    RelaxSettings,
    StopReason,
    UncertaintyPolicy,
    engine_for,
    relax,
    relax_many,
    uncertainties_of,
)
from md_workflows.batched.engine import BatchedEngine
from md_workflows.engine import Engine
from tests.md_workflows.doubtful import PULL, Free, Well, free_model
from tests.md_workflows.pair_model import pair_model

STARTS = (0.9, 0.3, 0.05)
"""Å along x; the first is above the limit where it begins."""


def placed(x: float) -> Atoms:
    return Atoms("CuAg", [[0.0, 3.0, 0.0], [x, 0.0, 0.0]])


def settings(action: str = "stop", limit: float = 0.5, **other: Any) -> RelaxSettings:
    own = {name: other.pop(name) for name in ("candidates", "output") if name in other}
    policy = UncertaintyPolicy(limit=limit, action=action, **own)
    return RelaxSettings(**{"fmax": 0.02, "uncertainty": policy, **other})


def engines() -> dict[str, Engine]:
    return {"ase": ASEEngine(Well()), "batch": BatchedEngine(free_model(PULL), "well")}


@pytest.mark.parametrize("kind", engines())
def test_what_comes_out_carries_uncertainties_and_marks(kind: str) -> None:
    """A limit below the last x of one of them: FIRE ends where the largest force, PULL x, is below fmax."""
    outcomes = sorted(
        engines()[kind].relax_many([placed(x) for x in STARTS], settings("mark", 0.5, max_steps=0)),
        key=lambda one: one.index,
    )
    for x, outcome in zip(STARTS, outcomes, strict=True):
        known = uncertainties_of(outcome.result.atoms)
        assert known["uncertainty"] == pytest.approx(x)
        assert known["energy_uncertainty"] == pytest.approx(0.1 * x)
        np.testing.assert_allclose(known["forces_uncertainty"], [0, x])
        assert outcome.result.atoms.info["uncertain"] == (x > 0.5)
        assert outcome.result.reason is not StopReason.UNCERTAIN


@pytest.mark.parametrize("kind", engines())
def test_it_stops_where_it_is_too_uncertain_and_nowhere_else(kind: str) -> None:
    outcomes = sorted(engines()[kind].relax_many([placed(x) for x in STARTS], settings()), key=lambda one: one.index)
    first, *others = [one.result for one in outcomes]
    assert (first.reason, first.converged, first.steps) == (StopReason.UNCERTAIN, False, 0)
    assert first.atoms.info["uncertainty"] == pytest.approx(0.9)
    for x, result in zip(STARTS[1:], others, strict=True):
        plain = relax(placed(x), RelaxSettings(fmax=0.02), calculator=Well())
        assert (result.reason, result.steps) == (plain.reason, plain.steps)
        assert result.atoms.info["uncertain"] is False


@pytest.mark.parametrize("kind", engines())
def test_it_stops_on_the_way(kind: str) -> None:
    """Down a slope away from x = 0, so that it becomes uncertain: at the step that the plain path tells."""

    class Slope(Free):
        def calculate(self, *arguments: Any, **named: Any) -> None:
            super().calculate(*arguments, **named)
            self.results["energy"] = -float(self.atoms.positions[:, 0].sum())
            self.results["forces"] = np.tile([1.0, 0.0, 0.0], (len(self.atoms), 1))

    def model() -> Any:
        found = free_model()
        own = found._evaluate

        def evaluate(graph: Any) -> Any:
            results = own(graph)
            forces = results["forces"].clone()
            forces[:, 0] = 1.0
            return {**results, "forces": forces}

        found._evaluate = evaluate
        return found

    made = {"ase": ASEEngine(Slope()), "batch": BatchedEngine(model(), "slope")}[kind]
    (plain,) = made.relax_many([placed(0.3)], RelaxSettings(max_steps=40))
    assert plain.result.atoms.positions[1, 0] > 0.6
    (stopped,) = made.relax_many([placed(0.3)], settings(limit=0.6, max_steps=40))
    assert stopped.result.reason is StopReason.UNCERTAIN
    x = stopped.result.atoms.positions[1, 0]
    (before,) = made.relax_many([placed(0.3)], RelaxSettings(max_steps=stopped.result.steps - 1))
    assert before.result.atoms.positions[1, 0] <= 0.6 < x == stopped.result.atoms.info["uncertainty"]


def test_trajectories_and_candidates_of_one(tmp_path: Path) -> None:
    way = tmp_path / "way.traj"
    result = relax(placed(0.9), settings("keep", max_steps=2), calculator=Well(), trajectory=way)
    frames = read(way, index=":")
    assert len(frames) == 3
    for frame in frames:
        x = frame.positions[1, 0]
        assert frame.info["uncertain"] == (x > 0.5)
        np.testing.assert_allclose(frame.info["forces_uncertainty"], [0, x])
    kept = read(tmp_path / "way.candidates.extxyz", index=":")
    assert [one.info["step"] for one in kept] == ([2] if result.atoms.info["uncertain"] else [])
    assert result.atoms.info["uncertain"]
    assert kept[0].calc is None
    assert kept[0].info["source"] == str(way)
    with pytest.raises(ValueError, match=r"way\.candidates\.extxyz exists already; name another"):
        relax(placed(0.9), settings("keep"), calculator=Well(), trajectory=way)
    with pytest.raises(ValueError, match="'keep' needs a file"):
        relax(placed(0.9), settings("keep"), calculator=Well())
    with pytest.raises(ValueError, match="create it first"):
        relax(placed(0.9), settings("keep", candidates=tmp_path / "no" / "a.extxyz"), calculator=Well())


@pytest.mark.parametrize("action", ["keep", "stop"])
def test_candidates_of_many(action: str, tmp_path: Path) -> None:
    path = tmp_path / "pool.extxyz"
    asked = settings(action, 0.2, candidates=path, max_steps=0)
    outcomes = list(relax_many([placed(x) for x in STARTS], asked, calculator=Well()))
    assert len(outcomes) == 3
    kept = read(path, index=":")
    assert [one.info["source"] for one in kept] == ["structure_0", "structure_1"]
    assert [one.info["uncertainty"] for one in kept] == pytest.approx(STARTS[:2])


def test_a_calculator_without_uncertainties_is_refused() -> None:
    """At the first structure, and not as the error of each."""
    told = "'uncertainty' is set, which {} does not give; .*gfm-ase calibrate"
    for name, made in (("EMT", ASEEngine(EMT())), ("pairs", BatchedEngine(pair_model(), "pairs"))):
        with pytest.raises(ValueError, match=told.format(name)):
            list(made.relax_many([placed(0.3)], settings()))
    with pytest.raises(ValueError, match=told.format("EMT")):
        relax(placed(0.3), settings(), calculator=EMT())
    with pytest.raises(ValueError, match=told.format("EMT")):
        list(relax_many([placed(0.3)], settings(), calculator=EMT()))


def test_what_another_calculator_said_is_forgotten() -> None:
    atoms = placed(0.3)
    atoms.info.update(uncertainty=9.0, uncertain=True)
    for made in (engine_for(EMT()), BatchedEngine(pair_model(), "pairs")):
        (outcome,) = made.relax_many([atoms], RelaxSettings(max_steps=0))
        assert uncertainties_of(outcome.result.atoms) == {}
        assert "uncertain" not in outcome.result.atoms.info
