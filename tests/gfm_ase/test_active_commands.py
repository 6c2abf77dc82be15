"""`gfm-ase select` and `gfm-ase label`: what they tell, write and refuse; and training takes up what they leave."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase.cli import app
from gfm_ase.commands import select as select_command
from md_workflows.labelling import run as labelling
from md_workflows.selection import ModelDescriber
from potentials.potential import Potential, PotentialConfig
from potentials.structures import check_elements
from tests.md_workflows.commands import runner
from train.config import load_config
from train.loop import train

words_given = runner(app)


def run(line: str) -> str:
    """What a command line without spaces in its words tells."""
    return words_given(*line.split())


RUN = """
output = "first"
compile = false
stop.epochs = 1
potential.backbone = { width = 8, depth = 1 }
[[dataset]]
name = "emt"
train = "start.extxyz"
"""


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with twelve rattled cells, whose uncertainty is their number over 100."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    frames = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05 + 0.01 * seed, seed=seed)
        atoms.info["uncertainty"] = seed / 100
        atoms.calc = EMT()  # of a potential, say
        atoms.get_potential_energy()
        frames.append(atoms)
    write("md.traj", frames)
    write("known.extxyz", frames[11])
    return tmp_path


def test_choose_label_and_train_on(pool: Path) -> None:
    told = run(
        "select md.traj -n 4 --training known.extxyz --max-uncertainty 0.1 -o chosen.extxyz"
        " --json chosen.json --plot chosen.png"
    )
    assert "4 chosen of 12 structures" in told
    assert "left out: uncertainty too high" in told
    assert "Chosen: chosen.extxyz\nJSON: chosen.json\nPicture: chosen.png" in told
    chosen = read("chosen.extxyz", index=":")
    stored = json.loads(Path("chosen.json").read_text())
    assert [one["identifier"] for one in stored["chosen"]] == [atoms.info["identifier"] for atoms in chosen]
    assert stored["left_out"] == {"uncertainty too high": 1}
    assert stored["chosen"][0]["uncertainty_eV_per_A"] == chosen[0].info["uncertainty"]
    assert all(atoms.calc is None for atoms in chosen)
    assert Path("chosen.png").stat().st_size > 10_000

    told = run("label chosen.extxyz --calculator emt -o new.extxyz")
    assert "4 labelled, 0 failed (0 known from the table).\nLabelled: new.extxyz" in told
    assert "(4 known from the table)" in run("label chosen.extxyz --calculator emt -o new.extxyz")

    run("label md.traj --calculator emt --index :5 -o start.extxyz")
    Path("run.toml").write_text(RUN)
    train(load_config(Path("run.toml")))
    go_on = ['dataset.emt.train=["start.extxyz","new.extxyz"]', "output=second"]
    go_on.append("fine_tune.start_from=first/model.safetensors")
    told = words_given("train", "run.toml", *(word for each in go_on for word in ("--set", each)))
    assert "Checkpoint:" in told
    settings = json.loads(Path("second/config.json").read_text())
    assert settings["fine_tune"]["start_from"].endswith("first/model.safetensors")


def test_a_checkpoint_describes_and_knows(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the checkpoint: the most uncertain structure is that with the most copper in the first place."""
    potential = Potential(PotentialConfig(heads=("emt",))).eval()

    def evaluate(graph: Any) -> dict[str, torch.Tensor]:
        return {"uncertainty": torch.full((graph.n_graphs,), 0.5, dtype=torch.float64)}

    stand_in = ModelDescriber(potential, evaluate, check_elements)
    monkeypatch.setattr(select_command, "_describer", lambda *_: stand_in)
    run("select md.traj -n 3 --checkpoint model.safetensors -o c.extxyz")
    assert [atoms.info["uncertainty"] for atoms in read("c.extxyz", ":")] == [0.5] * 3


def test_uncertainties_of_a_checkpoint_that_has_none(pool: Path) -> None:
    run("label md.traj --calculator emt -o start.extxyz")
    Path("run.toml").write_text(RUN)
    train(load_config(Path("run.toml")))
    write("bare.extxyz", [bulk("Cu"), bulk("Cu", a=3.7), bulk("Ni")])
    told = run("select bare.extxyz --checkpoint first/model.safetensors --by diversity -n 5 -o d.extxyz")
    assert "left out: cannot be described" in told
    assert "bare.extxyz:2: ValueError: the structure: head 'emt' has never seen Ni" in told
    assert "2 of 5: all others are left out, or as good as chosen or labelled already." in told


def test_what_is_chosen_by_distance_alone_has_its_picture_too(pool: Path) -> None:
    write("bare.extxyz", [bulk("Cu", a=length) for length in (3.5, 3.6, 3.7)])
    told = run("select bare.extxyz -n 2 --by diversity --plot d.svg")
    assert "unknown" in told
    assert Path("d.svg").read_text().count("<svg") == 1


def test_what_cannot_be_selected(pool: Path) -> None:
    write("bare.extxyz", bulk("Cu"))
    for words, told in [
        ("md.traj -n 2 --by size", "by = 'size' is refused"),
        ("md.traj -n 2 -o chosen.xyz", r"chosen structures are written as \.extxyz, and not as '\.xyz'"),
        ("md.traj -n 2 -o none/chosen.extxyz", "does not exist"),
        ("md.traj -n 2 --plot chosen.txt", "must end in"),
        ("none.traj -n 2", "none.traj: no such file"),
        ("bare.extxyz -n 2", "no structure has an uncertainty"),
        ("md.traj -n 2 --checkpoint none.safetensors", "there is no such file"),
    ]:
        with pytest.raises(ValueError, match=told):
            run(f"select {words}")


def test_failures_of_labels(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("iron.extxyz", [bulk("Fe"), bulk("Cu")])
    told = run("label iron.extxyz --calculator emt -o iron_labels.extxyz --workers 1")
    assert "1 labelled, 1 failed" in told
    assert "Failures: iron_labels.failures.csv" in told
    (row,) = csv.DictReader(Path("iron_labels.failures.csv").read_text().splitlines())
    assert row == {
        "identifier": "iron.extxyz:0",
        "formula": "Fe",
        "n_atoms": "1",
        "error": "NotImplementedError: No EMT-potential for Fe",
    }
    line = "label iron.extxyz --calculator emt --index 0 -o none.extxyz"
    words = line.split()
    assert CliRunner().invoke(app, words).exit_code == 1  # nothing was labelled
    Path("executor.toml").write_text("[executor]\nworkers = 2\n")
    Path("other.toml").write_text("[executer]\nworkers = 2\n")
    for options, message in [
        (("--executor", "threads"), "executor 'threads' is not known"),
        (("--settings", "executor.toml"), r"\[executor\] needs a name"),
        (
            ("--settings", "other.toml"),
            r"other.toml: \[executer\] is not known; labelling has settings of \[executor\] alone",
        ),
        (("--calculator", "dft"), "--calculator dft is not known"),
        (("-o", "labels.xyz"), r"labels are written as \.extxyz"),
    ]:
        with pytest.raises(ValueError, match=message):
            words_given(*words, *options)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(labelling, "screen", interrupted)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 130
    assert "The same command goes on from there." in " ".join(result.output.split())


def test_equal_structures_are_labelled_once(pool: Path) -> None:
    write("twice.extxyz", [bulk("Cu"), bulk("Cu")])
    assert "1 labelled, 0 failed, 1 equal to others" in run("label twice.extxyz --calculator emt -o t.extxyz")
    (atoms,) = read("t.extxyz", index=":")
    assert isinstance(atoms, Atoms)
