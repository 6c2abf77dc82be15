"""A run whose uncertainty is known beforehand stops, is marked and is kept at the steps that follow from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from md_workflows import MDSettings, MDStoppedError, UncertaintyPolicy, read_h5, run_md, uncertainties_of
from md_workflows.analysis.analyse import analyse
from md_workflows.analysis.trajectory import Source
from tests.md_workflows.doubtful import Free, flying

LIMIT = 1.52
ABOVE = 11
"""The first step above: the atom begins at 1 Å and flies 0.05 Å a step, so that it is at 1.55 Å."""
STEPS = 30


class Killed(BaseException):
    """As a signal would: nothing in the packages catches it."""


def settings(action: str | None = "mark", **other: Any) -> MDSettings:
    own = {name: other.pop(name) for name in ("interval", "most", "candidates", "output", "limit") if name in other}
    policy = None if action is None else UncertaintyPolicy(**{"limit": LIMIT, "action": action, **own})
    values = {"trajectory_interval": 2, "log_interval": 5, "state_interval": 7, "steps": STEPS, **other}
    return MDSettings(ensemble={"name": "nve"}, uncertainty=policy, **values)


def frames_in(path: Path) -> list[Atoms]:
    return read_h5(path, ":") if path.suffix == ".h5" else read(path, index=":")


def kill_at(step: int) -> Any:
    def progress(done: int, total: int | None) -> None:
        if done == step:
            raise Killed

    return progress


def test_it_stops_at_the_step_and_atom_and_keeps_the_last_good_frame(tmp_path: Path) -> None:
    told = (
        rf"at step {ABOVE} \(the model's uncertainty reached 1\.55 eV/Å at atom 1 \(Ag\), more than 1\.52\): the last"
    )
    with pytest.raises(MDStoppedError, match=told) as stopped:
        run_md(flying(), settings("stop"), calculator=Free(), files=tmp_path / "md.extxyz")
    error = stopped.value
    assert (error.step, error.atoms.info["step"]) == (ABOVE, ABOVE - 1)
    assert error.doubted.info["uncertainty"] == pytest.approx(1.55)
    assert "smaller time step" not in str(error)
    kept = read(tmp_path / "md.last_good.extxyz")
    assert kept.positions[1, 0] == pytest.approx(1.5)
    assert (kept.info["uncertain"], kept.info["uncertainty"]) == (False, pytest.approx(1.5))
    assert [frame.info["step"] for frame in frames_in(tmp_path / "md.extxyz")] == [0, 2, 4, 6, 8, 10]
    assert not (tmp_path / "md.candidates.extxyz").exists()


def test_runs_with_points_in_their_names_keep_frames_of_their_own(tmp_path: Path) -> None:
    for name in ("hot_0.1", "hot_0.3"):
        with pytest.raises(MDStoppedError, match=rf"kept in .*{name}\.last_good\.extxyz"):
            run_md(flying(), settings("stop"), calculator=Free(), files=tmp_path / f"{name}.extxyz")
    assert {path.name for path in tmp_path.glob("*.last_good.extxyz")} == {
        "hot_0.1.last_good.extxyz",
        "hot_0.3.last_good.extxyz",
    }


def test_a_start_above_the_limit_has_no_good_frame() -> None:
    with pytest.raises(MDStoppedError, match=r"at step 0 .*there is no good frame before it"):
        run_md(flying(start=2.0), settings("stop"), calculator=Free())


def test_the_structure_that_stopped_a_run_is_kept_where_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pool.extxyz"
    asked: dict[str, Any] = {"calculator": Free(), "files": tmp_path / "md.traj"}
    for on_existing in ("error", "restart"):
        with pytest.raises(MDStoppedError):
            run_md(flying(), settings("stop", candidates=path), on_existing=on_existing, **asked)
        (kept,) = read(path, index=":")
        assert (kept.info["step"], kept.info["source"]) == (ABOVE, "md.traj")


@pytest.mark.parametrize("suffix", [".extxyz", ".traj", ".h5"])
def test_frames_carry_uncertainties_and_marks(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"md{suffix}"
    result = run_md(flying(), settings("mark"), calculator=Free(), files=path)
    frames = frames_in(path)
    assert len(frames) == STEPS // 2 + 1
    for number, frame in enumerate(frames):
        x = 1 + 0.05 * 2 * number
        known = uncertainties_of(frame)
        assert known["uncertainty"] == pytest.approx(x, abs=1e-7)
        assert known["energy_uncertainty"] == pytest.approx(0.1 * x, abs=1e-7)
        np.testing.assert_allclose(known["forces_uncertainty"], [0, x], atol=1e-7)
        assert frame.info["uncertain"] == (2 * number >= ABOVE)
        assert frame.get_potential_energy() == 0.0
    assert result.doubts.steps_above == STEPS - ABOVE + 1
    assert (result.doubts.kept, result.doubts.largest) == (0, pytest.approx(2.5))
    assert result.atoms.info["uncertain"]
    np.testing.assert_allclose(result.atoms.arrays["forces_uncertainty"], [0, 2.5])
    assert sorted(one.suffix for one in tmp_path.iterdir()) == sorted([".csv", ".npz", suffix])


def test_without_a_policy_frames_carry_them_all_the_same_and_are_not_marked(tmp_path: Path) -> None:
    run_md(flying(), settings(None), calculator=Free(), files=tmp_path / "md.extxyz")
    last = read(tmp_path / "md.extxyz")
    assert last.info["uncertainty"] == pytest.approx(2.5)
    assert "uncertain" not in last.info
    assert "forces_uncertainty" in last.arrays


def test_candidates_are_thinned_and_unlabelled(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    result = run_md(flying(), settings("keep", interval=4, most=3), calculator=Free(), files=path)
    kept = read(tmp_path / "md.candidates.extxyz", index=":")
    assert [frame.info["step"] for frame in kept] == [ABOVE, ABOVE + 4, ABOVE + 8]
    assert result.doubts.kept == 3
    for frame in kept:
        step = frame.info["step"]
        assert frame.calc is None
        assert (frame.info["source"], frame.info["time_fs"], frame.info["uncertain"]) == ("md.traj", step, True)
        assert frame.info["temperature_K"] == pytest.approx(flying().get_temperature())
        np.testing.assert_allclose(frame.arrays["forces_uncertainty"], [0, 1 + 0.05 * step], atol=1e-7)
        assert frame.positions[1, 0] == pytest.approx(1 + 0.05 * step)
    plain = run_md(flying(), settings(None), calculator=Free())
    assert np.array_equal(plain.atoms.positions, result.atoms.positions)


@pytest.mark.parametrize("step", [ABOVE, ABOVE + 2, 20, 29])
def test_killed_and_continued_candidates_are_whole_and_there_once(step: int, tmp_path: Path) -> None:
    asked = settings("keep", interval=2, most=8)
    whole = (
        run_md(flying(), asked, calculator=Free(), files=tmp_path / "one" / "md.extxyz") if _folders(tmp_path) else 0
    )
    parts = tmp_path / "two" / "md.extxyz"
    with pytest.raises(Killed):
        run_md(flying(), asked, calculator=Free(), files=parts, progress=kill_at(step))
    candidates = parts.with_name("md.candidates.extxyz")
    with candidates.open("a") as half:
        half.write("2\nhalf a fra")
    result = run_md(flying(), asked, calculator=Free(), files=parts, on_existing="restart")
    assert result.doubts == whole.doubts
    for name in ("md.extxyz", "md.candidates.extxyz", "md.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert [frame.info["step"] for frame in read(candidates, index=":")] == list(range(ABOVE, ABOVE + 16, 2))


def _folders(path: Path) -> bool:
    (path / "one").mkdir()
    (path / "two").mkdir()
    return True


def test_candidates_that_exist_are_not_touched_unless_asked(tmp_path: Path) -> None:
    asked = settings("keep")
    path = tmp_path / "md.candidates.extxyz"
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"md\.candidates\.extxyz exist already"):
        run_md(flying(), asked, calculator=Free(), files=tmp_path / "md.extxyz")
    run_md(flying(), asked, calculator=Free(), files=tmp_path / "md.extxyz", on_existing="overwrite")
    assert len(read(path, index=":")) == 1
    with pytest.raises(ValueError, match=r"settings\.uncertainty\.limit: saved 1\.52, given 1\.4"):
        run_md(
            flying(),
            settings("keep", limit=1.4),
            calculator=Free(),
            files=tmp_path / "md.extxyz",
            on_existing="restart",
        )


def test_another_output_is_looked_at() -> None:
    """The energy's is a tenth: 0.152 eV are passed at the same step."""
    with pytest.raises(
        MDStoppedError, match=r"at step 11 \(the model's energy uncertainty reached 0\.155 eV, more than"
    ):
        run_md(flying(), settings("stop", output="energy_uncertainty", limit=0.152), calculator=Free())


def test_no_number_is_above_every_limit() -> None:
    class Lost(Free):
        def calculate(self, *arguments: Any, **named: Any) -> None:
            super().calculate(*arguments, **named)
            if self.atoms.positions[1, 0] > 1.21:
                self.results["uncertainty"] = float("nan")

    with pytest.raises(MDStoppedError, match=r"at step 5 \(the model's uncertainty reached nan"):
        run_md(flying(), settings("stop"), calculator=Lost())


def test_what_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "md.traj"
    with pytest.raises(
        ValueError, match=r"'uncertainty' is set, which EMT does not give; .*ensemble.*gfm-ase calibrate"
    ):
        run_md(bulk("Cu"), settings("mark"), calculator=EMT(), files=path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="the report uncertainty needs a calculator that gives its uncertainty"):
        run_md(bulk("Cu"), settings(None), calculator=EMT(), reporters=["uncertainty"])
    with pytest.raises(ValueError, match="'stress_uncertainty' is set, which Free does not give"):
        run_md(flying(), settings("mark", output="stress_uncertainty"), calculator=Free())
    with pytest.raises(ValueError, match="'keep' needs a file for the candidates"):
        run_md(flying(), settings("keep"), calculator=Free())
    with pytest.raises(ValueError, match=r"action 'mark' keeps no candidates in a\.extxyz"):
        UncertaintyPolicy(limit=1, action="mark", candidates="a.extxyz")
    with pytest.raises(ValueError, match=r"candidates are written as \.extxyz, and not to a\.traj"):
        UncertaintyPolicy(limit=1, action="keep", candidates="a.traj")


def test_what_another_calculator_said_is_forgotten() -> None:
    atoms = bulk("Cu")
    atoms.info.update(uncertainty=9.0, uncertain=True)
    atoms.set_array("forces_uncertainty", np.ones(1))
    result = run_md(atoms, settings(None), calculator=EMT())
    assert uncertainties_of(result.atoms) == {}
    assert "uncertain" not in result.atoms.info
    assert atoms.info["uncertain"]


def test_reports_and_analysis_of_uncertainties(tmp_path: Path) -> None:
    """The mean of a straight line over steps 0, 10, 20, 30 is that at 15."""
    path = tmp_path / "md.extxyz"
    result = run_md(flying(), settings(None), calculator=Free(), files=path, reporters=["uncertainty"])
    (finding,) = result.reports["uncertainty"].findings()
    assert (finding.quantity, finding.unit) == ("uncertainty", "eV/Å")
    assert finding.value == pytest.approx(1.75)
    assert (tmp_path / "md.uncertainty.csv").exists()
    found = analyse(Source(path))
    np.testing.assert_allclose(found.tables["series"]["uncertainty_eV_per_A"], 1 + 0.1 * np.arange(16), atol=1e-7)
    assert "uncertainty" in found.tables
    run_md(bulk("Cu"), settings(None), calculator=EMT(), files=tmp_path / "cu.extxyz")
    plain = analyse(Source(tmp_path / "cu.extxyz"))
    assert "uncertainty_eV_per_A" not in plain.tables["series"]
    assert "uncertainty" not in {**plain.tables, **plain.left_out}
    with pytest.raises(ValueError, match="needs uncertainties, which a single potential may not give: the frames have"):
        analyse(Source(tmp_path / "cu.extxyz"), ["uncertainty"])
