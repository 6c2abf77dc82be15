"""The command line, from a file of structures to a screening table, and every option's help."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase import GFMCalculator, __version__
from gfm_ase.cli import COMMANDS, app
from potentials.checkpoint import read_manifest
from train.stopping import JobEnd

RUN = """
output = "run"
compile = false
device = "cpu"
[potential]
head_width = 8
backbone = { name = "painn", cutoff = 4.0, width = 8, depth = 2, radial_size = 6 }
[[dataset]]
name = "emt"
train = "train.extxyz"
test = "test.extxyz"
[batch]
max_atoms = 16
[stop]
epochs = 2
"""

CONSOLE_SCRIPT = Path(sys.executable).with_name("gfm-ase")


def write_structures(folder: Path) -> None:
    frames = []
    for number in range(12):
        atoms = bulk("Cu", a=3.6 + 0.02 * number, cubic=True)
        atoms.numbers[number % 4] = 13
        atoms.rattle(0.08, seed=number)
        emt = EMT()
        results = {name: emt.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write(folder / "train.extxyz", frames[:8])
    write(folder / "test.extxyz", frames[8:])


def run(*words: str, code: int = 0) -> str:
    """What a command prints; a mistake is raised as the ValueError that `main` turns into a sentence."""
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `gfm-ase train run.toml` was run."""
    folder = tmp_path_factory.mktemp("cli")
    write_structures(folder)
    (folder / "run.toml").write_text(RUN)
    told = run("train", str(folder / "run.toml"), "--set", "stop.epochs=3", "--set", "dataset.emt.weight=2")
    assert re.search(r"Ended by epochs after \d+ steps, \d+ s, [\d.e+]+ k?W?[hJ] \(.*\); best epoch", told)
    assert f"Checkpoint: {folder / 'run' / 'model.safetensors'}" in told
    assert "Errors on structures held back" in told
    config = json.loads((folder / "run" / "config.json").read_text())
    assert (config["stop"]["epochs"], config["dataset"][0]["weight"]) == (3, 2.0)
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to write in, beside which the checkpoint and the structures lie."""
    monkeypatch.chdir(tmp_path)
    for name in ("train.extxyz", "test.extxyz", "run.toml"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((trained / "run" / "model.safetensors").read_bytes())
    return tmp_path


def test_there_are_the_commands_promised() -> None:
    assert sorted(COMMANDS) == [
        "analyse",
        "calibrate",
        "compare",
        "doctor",
        "ensemble",
        "evaluate",
        "export",
        "inspect",
        "label",
        "md",
        "models",
        "neb",
        "plan",
        "relax",
        "screen",
        "search",
        "select",
        "train",
    ]
    told = run("--help")
    assert all(name in told for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_names_every_option_and_says_what_it_does(name: str) -> None:
    group = typer.main.get_command(app)
    command = group.commands[name]
    told = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).output
    assert "Example: gfm-ase" in told
    for parameter in command.params:
        if parameter.name == "help":
            continue
        assert len(getattr(parameter, "help", None) or "") > 10, parameter.name
        names = [parameter.metavar] if parameter.param_type_name == "argument" else parameter.opts
        assert any(word in told for word in names), names


def test_version_and_no_arguments() -> None:
    assert run("--version") == f"gfm-ase {__version__}\n"
    assert "Usage" in CliRunner().invoke(app, []).output


def test_an_unknown_command_and_option() -> None:
    assert "No such command" in CliRunner().invoke(app, ["fly"]).output
    result = CliRunner().invoke(app, ["train", "run.toml", "--fast"])
    assert result.exit_code == 2
    assert "No such option" in result.output


def test_train_resume_and_overwrite(here: Path) -> None:
    words = ("train", "run.toml")
    run(*words)
    with pytest.raises(ValueError, match="holds a run already: --resume to go on with it, --overwrite to begin anew"):
        run(*words)
    assert "Ended by epochs" in run(*words, "--resume")
    assert "Ended by epochs" in run(*words, "--overwrite", "--set", "seed=3")
    assert read_manifest("run/model.safetensors").training["config"]["seed"] == 3
    with pytest.raises(ValueError, match="give one of them"):
        run(*words, "--overwrite", "--resume")


def test_train_continue(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command that begins and goes on, whose exit code says whether there is more to do."""
    words = ("train", "run.toml", "--continue", "--set", "output=again")
    with monkeypatch.context() as stopped:
        stopped.setattr(JobEnd, "near", lambda self: True)
        assert "Stopped in epoch 1; the same command with --resume goes on." in run(*words, code=75)
    assert "Ended by epochs" in run(*words)
    assert "Ended by epochs" in run(*words)
    for other in ("--resume", "--overwrite"):
        with pytest.raises(ValueError, match="--continue goes on or begins; give one of them"):
            run(*words, other)


def test_interrupted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.loop.loop", lambda run, asked, until_epoch: "interrupted")
    run("train", "run.toml", "--set", "output=third", code=130)


def test_evaluate(here: Path) -> None:
    told = run("evaluate", "model.safetensors", "test.extxyz", "--json", "errors.json", "--plot", "parity.png")
    assert "4 structures" in told
    assert "forces, meV/Å" in told
    assert "Errors: errors.json\nPlot: parity.png\n" in told
    errors = json.loads((here / "errors.json").read_text())
    stored = read_manifest("model.safetensors").heads["emt"].test_errors
    for name, value in stored.items():
        assert errors["emt"][name] == pytest.approx(value, rel=1e-4, abs=1e-9), name
    more = errors["emt"].keys() - stored.keys()
    assert all(re.search("coverage|spearman|half_width", name) for name in more)
    assert (here / "parity.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_by_hand(here: Path) -> None:
    """The same errors from the calculator, structure by structure."""
    calculator = GFMCalculator("model.safetensors", dtype="float64", device="cpu")
    run("evaluate", "model.safetensors", "test.extxyz", "--json", "errors.json", "--dtype", "float64")
    errors = json.loads((here / "errors.json").read_text())["emt"]
    frames = read("test.extxyz", index=":")
    forces = [abs(calculator.get_property("forces", atoms) - atoms.get_forces()).ravel() for atoms in frames]
    energies = [
        abs(calculator.get_property("energy", atoms) - atoms.get_potential_energy()) / len(atoms) for atoms in frames
    ]
    assert errors["forces_mae_eV_per_A"] == pytest.approx(sum(map(sum, forces)) / (12 * len(frames)), rel=1e-9)
    assert errors["energy_mae_eV_per_atom"] == pytest.approx(sum(energies) / len(frames), rel=1e-9)


def test_inspect(here: Path) -> None:
    told = run("inspect", "model.safetensors")
    for word in ("painn", "4 Å", "float32", "emt", "Al Cu", "energy, forces, stress", "they agree", "parameters"):
        assert word in told
    assert re.search(r"training used +[\d.e+]+ k?W?[hJ] \(", told)
    assert "not computed" in run("inspect", "model.safetensors", "--no-check")
    manifest = json.loads(run("inspect", "model.safetensors", "--json"))
    assert manifest == json.loads(read_manifest("model.safetensors").model_dump_json())


def test_md_relax_and_screen(here: Path) -> None:
    told = run("md", "model.safetensors", "test.extxyz", "--temperature-K", "100", "--steps", "6", "-o", "md.traj")
    assert "6 steps, 6 fs" in told
    assert len(read("md.traj", index=":")) >= 1

    words = ("--steps", "6", "--ensemble", "nve", "--report", "rdf,msd", "-o", "told.h5")
    told = run("md", "model.safetensors", "test.extxyz", *words)
    assert "Report: told.rdf.csv" in told
    assert "Left out: the report msd needs at least three frames, 1 were seen" in told

    result = CliRunner().invoke(app, ["relax", "model.safetensors", "test.extxyz", "--fmax", "0.2", "--cell"])
    assert result.exit_code in {0, 1}, result.output
    assert ("NOT converged" in result.output) == (result.exit_code == 1)
    assert len(read("relaxed.extxyz")) == 4

    told = run("screen", "model.safetensors", "test.extxyz", "--max-steps", "2", "-o", "table.csv")
    assert "4 structures:" in told
    with (here / "table.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert "(4 known from the table)" in run(
        "screen", "model.safetensors", "test.extxyz", "--max-steps", "2", "-o", "table.csv"
    )


def script(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CONSOLE_SCRIPT, *words], capture_output=True, text=True, check=False)


def test_the_console_script(here: Path) -> None:
    shown = script("inspect", "model.safetensors", "--no-check")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "painn" in shown.stdout


def test_a_mistake_is_one_red_sentence_and_code_2(here: Path) -> None:
    before = sorted(path.name for path in here.iterdir())
    failed = script("relax", "none.safetensors", "test.extxyz", "-o", "relaxed.xyz")
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert failed.stderr == "error: none.safetensors: there is no such file\n"
    assert sorted(path.name for path in here.iterdir()) == before
