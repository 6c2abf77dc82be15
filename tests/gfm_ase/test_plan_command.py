"""`gfm-ase plan`, and its picture."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from matplotlib.image import imread
from typer.testing import CliRunner

from gfm_ase.cli import app

RUN = """
output = "run"
compile = false
device = "cpu"
potential = { head_width = 8, backbone = { name = "painn", cutoff = 4.0, width = 8, depth = 1, radial_size = 6 } }
batch = { max_atoms = 64 }
[[dataset]]
name = "emt"
train = "train.extxyz"
"""

MIX = """
[[dataset]]
name = "small"
structures = 1_000_000
source = "made up"
atoms = { mean = 12.0, least = 2, largest = 40, spread = 0.5 }
edges_per_atom = 20.0
edges_spread = 0.2
"""

COSTS = {"step": 1e-3, "atom": 1e-5, "edge": 1e-6, "update": 1e-3, "input": 1e-6, "device": "a GPU"}


def invoke(*words: str, columns: int = 200) -> Any:
    return CliRunner().invoke(app, ["plan", "run.toml", *words], env={"COLUMNS": str(columns)})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "run.toml").write_text(RUN)
    (tmp_path / "mix.toml").write_text(MIX)
    (tmp_path / "costs.json").write_text(json.dumps(COSTS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(*words: str) -> Any:
    given = ("--machine", "frontier", "--ranks", "8..64", "--mix", "mix.toml", "--costs", "costs.json", "--no-picture")
    result = invoke(*given, *words)
    assert result.exit_code == 0, result.output
    return json.loads(Path("run_plan/plan.json").read_text())


def test_a_plan_of_data_that_are_not_at_hand(here: Path) -> None:
    """The run's own data are not even there."""
    words = ("--machine", "frontier", "--ranks", "8..64", "--mix", "mix.toml", "--costs", "costs.json")
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    for word in ("Strong scaling: 64 packed batches", "Weak scaling: 1 packed", "Sizes of small: made up", "ESTIMATE"):
        assert word in result.output, word
    assert "Costs of a batch: of costs.json, for a GPU" in result.output
    assert f"In {here / 'run_plan'}: plan.json, plan.png" in result.output
    told = json.loads((here / "run_plan" / "plan.json").read_text())
    for kind in ("strong", "weak", "fixed"):
        assert [row["ranks"] for row in told[kind]] == [8, 16, 32, 64]
        assert told[kind][0]["efficiency"] == 1
        assert all(0 < row["useful"] <= 1 for row in told[kind])
    assert told["strong"][3]["efficiency"] < told["strong"][1]["efficiency"]
    assert told["options"] == {
        "reduction": "hierarchical", "overlap": 0.0, "checkpoint_minutes": 5.0, "task_parallel": False,
    }  # fmt: skip
    picture = imread(here / "run_plan" / "plan.png")
    assert picture.shape[0] > 500
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50


@pytest.mark.slow
def test_options_change_what_they_are_of(here: Path) -> None:
    plain = planned()
    assert planned("--global-batch", "128")["scaling"]["per_step"] == 128
    assert planned("--per-rank", "3")["weak"][1]["per_step"] == 48
    assert planned("--fixed-count", "5")["scaling"]["fixed_count"] == 5
    last = plain["strong"][3]["time"]["reducing"]
    assert planned("--overlap", "1")["strong"][3]["time"]["reducing"] < last
    assert planned("--reduction", "ring")["strong"][3]["time"]["reducing"] > last
    faster = planned("--times-faster", "10")
    assert faster["costs"]["edge"] == pytest.approx(1e-7)
    assert faster["strong"][0]["time"]["computing"] == pytest.approx(plain["strong"][0]["time"]["computing"] / 10)
    assert any("divided by 10, which is ASSUMED for a device of frontier" in remark for remark in faster["remarks"])
    assert planned("--set", "batch.per_step=256")["scaling"]["per_step"] == 256
    assert planned("--set", "log.checkpoint_minutes=1")["options"]["checkpoint_minutes"] == 1


def test_task_parallelism(here: Path) -> None:
    (here / "mix.toml").write_text(MIX + MIX.replace('"small"', '"other"'))
    told = planned("--task-parallel")
    assert told["options"]["task_parallel"]
    assert told["weights"]["heads"].keys() == {"small", "other"}
    assert planned("--set", "parallel.tasks=true")["options"]["task_parallel"]


def test_a_narrow_terminal_has_room(here: Path) -> None:
    words = ("--machine", "frontier", "--ranks", "8,16", "--mix", "mix.toml", "--costs", "costs.json", "--no-picture")
    result = invoke(*words, columns=80)
    table = result.output.split("Strong scaling")[1].split("Weak scaling")[0]
    assert "effic. %" in table
    assert "atoms/s" not in table
    assert "…" not in table
    assert re.search(r"^\s+16 ", table, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--machine", "summit"), "known are frontier, perlmutter and here"),
        (("--machine", "frontier", "--ranks", "many"), "write FIRST"),
        (("--machine", "frontier", "--reduction", "star"), "must be hierarchical or ring"),
        (("--machine", "frontier", "--times-faster", "0"), "must be greater"),
        (("--machine", "frontier", "--mix", "none.toml"), "cannot be read"),
        (("--machine", "frontier", "--costs", "none.json"), "cannot be read"),
        (("--machine", "frontier", "--ranks", "4", "--global-batch", "2", "--mix", "mix.toml", "--costs", "costs.json"),
         "set --global-batch or"),
    ],
)  # fmt: skip
def test_mistakes_are_sentences(words: tuple[str, ...], what: str, here: Path) -> None:
    result = invoke(*words)
    assert result.exit_code == 1
    assert isinstance(result.exception, ValueError)
    assert what in str(result.exception)
    assert not (here / "run_plan").exists()


def test_a_picture_that_cannot_be_drawn(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = invoke("--machine", "frontier")
    assert "or give --no-picture" in str(result.exception)


@pytest.mark.slow
def test_a_plan_of_this_machine_is_measured(here: Path) -> None:
    frames = []
    for number in range(8):
        atoms = bulk("Cu", a=3.6 + 0.02 * number, cubic=True)
        atoms.rattle(0.08, seed=number)
        emt = EMT()
        results = {name: emt.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write("train.extxyz", frames)
    result = invoke("--machine", "here", "--ranks", "1,2,4")
    assert result.exit_code == 0, result.output
    assert "Costs of a batch: measured on CPU" in result.output
    assert "here: measured: gloo between" in result.output
    assert "In " in result.output
    assert "costs.json" in result.output.splitlines()[-1]
    again = invoke("--machine", "here", "--ranks", "1,2", "--costs", "run_plan/costs.json", "--no-picture")
    assert again.exit_code == 0, again.output
    frontier = invoke("--machine", "frontier", "--ranks", "8", "--no-picture")
    assert "They are NOT those of a device of frontier" in frontier.output
