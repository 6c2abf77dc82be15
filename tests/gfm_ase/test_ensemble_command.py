"""`gfm-ase ensemble` on tiny checkpoints and runs, and other commands on what it makes."""

from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner

from gfm_ase.calculator import GFMCalculator
from gfm_ase.cli import app
from gfm_ase.commands.ensemble import errors_beside
from potentials.checkpoint import load_checkpoint, read_manifest
from tests.gfm_ase.test_cli import RUN, write_structures


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_checkpoints_become_one(tmp_path: Path, one_head: Path, alloy: Atoms) -> None:
    target = tmp_path / "e.safetensors"
    assert f"Ensemble of 2: {target}" in call("ensemble", one_head, one_head, "-o", target).replace("\n", "")
    single = sum(value.numel() for value in load_checkpoint(one_head)[0].parameters())
    shown = call("inspect", target)
    assert f"{2 * single:,}" in shown
    assert "by the ensemble, standard deviations, not calibrated" in shown
    assert "uncertainties" in call("inspect", one_head)
    alloy.calc = GFMCalculator(target, device="cpu")
    own = GFMCalculator(one_head, device="cpu").get_potential_energy(alloy)
    assert alloy.get_potential_energy() == pytest.approx(own, abs=1e-5)
    assert alloy.calc.results["uncertainty"] == pytest.approx(0.0, abs=1e-5)  # two of the same
    write(tmp_path / "alloy.extxyz", alloy.copy())
    call("md", target, tmp_path / "alloy.extxyz", "--temperature-K", 300, "--steps", 3, "-o", tmp_path / "md.extxyz")
    call("relax", target, tmp_path / "alloy.extxyz", "--fmax", 5, "-o", tmp_path / "relaxed.extxyz")
    with pytest.raises(ValueError, match="holds an ensemble of 2; this takes the checkpoint of a single run"):
        call("export", target, "-o", tmp_path / "e.pt2")


def test_seeds_from_a_run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_structures(tmp_path)
    (tmp_path / "run.toml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    said = call("ensemble", "run.toml", "--seeds", 2, "--set", "stop.epochs=1", "-o", "e")
    assert "Mean absolute errors on structures held back from training" in said
    assert "Ensemble of 2: e/ensemble.safetensors" in said
    manifest = read_manifest("e/ensemble.safetensors")
    assert [member.name for member in manifest.members] == ["seed_0", "seed_1"]
    assert manifest.heads["emt"].test_errors
    assert "Ensemble of 2" in call("ensemble", "run.toml", "--seeds", 2, "--set", "stop.epochs=1", "-o", "e")


def test_the_table_beside_members() -> None:
    errors = {"emt": {"forces_mae_eV_per_A": 0.001, "energy_mae_eV_per_atom": 0.5}}
    members = {"a": {"emt": {"forces_mae_eV_per_A": 0.002}}, "b": {"emt": {"forces_mae_eV_per_A": 0.004}}}
    table = errors_beside(errors, members)
    assert [list(column.cells) for column in table.columns] == [["emt"], ["forces, meV/Å"], ["1"], ["2"], ["3"]]


def test_branches_of_other_elements(tmp_path: Path, two_heads: Path) -> None:
    with pytest.raises(ValueError, match="no element is known to all members"):
        call("ensemble", two_heads, "--branches", "emt,xtb", "-o", tmp_path / "e.safetensors")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["a", "b", "--seeds", "2"], "--seeds takes one source; 2 are given"),
        (["a", "--seeds", "2", "--best", "3"], "--seeds and --best are different ways to make an ensemble"),
        (["run.toml"], "one source alone; add --seeds, --best or --branches"),
        (["run.toml", "--seeds", "2", "--epochs", "3"], "--epochs trains trials on and belongs to --best"),
        (["study", "--best", "2", "--set", "seed=1"], "--set changes a run file and belongs to --seeds"),
        (["a", "b", "--epochs", "3"], "--epochs and --set belong to trainings"),
        (["study", "--best", "2"], "holds no study"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call("ensemble", *options)


def test_the_name_of_a_joined_file(one_head: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoints are joined in one file; name it something\.safetensors"):
        call("ensemble", one_head, one_head, "-o", tmp_path / "folder")
