"""Bad input: one clear sentence each, exit code 2, and nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rich import console as consoles

from gfm_ase import cli
from train.group import LostError
from train.saving import SavingError
from train.stopping import TerminatedError

RUN = """
output = "run"
compile = false
device = "cpu"
[potential]
head_width = 8
backbone = { name = "painn", cutoff = 4.0, width = 8, depth = 1, radial_size = 4 }
[[dataset]]
name = "emt"
train = "train.extxyz"
[stop]
epochs = 1
"""


def labelled(atoms: Atoms, **labels: Any) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def good(count: int = 4) -> list[Atoms]:
    frames = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=number)
        emt = EMT()
        frames.append(labelled(atoms, **{name: emt.get_property(name, atoms) for name in ("energy", "forces")}))
    return frames


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GFM_ASE_TRACEBACK", raising=False)
    write("train.extxyz", good())
    Path("run.toml").write_text(RUN)
    return tmp_path


Refused = Callable[..., str]


@pytest.fixture
def refused(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs the command as the console script does; what it says of a mistake, after checking all that is promised."""

    def attempt(*words: str) -> str:
        before = {path.relative_to(here): path.read_bytes() for path in here.rglob("*") if path.is_file()}
        monkeypatch.setattr("sys.argv", ["gfm-ase", *words])
        monkeypatch.setattr(consoles, "_is_jupyter", lambda: False)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert "Traceback" not in shown.err + shown.out
        assert shown.err.count("\n") == 1, shown.err
        after = {path.relative_to(here): path.read_bytes() for path in here.rglob("*") if path.is_file()}
        assert after == before
        assert not (here / "run").exists()
        return shown.err

    return attempt


def train_with(change: str = "", *, replace: tuple[str, str] | None = None) -> None:
    text = RUN if replace is None else RUN.replace(*replace)
    assert change or text != RUN
    Path("run.toml").write_text(text + change)


def test_no_run_file(refused: Refused) -> None:
    assert "none.toml cannot be read (No such file or directory)" in refused("train", "none.toml")


def test_no_structure_file(refused: Refused) -> None:
    train_with(replace=("train.extxyz", "none.extxyz"))
    assert "data set 'emt', train: " in (told := refused("train", "run.toml"))
    assert "none.extxyz is no file" in told


def test_an_unknown_key_names_the_nearest(refused: Refused) -> None:
    train_with("[optimizer]\nlearning_rat = 0.1\n")
    assert "unknown key 'learning_rat' in [optimizer]; did you mean learning_rate?" in refused("train", "run.toml")


def test_an_override_of_an_unknown_key(refused: Refused) -> None:
    assert "did you mean epochs?" in refused("train", "run.toml", "--set", "stop.epoch=3")
    assert "table.key=value" in refused("train", "run.toml", "--set", "epochs")


def test_two_data_sets_of_one_name(refused: Refused) -> None:
    train_with('[[dataset]]\nname = "emt"\ntrain = "train.extxyz"\n')
    assert "two data sets are called 'emt'" in refused("train", "run.toml")


def test_no_energies_at_all(refused: Refused) -> None:
    write("train.extxyz", [bulk("Cu", cubic=True)] * 3)
    told = refused("train", "run.toml")
    assert "data set 'emt': none of the 3 frames of train has an energy" in told


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_label_that_is_no_number(value: float, refused: Refused) -> None:
    frames = good()
    frames[2].calc.results["energy"] = value
    write("train.extxyz", frames)
    told = refused("train", "run.toml")
    assert "train.extxyz:2: the energy contains" in told
    assert "a label must be finite, or not there at all" in told


def test_forces_that_are_no_numbers(refused: Refused) -> None:
    frames = good()
    frames[1].calc.results["forces"][2, 1] = np.nan
    write("train.extxyz", frames)
    assert "train.extxyz:1: the forces contains nan" in refused("train", "run.toml")


def test_an_empty_frame(refused: Refused) -> None:
    text = Path("train.extxyz").read_text()
    Path("train.extxyz").write_text(text + '0\nProperties=species:S:1:pos:R:3 energy=0.0 pbc="F F F"\n')
    assert "the frame has no atoms" in refused("train", "run.toml")


def test_coincident_atoms(refused: Refused) -> None:
    frames = good()
    frames[3].positions[1] = frames[3].positions[0]
    write("train.extxyz", frames)
    told = refused("train", "run.toml")
    assert "train.extxyz:3" in told
    assert "atoms 0 and 1" in told
    assert "two atoms cannot be in one place" in told


def test_a_zero_cell_that_repeats(refused: Refused) -> None:
    frames = good()
    frames[0].cell[:] = 0
    write("train.traj", frames)  # extended XYZ cannot say it
    train_with(replace=("train.extxyz", "train.traj"))
    assert "every direction that repeats needs a lattice vector" in refused("train", "run.toml")


def test_an_element_without_a_reference_energy(refused: Refused) -> None:
    train_with(replace=('train = "train.extxyz"', 'train = "train.extxyz"\ne0 = { Al = -0.1 }'))
    assert "data set 'emt': its e0 lacks Cu" in refused("train", "run.toml")


def test_an_element_of_the_test_split_that_training_never_saw(refused: Refused) -> None:
    write("test.extxyz", [labelled(bulk("Al", cubic=True), energy=0.0)])
    train_with(replace=('train = "train.extxyz"', 'train = "train.extxyz"\ntest = "test.extxyz"'))
    assert "element Al appears in the test split but never in training" in refused("train", "run.toml")


@pytest.mark.parametrize("device", ["cuda:7", "xpu:7"])
def test_a_gpu_that_is_not_there(device: str, refused: Refused) -> None:
    told = refused("train", "run.toml", "--set", f"device={device}")
    assert f"device '{device}' was asked for, but torch sees" in told
    assert "use 'cpu' or 'auto'" in told


def test_a_structure_larger_than_a_batch(refused: Refused) -> None:
    assert "raise batch.max_atoms to 4" in refused("train", "run.toml", "--set", "batch.max_atoms=3")


def test_a_file_that_is_cut_short(refused: Refused) -> None:
    text = Path("train.extxyz").read_text()
    Path("train.extxyz").write_text(text[: len(text) - 150])
    assert "train.extxyz cannot be read beyond its first 3 frames" in refused("train", "run.toml")


def test_a_resume_of_nothing(refused: Refused) -> None:
    assert "there is nothing to resume" in refused("train", "run.toml", "--resume")


def test_a_folder_that_may_not_be_written(here: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path, *given: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert f"error: {here / 'run'}: Permission denied" in refused("train", "run.toml")


@pytest.mark.parametrize("command", ["evaluate", "md", "relax", "screen", "inspect"])
def test_a_checkpoint_that_is_none(command: str, refused: Refused) -> None:
    Path("model.safetensors").write_text("no checkpoint")
    words = ["--temperature-K", "300"] if command == "md" else []
    structures = [] if command == "inspect" else ["train.extxyz"]
    told = refused(command, "model.safetensors", *structures, *words)
    assert told.startswith("error: model.safetensors: not a checkpoint, or a truncated one")
    assert "there is no such file" in refused(command, "none.safetensors", *structures, *words)


@pytest.mark.parametrize("command", ["evaluate", "md", "relax", "screen"])
def test_what_the_checkpoint_does_not_know(command: str, two_heads: Path, refused: Refused) -> None:
    words = [command, str(two_heads), "train.extxyz", *(["--temperature-K", "300"] if command == "md" else [])]
    assert "this potential has 2 heads; choose one: emt, xtb" in refused(*words)
    assert "unknown head 'dft'; this potential has emt, xtb" in refused(*words, "--head", "dft")
    assert "torch sees" in refused(*words, "--head", "emt", "--device", "cuda:7")
    if command != "screen":  # there it is a row of the table
        assert "head 'xtb' has never seen Cu; it was trained on H, C, O" in refused(*words, "--head", "xtb")


def test_outputs_that_cannot_be_written_are_named_first(one_head: Path, refused: Refused) -> None:
    words = ("evaluate", str(one_head), "train.extxyz")
    assert "cannot draw to 'parity.gif'" in refused(*words, "--json", "errors.json", "--plot", "parity.gif")
    assert "nowhere" in refused(*words, "--json", "nowhere/errors.json")
    assert "nowhere" in refused(*words, "--plot", "nowhere/parity.png")
    assert "nowhere" in refused("relax", str(one_head), "train.extxyz", "-o", "nowhere/relaxed.xyz")
    assert "nowhere" in refused("screen", str(one_head), "train.extxyz", "-o", "nowhere/table.csv")
    md = ("md", str(one_head), "train.extxyz", "--temperature-K", "300")
    assert "nowhere" in refused(*md, "-o", "nowhere/md.traj")
    trajectory = ("--trajectory", "nowhere/steps.traj")
    assert "nowhere" in refused("relax", str(one_head), "train.extxyz", "-o", "relaxed.xyz", *trajectory)


def test_brackets_are_no_markup(refused: Refused) -> None:
    assert "[red]none[/red].toml cannot be read" in refused("train", "[red]none[/red].toml")


def test_a_traceback_for_programmers(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GFM_ASE_TRACEBACK", "1")
    monkeypatch.setattr("sys.argv", ["gfm-ase", "train", "none.toml"])
    with pytest.raises(ValueError, match=r"none\.toml cannot be read"):
        cli.main()


def test_exit_codes_that_scripts_go_by(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process was lost: 76; terminated before the first step: 75. Other mistakes are 2."""
    monkeypatch.setattr("sys.argv", ["gfm-ase", "train", "run.toml"])
    for error, code in ((LostError("lost"), 76), (TerminatedError("ended"), 75), (SavingError("full"), 2)):
        monkeypatch.setattr("train.loop.load_datasets", Mock(side_effect=error))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
