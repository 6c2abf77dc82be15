"""Many runs that are killed and continued give the bits of those that are not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read

from md_workflows import BatchFiles, MDGuards, MDSettings, run_md_many
from md_workflows.batched.dynamics.registry import INTEGRATORS
from md_workflows.batched.models import GraphModel
from md_workflows.md_many import MDOutcome
from potentials.graph import AtomicGraph
from tests.md_workflows.pair_model import evaluate, pair_model
from tests.md_workflows.test_md_many import crystals, different, ordered

Change = Callable[[dict[str, Any]], dict[str, Any]]
INTERVALS = {"trajectory_interval": 2, "log_interval": 3, "state_interval": 5}
STRUCTURES = 9
"""Of which the first three go in at once; they end at different times, and others take their places."""


class Killed(BaseException):
    """As a signal would: nothing in the packages catches it."""


def model(calls: int | None = None) -> GraphModel:
    """A pair potential with room for three crystals, which is killed in its call of this number."""
    found = pair_model()
    found.sizer.budget = 3 * found.cost(crystals(1)[0])
    found.sizer.settled = found.sizer.fixed = True
    done = [0]

    def counted(graph: AtomicGraph) -> dict[str, torch.Tensor]:
        done[0] += 1
        if done[0] == calls:
            raise Killed
        return evaluate(graph)

    found._evaluate = counted
    return found


def structures() -> list[Atoms]:
    return [atoms for atoms in crystals(2 * STRUCTURES) if len(atoms) == 4][:STRUCTURES]


def run(files: Path | BatchFiles, name: str = "nve", calculator: object = None, **how: object) -> list[MDOutcome]:
    settings = different(name, STRUCTURES, **INTERVALS)
    given = calculator if calculator is not None else model()
    return ordered(list(run_md_many(structures(), settings, calculator=given, files=files, **how)))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "state.npz"}


def assert_same(ones: list[MDOutcome], others: list[MDOutcome]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert (one.steps, one.stopped, one.energies) == (other.steps, other.stopped, other.energies)
        assert np.array_equal(one.atoms.positions, other.atoms.positions)
        assert np.array_equal(one.atoms.cell.array, other.atoms.cell.array)
        assert np.array_equal(one.atoms.get_momenta(), other.atoms.get_momenta())
        assert np.array_equal(one.atoms.get_forces(), other.atoms.get_forces())


@pytest.mark.parametrize("name", INTEGRATORS)
def test_killed_anywhere_and_continued(name: str, tmp_path: Path) -> None:
    """Also when some have ended and others have not begun, and twice in a row."""
    whole = run(tmp_path / "whole", name)
    for calls in (1, 4, 23, 60):
        parts = tmp_path / f"parts-{calls}"
        with pytest.raises(Killed):
            run(parts, name, model(calls))
        if calls == 23:
            with pytest.raises(Killed):
                run(parts, name, model(9), on_existing="restart")
        assert_same(run(parts, name, on_existing="restart"), whole)
        assert contents(parts) == contents(tmp_path / "whole")


def test_when_it_is_killed_some_have_ended_and_some_not_begun(tmp_path: Path) -> None:
    """What the test above says of itself."""
    with pytest.raises(Killed):
        run(tmp_path, calculator=model(23))
    settings = different("nve", STRUCTURES, **INTERVALS)
    calls = model()
    earlier = []
    for outcome in run_md_many(structures(), settings, calculator=calls, files=tmp_path, on_existing="restart"):
        earlier.append(outcome.index)
        break
    assert earlier == [0]
    assert not (tmp_path / f"{STRUCTURES - 1:06d}.csv").exists()


def test_a_calculator_with_lists_that_age_is_continued_to_the_bit(tmp_path: Path) -> None:
    class Fragile(EMT):
        calls = 0

        def calculate(self, *arguments: object, **named: object) -> None:
            Fragile.calls += 1
            if Fragile.calls == 40:
                raise Killed
            super().calculate(*arguments, **named)

    whole = run(tmp_path / "whole", calculator=EMT())
    with pytest.raises(Killed):
        run(tmp_path / "parts", calculator=Fragile())
    plain = EMT()  # another class would be another calculator
    plain.__class__ = Fragile
    assert_same(run(tmp_path / "parts", calculator=plain, on_existing="restart"), whole)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_results_do_not_depend_on_the_age_of_lists(tmp_path: Path) -> None:
    young = model()
    update = young.lists.update

    def anew(fleet: object) -> object:
        young.lists.forget()
        return update(fleet)

    young.lists.update = anew
    assert_same(run(tmp_path / "young", calculator=young), run(tmp_path / "old"))
    assert young.lists.n_builds > 10 * STRUCTURES


def test_what_was_room_is_measured_once_and_kept(tmp_path: Path) -> None:
    def free() -> GraphModel:
        found = pair_model()
        found.sizer.budget = 2 * found.cost(crystals(1)[0])
        return found

    first, second = free(), free()
    whole = run(tmp_path / "parts", calculator=first)
    assert first.sizer.fixed
    (tmp_path / "again").mkdir()
    (tmp_path / "parts" / "state.npz").rename(tmp_path / "kept.npz")
    (tmp_path / "kept.npz").rename(tmp_path / "parts" / "state.npz")
    assert_same(run(tmp_path / "parts", calculator=second, on_existing="restart"), whole)
    assert (second.sizer.budget, second.sizer.ceiling) == (first.sizer.budget, first.sizer.ceiling)


def test_more_steps_go_on_where_the_runs_ended(tmp_path: Path) -> None:
    atoms = crystals(1)[0]
    long = MDSettings(ensemble={"name": "nve"}, steps=40, initial_temperature_K=300, state_interval=10)
    (whole,) = run_md_many(atoms, long, calculator=pair_model(), files=tmp_path / "whole")
    short = long.model_copy(update={"steps": 20})
    list(run_md_many(atoms, short, calculator=pair_model(), files=tmp_path / "parts"))
    (parts,) = run_md_many(atoms, long, calculator=pair_model(), files=tmp_path / "parts", on_existing="restart")
    assert_same([parts], [whole])
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"structure 0 is at step 40 already, but only 20"):
        run_md_many(atoms, short, calculator=pair_model(), files=tmp_path / "parts", on_existing="restart")


def _other_settings(given: list[MDSettings]) -> list[MDSettings]:
    return [one.model_copy(update={"timestep_fs": 3.0}) for one in given]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda given: {**given, "settings": _other_settings(given["settings"])}, r"timestep_fs"),
        (lambda given: {**given, "guards": MDGuards(max_temperature_K=5000)}, r"max_temperature_K"),
        (lambda given: {**given, "structures": given["structures"][::-1]}, r"structures.0"),
        (lambda given: {**given, "calculator": EMT()}, r"another model \(pairs"),
        (lambda given: {**given, "on_existing": "error"}, r"holds state.npz and 18 more files"),
    ],
)
def test_other_runs_are_refused(change: Change, words: str, tmp_path: Path) -> None:
    run(tmp_path)
    settings = different("nve", STRUCTURES, **INTERVALS)
    given = {"structures": structures(), "settings": settings, "calculator": model(), "on_existing": "restart"}
    changed = change(given)
    with pytest.raises(ValueError, match=words):
        run_md_many(changed.pop("structures"), changed.pop("settings"), files=tmp_path, **changed)


def test_files_that_are_damaged_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    frames = tmp_path / "000002.extxyz"
    frames.write_bytes(frames.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"000002.extxyz has .* bytes"):
        run(tmp_path, on_existing="restart")
    state = tmp_path / "state.npz"
    state.write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a readable state of many runs"):
        run(tmp_path, on_existing="restart")
    state.unlink()
    with pytest.raises(ValueError, match="no state to continue them from"):
        run(tmp_path, on_existing="restart")
    assert run(tmp_path, on_existing="overwrite")[0].steps == 12


SCRIPT = """
from pathlib import Path
from md_workflows import BatchFiles
from tests.md_workflows.test_md_many_restart import run_long
run_long(Path({directory!r}), on_existing="restart")
"""


def run_long(directory: Path, steps: int = 400, **how: object) -> list[MDOutcome]:
    settings = [
        MDSettings(
            ensemble={"name": "nve"}, steps=steps + 50 * number, timestep_fs=1.0 + number % 3,
            initial_temperature_K=300.0 + 20 * number, velocity_seed=number, **INTERVALS,
        )
        for number in range(STRUCTURES)
    ]  # fmt: skip
    files = BatchFiles(directory, suffix=".traj")
    return ordered(list(run_md_many(structures(), settings, calculator=model(), files=files, **how)))


def _last_state(directory: Path) -> int:
    """When the state was written last, in nanoseconds; 0 where there is none."""
    path = directory / "state.npz"
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """SIGKILL, at times of no choice of ours, until it comes to its end."""
    whole = run_long(tmp_path / "whole")
    parts = tmp_path / "parts"
    kills = 0
    root = Path(__file__).parents[2]
    waiting = np.random.default_rng(3)
    while True:
        began = _last_state(parts)
        with subprocess.Popen([sys.executable, "-c", SCRIPT.format(directory=str(parts))], cwd=root) as process:
            until = time.monotonic() + 300
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
                if _last_state(parts) > began and kills < 4:
                    time.sleep(float(waiting.uniform(0, 1)))
                    os.kill(process.pid, signal.SIGKILL)
                    break
        if process.returncode == 0:
            break
        kills += 1
    assert kills >= 2
    assert_same(run_long(parts, on_existing="restart"), whole)
    assert contents(parts) == contents(tmp_path / "whole")
    assert len(read(parts / "000000.traj", index=":")) == 201
