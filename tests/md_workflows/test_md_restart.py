"""A run that is stopped and continued gives the same bits as one that is not."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import read

from md_workflows import MDFiles, MDSettings, MDStoppedError, run_md
from md_workflows.integrators import ENSEMBLES

T = {"temperature_K": 400.0}
P = {**T, "pressure_GPa": 1.0, "pdamp_fs": 400.0, "tdamp_fs": 100.0}
ENSEMBLE = {
    "nve": {"name": "nve"},
    "langevin": {"name": "langevin", **T, "friction_per_fs": 0.05, "seed": 3},
    "bussi": {"name": "bussi", **T, "tdamp_fs": 20.0, "seed": 3},
    "nose_hoover_chain": {"name": "nose_hoover_chain", **T, "tdamp_fs": 20.0},
    "npt_isotropic": {"name": "npt_isotropic", **P},
    "npt": {"name": "npt", **P},
}


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.1, seed=1)
    return atoms


def settings(name: str = "langevin", steps: int = 20, **other: object) -> MDSettings:
    values = {"timestep_fs": 4.0, "trajectory_interval": 1, "log_interval": 1, "state_interval": 5, **other}
    return MDSettings(ensemble=ENSEMBLE[name], steps=steps, initial_temperature_K=600.0, **values)


class Killed(BaseException):
    """As a signal would: nothing in the packages catches it."""


def kill_at(step: int):  # type: ignore[no-untyped-def] # a test's own callback
    def progress(done: int, total: int | None) -> None:
        if done == step:
            raise Killed

    return progress


def test_every_ensemble_of_ase_is_tested() -> None:
    assert set(ENSEMBLE) == {name for name, (_, builder) in ENSEMBLES.items() if builder is not None}


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
@pytest.mark.parametrize("name", ENSEMBLE)
def test_ten_and_ten_steps_are_twenty(name: str, suffix: str, tmp_path: Path) -> None:
    whole = run_md(crystal(), settings(name), calculator=EMT(), files=tmp_path / f"whole{suffix}")
    parts = tmp_path / f"parts{suffix}"
    first = run_md(crystal(), settings(name, steps=10), calculator=EMT(), files=parts)
    second = run_md(crystal(), settings(name), calculator=EMT(), files=parts, on_existing="restart")

    assert (first.steps, second.steps, second.steps_run) == (10, 20, 10)
    assert np.array_equal(second.atoms.positions, whole.atoms.positions)
    assert np.array_equal(second.atoms.get_momenta(), whole.atoms.get_momenta())
    assert np.array_equal(second.atoms.cell.array, whole.atoms.cell.array)
    assert second.energies == whole.energies
    assert parts.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(read(parts, index=":")) == 21


@pytest.mark.parametrize("name", ENSEMBLE)
@pytest.mark.parametrize("step", [0, 1, 13])
def test_killed_after_frames_that_no_state_knows(name: str, step: int, tmp_path: Path) -> None:
    """Frames and rows after the last state are cut, so that none is there twice and none is lost."""
    run_md(crystal(), settings(name), calculator=EMT(), files=tmp_path / "whole.traj")
    parts = tmp_path / "parts.traj"
    with pytest.raises(Killed):
        run_md(crystal(), settings(name), calculator=EMT(), files=parts, progress=kill_at(step))
    assert len(read(parts, index=":")) == step + 1
    result = run_md(crystal(), settings(name), calculator=EMT(), files=parts, on_existing="restart")
    assert result.steps_run == 20 - step // 5 * 5
    assert parts.read_bytes() == (tmp_path / "whole.traj").read_bytes()
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_killed_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "whole.traj")
    parts = tmp_path / "parts.traj"
    with pytest.raises(Killed):
        run_md(crystal(), settings(), calculator=EMT(), files=parts, progress=kill_at(13))
    with parts.open("ab") as handle:
        handle.write(b"half a frame")
    with (tmp_path / "parts.csv").open("a") as handle:
        handle.write("14,56.0,0.3")
    run_md(crystal(), settings(), calculator=EMT(), files=parts, on_existing="restart")
    assert parts.read_bytes() == (tmp_path / "whole.traj").read_bytes()
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_killed_before_the_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "whole.traj")
    parts = tmp_path / "parts.traj"

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("md_workflows.md.Recorder.record", killed)
        with pytest.raises(Killed):
            run_md(crystal(), settings(), calculator=EMT(), files=parts)
    run_md(crystal(), settings(), calculator=EMT(), files=parts, on_existing="restart")
    assert parts.read_bytes() == (tmp_path / "whole.traj").read_bytes()


def test_more_frames_than_one_block_of_the_trajectory(tmp_path: Path) -> None:
    """.traj moves its table of frames after 1 and 42 frames: cutting back across that has to work too."""
    long = settings("nve", steps=60, state_interval=40)
    run_md(crystal(), long, calculator=LennardJones(), files=tmp_path / "whole.traj")
    parts = tmp_path / "parts.traj"
    with pytest.raises(Killed):
        run_md(crystal(), long, calculator=LennardJones(), files=parts, progress=kill_at(55))
    run_md(crystal(), long, calculator=LennardJones(), files=parts, on_existing="restart")
    assert parts.read_bytes() == (tmp_path / "whole.traj").read_bytes()
    assert [frame.info["step"] for frame in read(parts, index=":")] == list(range(61))


@pytest.mark.parametrize("name", ["nve", "langevin"])
def test_constraints_survive_a_restart(name: str, tmp_path: Path) -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0]))
    run_md(atoms, settings(name), calculator=EMT(), files=tmp_path / "whole.traj")
    parts = tmp_path / "parts.traj"
    run_md(atoms, settings(name, steps=10), calculator=EMT(), files=parts)
    result = run_md(atoms, settings(name), calculator=EMT(), files=parts, on_existing="restart")
    assert np.array_equal(result.atoms.positions[0], atoms.positions[0])
    assert parts.read_bytes() == (tmp_path / "whole.traj").read_bytes()


def test_restart_of_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    whole = run_md(crystal(), settings(), calculator=EMT(), files=path)
    before = path.read_bytes()
    again = run_md(crystal(), settings(), calculator=EMT(), files=path, on_existing="restart")
    assert again.steps_run == 0
    assert np.array_equal(again.atoms.positions, whole.atoms.positions)
    assert path.read_bytes() == before


def test_without_files_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_md(crystal(), settings(), calculator=EMT())
    assert result.steps == 20
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"timestep_fs": 2.0}, "settings.timestep_fs: saved 4.0, given 2.0"),
        ({"state_interval": 7}, "settings.state_interval: saved 5, given 7"),
        ({"name": "nve"}, "settings.ensemble.name: saved langevin, given nve"),
    ],
)
def test_other_settings_are_named(given: dict[str, object], told: str, tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    with pytest.raises(ValueError, match=told):
        run_md(crystal(), settings(**given), calculator=EMT(), files=path, on_existing="restart")  # type: ignore[arg-type] # from the table above


def test_another_system_is_named(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    other = crystal()
    other.symbols[0] = "Ag"
    with pytest.raises(ValueError, match=r"system.numbers: saved \[79, 29, 29, 29\], given \[47, 29, 29, 29\]"):
        run_md(other, settings(), calculator=EMT(), files=path, on_existing="restart")


def test_another_calculator_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    with pytest.raises(ValueError, match="not the same calculator"):
        run_md(crystal(), settings(), calculator=LennardJones(), files=path, on_existing="restart")


def test_fewer_steps_than_done(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    run_md(crystal(), settings(steps=10), calculator=EMT(), files=path)
    with pytest.raises(ValueError, match="at step 10 already, but only 5 steps"):
        run_md(crystal(), settings(steps=5), calculator=EMT(), files=path, on_existing="restart")


def test_existing_files(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    with pytest.raises(ValueError, match="exist already"):
        run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    run_md(crystal(), settings(steps=6), calculator=EMT(), files=path, on_existing="overwrite")
    assert len(read(path, index=":")) == 7
    (tmp_path / "md.state.npz").unlink()
    with pytest.raises(ValueError, match="no state to continue them from"):
        run_md(crystal(), settings(steps=5), calculator=EMT(), files=path, on_existing="restart")
    with pytest.raises(ValueError, match="on_existing='resume' is not known"):
        run_md(crystal(), settings(steps=5), calculator=EMT(), files=path, on_existing="resume")  # type: ignore[arg-type] # the point


def test_lost_frames_are_told(tmp_path: Path) -> None:
    path = tmp_path / "md.extxyz"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    path.write_text("")
    with pytest.raises(ValueError, match="has 0 bytes, but the saved state knows of"):
        run_md(crystal(), settings(), calculator=EMT(), files=path, on_existing="restart")


def test_other_files_than_before(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    no_log = MDFiles(trajectory=path, state=tmp_path / "md.state.npz")
    with pytest.raises(ValueError, match="had one as log, now none is given"):
        run_md(crystal(), settings(), calculator=EMT(), files=no_log, on_existing="restart")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut"])
def test_a_broken_state(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    (tmp_path / "md.state.npz").write_bytes(content)
    with pytest.raises(ValueError, match="not a readable molecular dynamics state"):
        run_md(crystal(), settings(), calculator=EMT(), files=path, on_existing="restart")


def test_a_newer_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "md.traj"
    with monkeypatch.context() as patch:
        patch.setattr("md_workflows.md_state.VERSION", 2)
        run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    with pytest.raises(ValueError, match="state of version 2, this program reads version 1"):
        run_md(crystal(), settings(), calculator=EMT(), files=path, on_existing="restart")


class Explodes(EMT):
    """EMT that goes wrong at the n-th calculation."""

    def __init__(self, at: int, how: str) -> None:
        super().__init__()
        self.left = at
        self.how = how

    def calculate(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def] # ASE's signature
        super().calculate(*args, **kwargs)
        self.left -= 1
        if self.left < 0 and self.how == "raise":
            raise RuntimeError("out of memory")
        if self.left < 0:
            self.results[self.how] = self.results[self.how] * np.nan


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("forces", "forces are not finite"),
        ("energy", "energy is not finite"),
        ("raise", "RuntimeError: out of memory"),
    ],
)
def test_stops_with_the_last_good_frame(how: str, told: str, tmp_path: Path) -> None:
    good = run_md(crystal(), settings("nve", steps=7, state_interval=50), calculator=EMT()).atoms
    path = tmp_path / "md.traj"
    with pytest.raises(MDStoppedError, match=told) as stopped:
        run_md(crystal(), settings("nve", state_interval=50), calculator=Explodes(9, how), files=path)
    assert stopped.value.step == 8
    assert "last good frame is that of step 7" in str(stopped.value)
    assert stopped.value.atoms is not None
    assert np.array_equal(stopped.value.atoms.positions, good.positions)
    kept = read(tmp_path / "md.last_good.extxyz")
    assert kept.positions == pytest.approx(good.positions, abs=1e-8)  # extxyz has 8 decimals
    assert len(read(path, index=":")) == 8


def test_stops_at_a_bad_start() -> None:
    with pytest.raises(MDStoppedError, match="no good frame before it") as stopped:
        run_md(crystal(), settings(), calculator=Explodes(0, "forces"))
    assert stopped.value.atoms is None
