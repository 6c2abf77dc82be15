"""The command screen, driven by EMT in place of a checkpoint."""

import csv
from pathlib import Path
from typing import Any

import pytest
import typer
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase.commands import calculator
from gfm_ase.commands.screen import screen
from md_workflows import properties
from tests.md_workflows.commands import runner
from tests.md_workflows.screening_samples import DENSITY

app = typer.Typer()
app.command("screen")(screen)
app.command("other")(lambda: None)  # so that the first has to be named
run = runner(app)


def test_screen_and_resume(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("bad.extxyz", Atoms("Fe", cell=[3, 3, 3], pbc=True))
    words = ("screen", "model.safetensors", "cu.extxyz", "bad.extxyz", "-o", "s.csv")
    told = run(*words)
    assert "3 structures: 2 converged, 1 failed (0 known from the table)." in told
    assert "Table: s.db\ncsv: s.csv\nextxyz: s.extxyz\n" in told
    rows = list(csv.DictReader(Path("s.csv").read_text().splitlines()))
    assert [row["identifier"] for row in rows] == ["cu.extxyz:0", "cu.extxyz:1", "bad.extxyz:0"]
    assert "(3 known from the table)" in run(*words)
    assert "(0 known from the table)" in run(*words, "--fresh")
    assert "1 structures" in run("screen", "model.safetensors", "cu.extxyz", "--index", "-1", "-o", "t.csv")
    (here / "model.safetensors").write_bytes(b"other weights")
    assert "(0 known from the table)" in run(*words)


@pytest.fixture
def density(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "PROPERTIES", {"density": DENSITY})


def test_screen_properties_and_their_settings(here: Path, density: None) -> None:
    words = ("screen", "model.safetensors", "cu.extxyz", "-o", "s", "--parquet")
    told = run(*words, "--property", "relax,density")
    assert "2 structures: 2 converged (0 known from the table)." in told
    assert "parquet: s.parquet" in told
    rows = list(csv.DictReader(Path("s.csv").read_text().splitlines()))
    assert float(rows[1]["density_per_A3"]) == pytest.approx(4 / float(rows[1]["volume_A3"]))
    Path("screen.toml").write_text("[density]\nscale = 2.0\n")
    run(*words, "--property", "density", "--settings", "screen.toml")
    again = list(csv.DictReader(Path("s.csv").read_text().splitlines()))
    assert again[1]["status"] == "measured"
    assert float(again[1]["density_per_A3"]) == pytest.approx(8 / read("cu.extxyz").get_volume())
    Path("unused.toml").write_text("[eos]\npoints = 5\n")
    Path("stray.toml").write_text("scale = 1\n")
    Path("broken.toml").write_text("[")
    Path("nameless.toml").write_text("[executor]\nworkers = 2\n")
    for options, message in [
        (("--property", "densty"), "'densty' is not known; did you mean 'density'"),
        (("--property", "relax,density,density"), "names density twice"),
        (("--settings", "unused.toml"), r"settings of \[eos\] are of no use: --property does not ask for it"),
        (("--settings", "stray.toml"), "'scale' stands in no table"),
        (("--settings", "broken.toml"), "broken.toml cannot be read as TOML"),
        (("--settings", "none.toml"), "none.toml cannot be read as TOML"),
        (("--settings", "nameless.toml"), r"\[executor\] needs a name: process, mpi, dask or parsl"),
        (("--executor", "threads"), "executor 'threads' is not known"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(*words, *options)


def test_screen_duplicates_and_what_is_left(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("twice.extxyz", [bulk("Cu"), bulk("Cu", cubic=True), bulk("Ag")])
    words = ("screen", "model.safetensors", "twice.extxyz", "-o", "s", "--table", "elsewhere.db")
    assert "3 structures: 2 converged, 1 duplicate" in run(*words, "--duplicates", "0.01")
    assert Path("elsewhere.db").exists()
    assert not Path("s.db").exists()
    assert "(2 known from the table)" in run(*words)

    class Interrupted(EMT):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(calculator, "build_calculator", lambda *_: Interrupted())
    result = CliRunner().invoke(app, [*words, "--fmax", "0.02"])
    assert result.exit_code == 130
    assert (
        "Interrupted; 0 of 3 structures are done, and in elsewhere.db. The same command goes on from there."
        in " ".join(result.output.split())
    )
    monkeypatch.setattr(calculator, "build_calculator", None)
    assert "3 structures: 3 waiting" in run(*words, "--fmax", "0.02", "--export-only")


def test_screen_retries_what_failed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("bad.extxyz", [bulk("Cu"), Atoms("Fe", cell=[3, 3, 3], pbc=True)])
    words = ("screen", "model.safetensors", "bad.extxyz", "-o", "s")
    assert "1 converged, 1 failed (0 known" in run(*words)
    assert "1 converged, 1 failed (2 known" in run(*words)
    assert "1 converged, 1 failed (1 known" in run(*words, "--retry-failed")


def test_properties_are_in_the_help() -> None:
    text = " ".join(run("screen", "--help").replace("│", " ").split())
    assert [name for name in properties.PROPERTIES if name not in text] == []
