"""The commands md, relax and screen with a limit on the uncertainty, driven by free atoms in place of a checkpoint."""

import csv
from pathlib import Path
from typing import Any

import pytest
import typer
from ase.calculators.emt import EMT
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase.commands import calculator
from gfm_ase.commands.md import md
from gfm_ase.commands.relax import relax
from gfm_ase.commands.screen import screen
from md_workflows import MDStoppedError
from tests.md_workflows.commands import runner
from tests.md_workflows.doubtful import Free, Well, flying

app = typer.Typer()
for command in (md, relax, screen):
    app.command()(command)

run = runner(app)
MD = ("md", "model.safetensors", "fly.extxyz", "--ensemble", "nve", "--steps", "30", "--max-uncertainty", "1.52")


@pytest.fixture
def fly(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(calculator, "build_calculator", lambda *_: Free())
    write("fly.extxyz", flying())
    return here


def test_md_marks_keeps_and_stops(fly: Path) -> None:
    """Above from step 11 on, as in the tests of `run_md`: 20 of 31 steps."""
    told = run(*MD, "--uncertain", "mark", "-o", "mark.traj")
    assert "Uncertain in 20 of 31 steps, at most 2.5 eV/Å." in told
    assert "Candidates" not in told
    told = run(*MD, "--uncertain", "keep", "--candidate-interval", "4", "--most-candidates", "3", "-o", "keep.traj")
    assert "Candidates for labelling: 3 in keep.candidates.extxyz" in told
    assert [one.info["step"] for one in read("keep.candidates.extxyz", index=":")] == [11, 15, 19]
    with pytest.raises(MDStoppedError, match="stopped at step 11"):
        run(*MD, "-o", "stop.traj")
    with pytest.raises(MDStoppedError, match="stopped at step 11"):
        run(*MD, "--candidates", "pool.extxyz", "-o", "other.traj")
    assert read("pool.extxyz").info["source"] == "other.traj"


def test_md_of_many(fly: Path) -> None:
    many = (*MD, "--replicas", "2", "--uncertain", "keep")
    told = run(*many, "-o", "many.extxyz")
    assert "2 of 2 runs were uncertain, at most 2.5 eV/Å." in told
    assert "Candidates for labelling: 2 in many/candidates.extxyz" in told
    assert "Candidates for labelling: 2 in pool.extxyz" in run(*many, "-o", "b.extxyz", "--candidates", "pool.extxyz")
    told = run(*MD, "--replicas", "2", "-o", "stop.extxyz")
    assert "Run 000001 stopped at step 11: the model's uncertainty reached 1.55 eV/Å at atom 1 (Ag)" in told


def test_relax(fly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calculator, "build_calculator", lambda *_: Well())
    words = ("relax", "model.safetensors", "fly.extxyz", "--max-uncertainty", "0.5")
    stopped = CliRunner().invoke(app, [*words, "-o", "a.extxyz"])
    assert stopped.exit_code == 1
    assert "NOT converged (uncertain) after 0 steps." in stopped.output
    assert "Uncertain: the model's uncertainty reached 1 eV/Å at atom 1 (Ag), more than 0.5." in stopped.output
    assert "Candidate" not in stopped.output
    kept = CliRunner().invoke(app, [*words, "--uncertain", "keep", "--max-steps", "1", "-o", "b.extxyz"])
    assert kept.exit_code == 1
    assert "Candidate for labelling: b.candidates.extxyz" in kept.output
    assert read("b.candidates.extxyz").info["step"] == 1
    told = run(*words, "--uncertain", "mark", "-o", "c.extxyz")
    assert "Uncertain" not in told
    assert read("c.extxyz").info["uncertain"] == False  # noqa: E712 - and not missing


def test_screen(fly: Path) -> None:
    words = ("screen", "model.safetensors", "fly.extxyz", "-o", "s", "--max-uncertainty", "0.5")
    assert "1 structures: 1 converged" in run(*words, "--uncertain", "mark")
    told = run(*words, "--uncertain", "keep")
    assert "(1 known from the table)" in told
    assert "Candidates for labelling: 1 in s.candidates.extxyz" in told
    assert "1 structures: 1 uncertain" in run(*words)
    (row,) = csv.DictReader(Path("s.csv").read_text().splitlines())
    assert (row["uncertain"], row["error"][:18]) == ("True", "stopped at step 0,")
    with pytest.raises(ValueError, match="add relax to --property"):
        run(*words, "--property", "eos")


@pytest.mark.parametrize("words", [MD[:-2], ("relax", *MD[1:3]), ("screen", *MD[1:3])])
def test_what_cannot_be_is_refused(words: Any, fly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ("--max-uncertainty", "1")
    for other in (("--uncertain", "mark"), ("--candidates", "a.extxyz")):
        with pytest.raises(ValueError, match="say what happens above a limit; give it: --max-uncertainty"):
            run(*words, *other)
    with pytest.raises(ValueError, match=r"uncertainty\.action = 'flag' is refused: Input should be 'stop', 'mark'"):
        run(*words, *limit, "--uncertain", "flag")
    with pytest.raises(ValueError, match=r"action 'mark' keeps no candidates in a\.extxyz"):
        run(*words, *limit, "--uncertain", "mark", "--candidates", "a.extxyz")
    with pytest.raises(ValueError, match=r"uncertainty\.limit = -1\.0 is refused"):
        run(*words, "--max-uncertainty", "-1")
    monkeypatch.setattr(calculator, "build_calculator", lambda *_: EMT())
    with pytest.raises(ValueError, match=r"which EMT does not give; .*gfm-ase calibrate"):
        run(*words, *limit)
