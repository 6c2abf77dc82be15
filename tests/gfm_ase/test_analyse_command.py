"""`gfm-ase analyse`: table, CSV files and picture of a trajectory."""

import csv
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from gfm_ase.cli import app
from md_workflows import MDSettings, run_md


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["analyse", *words], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("analyse") / "md.h5"
    atoms = bulk("Cu", cubic=True) * 2
    atoms.symbols[::3] = "Au"
    settings = MDSettings(
        ensemble={"name": "langevin", "temperature_K": 500}, steps=60, timestep_fs=4, trajectory_interval=1
    )
    run_md(atoms, settings, calculator=EMT(), files=path)
    return path


def test_all_of_a_trajectory(trajectory: Path, tmp_path: Path) -> None:
    told = run(str(trajectory), "-o", str(tmp_path / "found.png"), "--window", "15", "--cutoff", "5")
    for word in ("61 frames", "temperature", "GPa", "diffusion of Au (MSD)", "density of states", "± standard error"):
        assert word in told, word
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in tmp_path.iterdir()}
    tables = ("series", "temperature", "energy", "pressure", "rdf", "msd", "vacf", "vdos")
    assert names == {"found.png", *(f"found.{name}.csv" for name in tables)}
    with (tmp_path / "found.msd.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert list(rows[0]) == ["time_fs", "msd_A2", "msd_Cu_A2", "msd_Au_A2"]
    with pytest.raises(ValueError, match="exist already; --overwrite replaces them, -o gives other names"):
        run(str(trajectory), "-o", str(tmp_path / "found.png"))
    run(str(trajectory), "-o", str(tmp_path / "found.png"), "--overwrite", "--report", "rdf,msd")


def test_names_beside_and_what_is_left_out(trajectory: Path, tmp_path: Path) -> None:
    from ase.io import write

    from md_workflows.h5_frames import read_h5

    write(tmp_path / "md.xyz", read_h5(trajectory, ":"), format="xyz")
    told = run(str(tmp_path / "md.xyz"), "--frame-interval-fs", "4")
    assert "Left out: the report vacf needs velocities" in told
    assert (tmp_path / "md.analysis.png").exists()
    assert (tmp_path / "md.analysis.rdf.csv").exists()


def test_a_lone_atom_has_an_empty_picture_of_g(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.io import write

    write(tmp_path / "md.xyz", [Atoms("Ar")] * 3, format="xyz")
    assert "Left out: the report vacf" in run(str(tmp_path / "md.xyz"), "--frame-interval-fs", "4")


def test_mistakes(trajectory: Path) -> None:
    with pytest.raises(ValueError, match="there is no report 'rdff'"):
        run(str(trajectory), "--report", "rdff")
    with pytest.raises(ValueError, match=r"the name must end in \.png"):
        run(str(trajectory), "-o", "x.jpg")
    with pytest.raises(ValueError, match="does not exist; create it first"):
        run(str(trajectory), "-o", str(trajectory.parent / "no" / "x.png"))
