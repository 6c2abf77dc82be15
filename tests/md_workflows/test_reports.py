"""Reporters beside a run: the same to the bit after a kill, and the same as of the trajectory afterwards."""

import csv
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import read, write

from md_workflows import MDFiles, MDSettings, run_md
from md_workflows.analysis.analyse import analyse
from md_workflows.analysis.registry import REPORTERS, build_reporter
from md_workflows.analysis.trajectory import Source
from md_workflows.h5_frames import H5Writer

WISHES = [
    "temperature",
    "energy",
    "pressure",
    {"name": "rdf", "cutoff": 5.0, "bins": 20, "interval": 3},
    {"name": "msd", "window": 4, "interval": 1},
    {"name": "vacf", "window": 5, "interval": 2},
    {"name": "uncertainty", "interval": 2},
]
TABLES = ("temperature", "energy", "pressure", "rdf", "msd", "vacf", "vdos", "uncertainty")


class Unsure(EMT):
    """EMT that doubts its largest force."""

    def calculate(self, *arguments: object, **named: object) -> None:
        super().calculate(*arguments, **named)
        self.results["uncertainty"] = float(np.abs(self.results["forces"]).max())


class Killed(BaseException):
    """As a signal would: nothing in the packages catches it."""


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.1, seed=1)
    return atoms


def settings(name: str = "langevin", steps: int = 40, **other: object) -> MDSettings:
    values = {"timestep_fs": 4.0, "trajectory_interval": 1, "log_interval": 1, "state_interval": 5, **other}
    ensemble = {"name": name} if name == "nve" else {"name": name, "temperature_K": 400}
    return MDSettings(ensemble=ensemble, steps=steps, initial_temperature_K=600.0, **values)


@pytest.mark.parametrize("suffix", [".traj", ".h5"])
@pytest.mark.parametrize("step", [1, 13, 26])
def test_a_killed_run_reports_the_same_bits(step: int, suffix: str, tmp_path: Path) -> None:
    whole = run_md(crystal(), settings(), calculator=Unsure(), files=tmp_path / f"whole{suffix}", reporters=WISHES)

    def kill(done: int, total: int | None) -> None:
        if done == step:
            raise Killed

    parts = tmp_path / f"parts{suffix}"
    with pytest.raises(Killed):
        run_md(crystal(), settings(), calculator=Unsure(), files=parts, progress=kill, reporters=WISHES)
    resumed = run_md(crystal(), settings(), calculator=Unsure(), files=parts, on_existing="restart", reporters=WISHES)
    for name in TABLES:
        told = (tmp_path / f"parts.{name}.csv").read_bytes()
        assert told == (tmp_path / f"whole.{name}.csv").read_bytes(), name
        assert told.count(b"\n") > 1
    assert set(resumed.reports) == set(REPORTERS)
    assert resumed.files.reports == tuple(tmp_path / f"parts.{name}.csv" for name in TABLES)
    assert repr([one.findings() for one in resumed.reports.values()]) == repr(
        [one.findings() for one in whole.reports.values()]
    )


def test_reports_change_nothing_of_the_run(tmp_path: Path) -> None:
    plain = run_md(crystal(), settings(), calculator=Unsure())
    watched = run_md(crystal(), settings(), calculator=Unsure(), reporters=WISHES)
    assert np.array_equal(plain.atoms.positions, watched.atoms.positions)
    assert watched.files == MDFiles()
    assert len(watched.reports["msd"].tables()["msd"]["time_fs"]) == 5


@pytest.mark.parametrize("suffix", [".traj", ".h5"])
def test_afterwards_the_trajectory_tells_the_same(suffix: str, tmp_path: Path) -> None:
    wishes = [{"interval": 1, **({"name": wish} if isinstance(wish, str) else wish)} for wish in WISHES]
    every = [{**wish, "interval": 1} for wish in wishes]
    path = tmp_path / f"md{suffix}"
    run = run_md(crystal(), settings(), calculator=Unsure(), files=path, reporters=every)
    chosen = {str(wish["name"]): {k: v for k, v in wish.items() if k not in {"name", "interval"}} for wish in wishes}
    found = analyse(Source(path), settings=chosen)
    assert (found.frames, found.left_out) == (41, {})
    for reporter in run.reports.values():
        for name, table in reporter.tables().items():
            for column, values in table.items():
                assert list(found.tables[name][column]) == list(values), (name, column)
    with (tmp_path / "md.csv").open() as file:
        log = list(csv.DictReader(file))
    for column in ("potential_energy_eV", "total_energy_eV", "pressure_GPa", "volume_A3"):
        assert np.asarray(found.tables["series"][column]) == pytest.approx([float(row[column]) for row in log])
    half = analyse(Source(path, "20::2"), ["msd"])
    assert half.frames == 11
    assert half.tables["msd"]["time_fs"][1] == 8.0
    written = found.write(tmp_path / "found.png")
    assert sorted(one.name for one in written) == sorted(f"found.{name}.csv" for name in ("series", *TABLES))


def test_another_format_needs_the_time(tmp_path: Path) -> None:
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "md.traj")
    write(tmp_path / "md.xyz", read(tmp_path / "md.traj", index=":"), format="xyz")
    with pytest.raises(ValueError, match=r"does not say when its frames were taken; give the time .*frame-interval-fs"):
        analyse(Source(tmp_path / "md.xyz"))
    found = analyse(Source(tmp_path / "md.xyz", "::2", frame_interval_fs=4.0))
    assert found.tables["msd"]["time_fs"][1] == 8.0
    assert sorted(found.left_out) == ["energy", "pressure", "temperature", "vacf"]
    assert "the report vacf needs velocities" in found.left_out["vacf"]
    with pytest.raises(ValueError, match=r"the report vacf needs velocities: the frames have none\. Leave"):
        analyse(Source(tmp_path / "md.xyz", frame_interval_fs=4.0), ["vacf"])


def test_a_source_that_is_none(tmp_path: Path) -> None:
    run_md(crystal(), settings(steps=3), calculator=EMT(), files=tmp_path / "md.traj")
    (tmp_path / "odd.extxyz").write_text("3\nnot one\nCu")
    H5Writer(tmp_path / "md.h5").close()
    two = H5Writer(tmp_path / "two.h5")
    for group in ("a", "b"):
        two.write(crystal(), group)
    two.close()
    cases = [
        (Source(tmp_path / "none.traj"), "no such file"),
        (Source(tmp_path / "md.traj", "7:"), r"has no frame to analyse \(index '7:'\)"),
        (Source(tmp_path / "md.traj", "-1"), "index '-1' does not give a series"),
        (Source(tmp_path / "md.traj", "x:"), "index 'x:' does not give a series"),
        (Source(tmp_path / "md.traj", group="a"), "has no groups of systems, only .h5 has"),
        (Source(tmp_path / "md.h5"), r"has no frame to analyse \(index ':'\)"),
        (Source(tmp_path / "two.h5"), r"has 2 groups \(a, b\); name the one to read"),
        (Source(tmp_path / "two.h5", group="c"), "has no group 'c'; there are a, b"),
        (Source(tmp_path / "odd.extxyz"), "cannot be read"),
        (Source(tmp_path / "md.state.npz"), "is of no format that ASE knows"),
    ]
    for source, told in cases:
        with pytest.raises(ValueError, match=told):
            analyse(source)


def test_short_runs_say_what_is_missing(tmp_path: Path) -> None:
    result = run_md(crystal(), settings(steps=1), calculator=EMT(), files=tmp_path / "md.h5", reporters=["msd", "rdf"])
    assert "needs at least three frames, 1 were seen" in result.unwritten["msd"]
    assert (tmp_path / "md.rdf.csv").exists()
    assert not (tmp_path / "md.msd.csv").exists()
    found = analyse(Source(tmp_path / "md.h5"))
    assert "needs at least three frames" in found.left_out["msd"]
    with pytest.raises(ValueError, match="needs at least three frames"):
        analyse(Source(tmp_path / "md.h5"), ["msd"])


def test_what_no_one_asked_for_does_not_stop_the_others(tmp_path: Path) -> None:
    """Uneven times, energies that end, and other masses, all of them after the first frame."""
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "md.traj")
    frames = read(tmp_path / "md.traj", index=":")
    frames[-1].calc = None
    write(tmp_path / "odd.traj", [*frames[:20], *frames[25:]])
    found = analyse(Source(tmp_path / "odd.traj"))
    assert (found.frames, len(found.tables["series"]["time_fs"])) == (36, 36)
    assert sorted(found.left_out) == ["energy", "msd", "pressure", "vacf"]
    assert found.left_out["msd"].endswith("Choose evenly spaced ones, or leave the report out.")
    assert "the frame of step 40 has none" in found.left_out["energy"]
    assert found.tables["temperature"]["samples"] == [36]
    with pytest.raises(ValueError, match="needs frames evenly spaced in time"):
        analyse(Source(tmp_path / "odd.traj"), ["msd"])
    with pytest.raises(ValueError, match=r"the window of msd is 36 frames, and there are 36; give a shorter one"):
        analyse(Source(tmp_path / "odd.traj"), settings={"msd": {"window": 36}})
    frames[-1].set_masses([1.0] * 4)
    write(tmp_path / "odd.traj", frames)
    with pytest.raises(ValueError, match=r"odd.traj is about 4 atoms .* has other masses"):
        analyse(Source(tmp_path / "odd.traj"))


def test_existing_reports_and_other_reporters(tmp_path: Path) -> None:
    (tmp_path / "md.rdf.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"md.rdf.csv exist already"):
        run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "md.traj", reporters=["rdf"])
    (tmp_path / "md.rdf.csv").unlink()
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=tmp_path / "md.traj", reporters=["rdf"])
    other = [{"name": "rdf", "cutoff": 5.0}]
    with pytest.raises(ValueError, match=r"settings.reporters.rdf.cutoff: saved 8.0, given 5.0"):
        run_md(
            crystal(), settings(), calculator=EMT(), files=tmp_path / "md.traj", on_existing="restart", reporters=other
        )


class NoStress(LennardJones):
    implemented_properties = ("energy", "forces")


def test_what_is_refused_before_the_run() -> None:
    with pytest.raises(ValueError, match="there is no report 'rdff'; there are temperature, energy, pressure, rdf"):
        build_reporter("rdff")
    with pytest.raises(ValueError, match="RDFSettings does not take 'cutof'; did you mean 'cutoff'"):
        build_reporter({"name": "rdf", "cutof": 3})
    with pytest.raises(ValueError, match="each report can be asked for once"):
        run_md(crystal(), settings(), calculator=EMT(), reporters=["rdf", "rdf"])
    with pytest.raises(ValueError, match=r"reporters are a list, as in reporters=\['rdf'\]"):
        run_md(crystal(), settings(), calculator=EMT(), reporters="rdf")
    with pytest.raises(ValueError, match="the report pressure needs the stress, which NoStress does not give"):
        run_md(crystal(), settings(), calculator=NoStress(), reporters=["pressure"])
    with pytest.raises(ValueError, match="the report pressure needs a structure that repeats in all three directions"):
        run_md(molecule("H2O"), settings(), calculator=EMT(), reporters=["pressure"])


def test_a_run_that_starts_at_rest(tmp_path: Path) -> None:
    still = MDSettings(ensemble={"name": "nve"}, steps=2, timestep_fs=1.0)
    result = run_md(crystal(), still, calculator=EMT(), reporters=["temperature", {"name": "vacf", "interval": 1}])
    assert result.reports["temperature"].findings()[0].value == 0.0
