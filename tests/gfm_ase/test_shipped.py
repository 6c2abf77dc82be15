"""The model that comes with the package: its file, its name in the place of a path, its table."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase import GFMCalculator, load
from gfm_ase.adapters.ase_database import checkpoint_keys
from gfm_ase.cli import app
from potentials.checkpoint import CheckpointError, load_checkpoint, read_manifest
from potentials.models import shipped
from potentials.models.registry import DEFAULT, MODELS, MissingModelError, find_checkpoint
from tests.gfm_ase import boxes
from train.config import load_config

ROOT = Path(__file__).parents[2]
MOST_BYTES = 10_000_000


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a small potential where the file of the model lies."""
    (tmp_path / "package").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "package")
    monkeypatch.chdir(tmp_path / "work")
    boxes.write(tmp_path / "package" / "gfm1.safetensors")
    return tmp_path / "work"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "250"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.mark.parametrize("name", MODELS)
def test_the_file_in_the_package(name: str) -> None:
    model = MODELS[name]
    assert model.path.stat().st_size <= MOST_BYTES
    potential, manifest = load_checkpoint(name)  # computes golden structures again
    assert set(potential.heads) == set(model.heads)
    for head, record in manifest.heads.items():
        assert record.repeating, head
        assert set(record.outside) == set(record.elements), head
        assert "forces_uncertainty" in potential.known_uncertainties(head)


@pytest.mark.parametrize("name", MODELS)
def test_the_table_is_complete(name: str) -> None:
    model = MODELS[name]
    assert model.name == name
    sets = {one.name for one in model.data}
    assert sets == {used for head in model.heads.values() for used in head.data}
    for one in model.data:
        assert one.citation
        assert one.licence
        assert "GPL" not in one.licence
    recipe = tomllib.loads((ROOT / "recipes" / "foundation.toml").read_text(encoding="utf-8"))
    assert [table["name"] for table in recipe["dataset"]] == list(model.heads)


def test_no_checkpoint_is_the_one_of_the_package(box: Path) -> None:
    water = molecule("H2O")
    water.calc = GFMCalculator(head="pbe_def2svp", device="cpu")
    same = GFMCalculator(box.parent / "package" / "gfm1.safetensors", head="pbe_def2svp", device="cpu")
    assert water.get_potential_energy() == same.get_property("energy", water)
    copper = bulk("Li")
    copper.calc = GFMCalculator()
    assert np.isfinite(copper.get_potential_energy())
    assert copper.calc.head == "pbe_metals"
    with pytest.raises(ValueError, match="5 heads of this potential fit H2O") as error:
        GFMCalculator().get_property("energy", water)
    for head in ("pbe_def2svp", "pbe_ts", "pbe_d3_def2svp", "wb97x_631gd", "ccsdt_ccpvtz"):
        assert f"{head} ({MODELS[DEFAULT].heads[head]})" in str(error.value)


def test_the_name_where_a_path_is_asked_for(box: Path) -> None:
    path = box.parent / "package" / "gfm1.safetensors"
    assert load("gfm1").manifest == read_manifest("gfm1") == read_manifest(path)
    assert load("gfm1").model is MODELS["gfm1"]
    assert load(path).model is None
    assert GFMCalculator("gfm1", head="lda").head == "lda"
    assert checkpoint_keys("gfm1", "lda") == checkpoint_keys(path, "lda")
    with pytest.raises(CheckpointError, match="gfm2: there is no such file; models that come with the package: gfm1"):
        load("gfm2")


def test_a_file_of_that_name_is_meant_before_it(box: Path) -> None:
    boxes.write(box / "gfm1", {"other": "H O"})
    assert read_manifest("gfm1").heads.keys() == {"other"}
    assert load("gfm1").model is None
    (box / "gfm1").unlink()
    (box / "gfm1").mkdir()  # a folder is no file: the output of a run may be called so
    assert len(read_manifest("gfm1").heads) == len(MODELS["gfm1"].heads)


def test_an_installation_without_the_file(box: Path) -> None:
    (box.parent / "package" / "gfm1.safetensors").unlink()
    with pytest.raises(MissingModelError, match=r"the file of the model 'gfm1' is not in this installation"):
        GFMCalculator()
    assert "Its file is not in this installation" in run("models")
    with pytest.raises(MissingModelError):
        find_checkpoint("gfm1")


def test_models(box: Path) -> None:
    told = run("models")
    for name, model in MODELS.items():
        assert f"{name}: {model.about}" in told
        for head in model.heads:
            assert head in told
    assert "PBE-D3/def2-SVP" in told
    assert "molecules" in told
    assert "periodic" in told
    more = run("models", "gfm1")
    flat = " ".join(more.split())
    assert "please cite" in more
    assert "CC0-1.0" in more
    assert "10 structures of rMD17" in flat
    with pytest.raises(ValueError, match="no model 'gfm9' comes with the package; there is gfm1"):
        run("models", "gfm9")


def test_commands_take_the_name(box: Path) -> None:
    write("li.extxyz", bulk("Li", cubic=True))
    write("methanol.extxyz", molecule("CH3OH"))
    assert "painn" in run("inspect", "gfm1")
    told = run("relax", "gfm1", "li.extxyz", "--max-steps", "1", "-o", "out.extxyz")
    assert "after 1 steps" in told or "Converged" in told
    named = GFMCalculator("gfm1", head="pbe_metals", device="cpu")
    energy = read("out.extxyz").get_potential_energy()
    assert energy == pytest.approx(named.get_property("energy", read("out.extxyz")), rel=1e-9)
    with pytest.raises(ValueError, match="5 heads of this potential fit CH4O"):
        run("md", "gfm1", "methanol.extxyz", "--steps", "1", "--temperature-K", "10")
    words = ("--steps", "1", "--head", "pbe_ts", "--temperature-K", "10", "-o", "md.traj")
    assert "1 steps" in run("md", "gfm1", "methanol.extxyz", *words)
    with pytest.raises(ValueError, match="this potential has 8 heads; choose one: pbe_mp"):
        run("screen", "gfm1", "li.extxyz", "-o", "table")
    told = run("screen", "gfm1", "li.extxyz", "--head", "pbe_metals", "--max-steps", "1", "-o", "table.csv")
    assert "1 structures:" in told
    with pytest.raises(ValueError, match="choose one"):
        run("doctor", "gfm1")


def test_a_run_file_begins_from_it(box: Path) -> None:
    write("train.extxyz", [bulk("Li", cubic=True)])
    Path("run.toml").write_text(
        'output = "run"\n[fine_tune]\nstart_from = "gfm1"\n[[dataset]]\nname = "pbe_metals"\ntrain = "train.extxyz"\n',
        encoding="utf-8",
    )
    config = load_config(Path("run.toml"))
    assert config.fine_tune is not None
    assert config.fine_tune.start_from == box.parent / "package" / "gfm1.safetensors"
    assert config.potential.backbone.name == "painn"
    (box / "gfm1").write_bytes((box.parent / "package" / "gfm1.safetensors").read_bytes())
    again = load_config(Path("run.toml"))
    assert again.fine_tune is not None
    assert again.fine_tune.start_from == box / "gfm1"
