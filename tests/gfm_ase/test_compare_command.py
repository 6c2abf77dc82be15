"""`gfm-ase compare`, and its picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from typer.testing import CliRunner

from gfm_ase.cli import app
from gfm_ase.commands.compare import _split_overrides
from gfm_ase.comparison_picture import Mark, comparison_figure, pareto_front
from train.comparison_rows import Row

pytest.importorskip("matplotlib", reason="pictures need the extra report")

RUN = """
output = "run"
compile = false
device = "cpu"
potential = { head_width = 8, backbone = { name = "painn", cutoff = 4.0, width = 8, depth = 1, radial_size = 6 } }
stop = { epochs = 2 }
batch = { max_atoms = 16 }
[[dataset]]
name = "emt"
train = "train.extxyz"
"""


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["compare", *words], env={"COLUMNS": "200"})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    frames = []
    for number in range(8):
        atoms = bulk("Cu", a=3.6 + 0.02 * number, cubic=True)
        atoms.rattle(0.08, seed=number)
        emt = EMT()
        results = {name: emt.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write(tmp_path / "train.extxyz", frames)
    (tmp_path / "run.toml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_two_backbones_from_run_file_to_picture(here: Path) -> None:
    result = invoke("run.toml", "--backbones", "painn,egnn", "--set", "egnn.width=4")
    assert result.exit_code == 0, result.output
    folder = here / "run_comparison"
    for word in ("painn: emt", "egnn: emt", "forces, meV/Å", f"In {folder}: comparison.md, comparison.csv"):
        assert word in result.output, word
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "| egnn |" in (folder / "comparison.md").read_text()
    assert (folder / "egnn" / "model.safetensors").is_file()
    again = invoke("run.toml", "--backbones", "painn,egnn", "--set", "egnn.width=4", "--resume", "--no-picture")
    assert again.exit_code == 0, again.output
    assert "comparison.png" not in again.output


def test_mistakes_are_told_before_anything_is_trained(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean egnn?" in str(invoke("run.toml", "--backbones", "egn").exception)
    assert "it must be greater than 0" in str(invoke("run.toml", "--minutes", "0").exception)
    wrong = invoke("run.toml", "--backbones", "egnn", "--set", "painn.width=4")
    assert "of a backbone that is compared" in str(wrong.exception)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    failed = invoke("run.toml", "--backbones", "egnn")
    assert "pip install gfm-ase[report]; or give --no-picture" in str(failed.exception)
    assert not (here / "run_comparison").exists()


def test_overrides_of_the_run_and_of_backbones() -> None:
    split = _split_overrides(["seed=3", "egnn.width=4", "egnn.update_positions=true"], ("egnn",))
    assert split == (["seed=3"], {"egnn": {"width": 4, "update_positions": True}})


def test_the_front_is_what_nothing_beats() -> None:
    marks = [Mark("a", 1, 9), Mark("b", 2, 5), Mark("c", 3, 5), Mark("d", 4, 2), Mark("e", 2, 7), Mark("f", 9, 3)]
    assert [mark.name for mark in pareto_front(marks)] == ["a", "b", "d"]


def rows(count: int) -> list[Row]:
    rng = np.random.default_rng(1)
    found = [Row(backbone="failed", status="failed")]
    for number in range(count):
        cost, error = rng.normal(100, 10), rng.normal(0.05, 0.005)
        errors = {"molecules": {"forces_mae_eV_per_A": error}, "energies_alone": {"energy_mae_eV_per_atom": error}}
        speed = {"energy_forces_atoms_per_s": 1e6 / cost}
        found.append(Row(backbone=f"backbone{number}", status="finished", valid=errors, valid_loss=error, **speed))
    return found


def test_names_cover_neither_marks_nor_names() -> None:
    figure = comparison_figure(rows(18))
    renderer = figure.canvas.get_renderer()
    for axis, label in zip(figure.axes, ("forces, meV/Å", "energy, meV/atom"), strict=True):
        assert label in axis.get_ylabel()
        boxes = [text.get_window_extent(renderer) for text in axis.texts if text.get_text()]
        assert len(boxes) == 18
        assert not any(one.overlaps(two) for number, one in enumerate(boxes) for two in boxes[:number])
        points = [line.get_xydata()[0] for line in axis.lines if line.get_marker() == "o"]
        assert len(points) == 18
        assert not any(box.contains(*axis.transData.transform(point)) for box in boxes for point in points)


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no backbone has an error on a validation split"):
        comparison_figure(rows(0))
