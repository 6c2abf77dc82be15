"""`gfm-ase doctor`: what it prints, writes and returns, and what it refuses."""

import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

from gfm_ase.cli import app
from gfm_ase.commands.doctor import NAMES
from gfm_ase.doctor.calculators import known_elements, told_cutoff
from gfm_ase.doctor.checks import CHECKS
from md_workflows.labelling.named import named_calculator

EMT = ("--calculator", "ase.calculators.emt:EMT")


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["doctor", *words], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def copper(tmp_path: Path) -> str:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    write(tmp_path / "copper.extxyz", atoms)
    return str(tmp_path / "copper.extxyz")


def test_another_calculator_with_page_and_json(copper: str, tmp_path: Path) -> None:
    page, numbers = tmp_path / "doctor.html", tmp_path / "doctor.json"
    checks = ("--only", "translation", "--only", "dimers", "--only", "elements")
    told = run(*EMT, "--set", "asap_cutoff=true", copper, *checks, "--quick", "-o", str(page), "--json", str(numbers))
    assert "Sound: 3 checks passed" in told
    assert "Moved by lattice vectors" not in told
    assert [check["name"] for check in json.loads(numbers.read_text())["checks"]] == [
        "translation",
        "dimers",
        "elements",
    ]
    assert "Examination of ase.calculators.emt.EMT" in page.read_text()


def test_a_checkpoint_without_structures(one_head: Path) -> None:
    assert "golden 0" in run(str(one_head), "--only", "translation")


def test_a_failure_is_exit_code_1(one_head: Path, tmp_path: Path, copper: str) -> None:
    write(tmp_path / "iron.extxyz", bulk("Fe"))
    told = run(str(one_head), copper, str(tmp_path / "iron.extxyz"), "--only", "elements", code=1)
    assert "Do not use it as it is: 1 check failed (Elements)" in told


def test_training_files_tell_what_lies_outside(copper: str, tmp_path: Path) -> None:
    frames = [bulk("Cu", cubic=True, a=3.55 + 0.01 * index) for index in range(10)]
    write(tmp_path / "train.extxyz", frames)
    told = run(*EMT, copper, "--training", str(tmp_path / "train.extxyz"), "--only", "environments")
    assert "of 4 atoms lie outside of 10 training structures" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--quick",), "nothing to examine: give a checkpoint, or --calculator module:callable"),
        (("model.safetensors", *EMT), "are both given; leave one out"),
        (("model.safetensors", "--set", "device=cpu"), "--set is for --calculator"),
        ((*EMT, "--head", "emt"), "are for checkpoints; use --set KEY=VALUE"),
        ((*EMT, "-o", "page.pdf"), "the name must end in .html"),
        ((*EMT, "--json", "nowhere/x.json"), "the directory nowhere does not exist"),
        ((*EMT, "--elements", "Cu,Xx"), "--elements Cu,Xx: Xx is no element"),
        (("--calculator", "emt"), "is not of the form module:callable"),
        (("--calculator", "ase.calculators.emt:EMTT"), "is not there"),
        ((*EMT, "--set", "colour"), "is not of the form KEY=VALUE"),
        (("--calculator", "ase.calculators.mixing:SumCalculator"), "cannot be made"),
        (("--calculator", "builtins:dict"), "gives a dict, which is no ASE calculator"),
    ],
)
def test_mistakes_are_told(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("[", r"\[")):
        run(*words)


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "torn.extxyz").write_text("7\nnothing\n")
    with pytest.raises(ValueError, match=r"torn\.extxyz:unreadable: after 0 frames"):
        run(*EMT, str(tmp_path / "torn.extxyz"))


def test_what_calculators_tell_of_themselves() -> None:
    emt = named_calculator("ase.calculators.emt:EMT")
    lj = named_calculator("ase.calculators.lj:LennardJones", ["sigma=2.5", "rc=7"])
    assert "Cu" in (known_elements(emt) or ())
    assert known_elements(lj) is None
    assert (told_cutoff(emt), told_cutoff(lj)) == (None, 7.0)
    assert told_cutoff(named_calculator("ase.calculators.lj:LennardJones", ["sigma=2"])) == 6.0


def test_help_names_the_checks() -> None:
    assert NAMES.split(", ") == list(CHECKS)
    assert "lattice_move" in run("--help")
