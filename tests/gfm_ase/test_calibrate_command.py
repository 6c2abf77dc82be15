"""`gfm-ase calibrate` and `gfm-ase evaluate` of a potential that knows its uncertainty."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase.cli import app
from potentials.checkpoint import load_checkpoint, read_manifest
from potentials.potential import Potential

NEEDS_PICTURES = "matplotlib"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], terminal_width=200)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return re.sub(r"\s+", " ", done.output)


def labelled(count: int, seed: int = 0) -> list[Atoms]:
    """Rattled cells of Cu and Al with EMT's labels; four of them are one walk."""
    frames = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.numbers[0] = 13
        atoms.rattle(0.05, seed=1000 * seed + number)
        emt = EMT()
        results = {name: emt.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["walk"] = f"walk {number // 4}"
        frames.append(atoms)
    return frames


@pytest.fixture
def held_back(tmp_path: Path) -> Path:
    write(tmp_path / "held.extxyz", labelled(40))
    return tmp_path / "held.extxyz"


@pytest.fixture
def uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Potentials know an uncertainty: some share of their forces, energies and stress."""
    plain = Potential.forward

    def forward(self: Potential, graph: Any, *, derivatives: bool = True) -> dict[str, torch.Tensor]:
        results = plain(self, graph, derivatives=derivatives)
        sigma = 0.05 + 0.1 * results["forces"].norm(dim=-1)
        more = {"forces_uncertainty": sigma, "energy_uncertainty": 0.01 * results["energy"].abs()}
        return {**results, **more, "stress_uncertainty": torch.full_like(results["energy"], 0.01)}

    monkeypatch.setattr(Potential, "forward", forward)


@pytest.mark.usefixtures("uncertain")
def test_a_calibrated_checkpoint_has_the_record_and_the_same_weights(
    one_head: Path, held_back: Path, tmp_path: Path
) -> None:
    said = run("calibrate", one_head, held_back, "-o", tmp_path / "out.safetensors", "--coverage", 0.85)
    assert f"Calibrated: {tmp_path / 'out.safetensors'}" in said
    assert "each fifth, calibrated by the other four" in said
    assert "0.99 takes 99 structures beside those for the floor, and is not there" in said
    before, after = load_checkpoint(one_head)[0].state_dict(), load_checkpoint(tmp_path / "out.safetensors")[0]
    assert all(torch.equal(value, before[name]) for name, value in after.state_dict().items())
    record = read_manifest(tmp_path / "out.safetensors").calibration["emt"]
    assert set(record.quantities) == {"energy", "forces", "stress"}
    assert set(record.quantities["forces"].factors) == {"0.5", "0.68", "0.8", "0.85", "0.9", "0.95"}
    assert set(record.quantities["forces"].factors["0.9"]) == {"Al", "Cu", "*"}
    assert record.quantities["energy"].structures == {"*": 32}
    assert len(record.fingerprint) == 64


@pytest.mark.usefixtures("uncertain")
def test_the_output_stands_beside_the_checkpoint_and_other_heads_stay(
    two_heads: Path, held_back: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(two_heads.read_bytes())
    run("calibrate", tmp_path / "model.safetensors", held_back, "--head", "emt")
    made = tmp_path / "model_calibrated.safetensors"
    first = read_manifest(made).calibration
    for frame in (frames := labelled(40)):
        frame.numbers[:] = 8
    write(tmp_path / "oxygen.extxyz", frames)
    run("calibrate", made, tmp_path / "oxygen.extxyz", "--head", "xtb", "-o", made)
    both = read_manifest(made).calibration
    assert set(both) == {"emt", "xtb"}
    assert both["emt"] == first["emt"]


@pytest.mark.usefixtures("uncertain")
def test_evaluate_tells_coverage_and_rank_correlation_where_there_are_uncertainties(
    one_head: Path, held_back: Path, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS_PICTURES)
    run("calibrate", one_head, held_back, "-o", tmp_path / "out.safetensors")
    write(tmp_path / "test.extxyz", labelled(60, seed=1))
    said = run(
        *("evaluate", tmp_path / "out.safetensors", tmp_path / "test.extxyz", "--json", tmp_path / "errors.json"),
        *("--reliability", tmp_path / "reliability.png"),
    )
    assert "Uncertainties, calibrated intervals" in said
    found = json.loads((tmp_path / "errors.json").read_text())["emt"]
    # 40 and 60 structures of 12 components: the share has a standard deviation of 0.3 √(1/32 + 1/60) at most
    assert found["forces_coverage_0.9"] == pytest.approx(0.9, abs=4 * 0.3 * math.sqrt(1 / 32 + 1 / 60))
    assert -1 <= found["forces_spearman"] <= 1
    assert found["forces_half_width_0.9_eV_per_A"] > 0
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    said = run("evaluate", one_head, tmp_path / "test.extxyz")
    assert "as standard deviations: not calibrated" in said


@pytest.mark.usefixtures("uncertain")
def test_reports_are_a_picture_and_numbers(one_head: Path, held_back: Path, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS_PICTURES)
    paths = [tmp_path / "report.png", tmp_path / "report.json"]
    reports = ("--report", paths[0], "--report", paths[1])
    said = run("calibrate", one_head, held_back, "-o", tmp_path / "o.safetensors", *reports)
    assert all(f"Report: {path}" in said for path in paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    found = json.loads(paths[1].read_text())["emt"]["forces"]
    assert set(found) == {"all", "Al", "Cu"}
    assert [one["stated"] for one in found["all"]["coverage"]] == [0.5, 0.68, 0.8, 0.9, 0.95]


@pytest.mark.usefixtures("uncertain")
def test_frames_of_one_walk_count_as_one_structure(one_head: Path, tmp_path: Path) -> None:
    write(held_back := tmp_path / "held.extxyz", labelled(60))
    said = run("calibrate", one_head, held_back, "-o", tmp_path / "o.safetensors", "--group", "walk")
    assert "0.95 takes 19 structures beside those for the floor, and is not there" in said
    record = read_manifest(tmp_path / "o.safetensors").calibration["emt"]
    assert record.quantities["energy"].structures == {"*": 12}
    with pytest.raises(ValueError, match=r"held\.extxyz:0: --group run: info has no such key; it has walk"):
        run("calibrate", one_head, held_back, "--group", "run")


def test_a_potential_without_uncertainties_says_what_would_give_it_some(one_head: Path, held_back: Path) -> None:
    with pytest.raises(ValueError, match="gives no uncertainties; name the files it was trained on by --training"):
        run("calibrate", one_head, held_back)
    with pytest.raises(ValueError, match="--reliability: this potential gives no uncertainties"):
        run("evaluate", one_head, held_back, "--reliability", held_back.with_suffix(".png"))
    assert "Uncertainties" not in run("evaluate", one_head, held_back)


@pytest.mark.usefixtures("uncertain")
def test_structures_that_were_learnt_from_are_refused(one_head: Path, held_back: Path, tmp_path: Path) -> None:
    write(tmp_path / "train.extxyz", read(held_back, index=":3") + labelled(5, seed=2))
    with pytest.raises(ValueError, match="3 of the 40 structures are among those trained on"):
        run("calibrate", one_head, held_back, "--training", tmp_path / "train.extxyz")


@pytest.mark.usefixtures("uncertain")
def test_mistakes_are_told_before_anything_is_computed(one_head: Path, held_back: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot draw to 'report\.txt'"):
        run("calibrate", one_head, held_back, "--report", tmp_path / "report.txt")
    with pytest.raises(ValueError, match="nowhere does not exist; create it first"):
        run("calibrate", one_head, held_back, "-o", tmp_path / "nowhere" / "o.safetensors")
    write(tmp_path / "one.extxyz", labelled(1))
    with pytest.raises(ValueError, match="labelled structures do not suffice"):
        run("calibrate", one_head, tmp_path / "one.extxyz", "-o", tmp_path / "o.safetensors")
    assert not (tmp_path / "o.safetensors").exists()


def test_a_picture_of_several_sets_has_a_row_for_each_quantity() -> None:
    pytest.importorskip(NEEDS_PICTURES)
    from gfm_ase.calibration_picture import calibration_figure
    from tests.train.drawn_errors import drawn_energies, drawn_forces
    from train.calibration.fitting import fit_calibration

    random = np.random.default_rng(0)
    one = {"energy": drawn_energies(random, 60), "forces": drawn_forces(random, 60)}
    calibration = fit_calibration(one)  # type: ignore[arg-type]
    sets = {"fifths": (one, None), "others": ({"energy": drawn_energies(random, 60)}, calibration)}
    figure = calibration_figure(sets, "two sets")  # type: ignore[arg-type]
    assert len(figure.axes) == 6
    labels = [text.get_text() for axis in figure.axes for text in axis.get_yticklabels()]
    assert {"fifths", "others", "H", "C", "O"} <= set(labels)


def test_another_dtype_is_of_what_is_computed_not_of_what_is_kept(
    one_head: Path, held_back: Path, tmp_path: Path
) -> None:
    write(tmp_path / "train.extxyz", labelled(40, seed=5))
    out = tmp_path / "out.safetensors"
    run("calibrate", one_head, held_back, "--training", tmp_path / "train.extxyz", "--dtype", "float64", "-o", out)
    before, (after, manifest) = load_checkpoint(one_head)[0], load_checkpoint(out)
    assert manifest.dtype == "float32"
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    assert set(manifest.calibration["emt"].quantities) == {"energy", "forces"}


def test_a_head_that_knows_no_uncertainty_has_no_coverage(two_heads: Path, held_back: Path, tmp_path: Path) -> None:
    """The last layer was fitted for the other head, and says NaN of this one."""
    write(tmp_path / "train.extxyz", labelled(40, seed=5))
    out = tmp_path / "out.safetensors"
    run("calibrate", two_heads, held_back, "--head", "emt", "--training", tmp_path / "train.extxyz", "-o", out)
    for frame in (frames := labelled(12)):
        frame.numbers[:] = 8
    write(tmp_path / "oxygen.extxyz", frames)
    assert "Spearman" not in run("evaluate", out, tmp_path / "oxygen.extxyz", "--head", "xtb")
    assert "Spearman" in run("evaluate", out, held_back, "--head", "emt")


@pytest.mark.usefixtures("uncertain")
def test_a_calibration_without_the_coverage_that_calculators_give_is_not_written(
    one_head: Path, tmp_path: Path
) -> None:
    write(tmp_path / "few.extxyz", labelled(8))
    with pytest.raises(ValueError, match=r"energy: a coverage of 0.9 takes 9 structures .* of 8 in all; calibrate on"):
        run("calibrate", one_head, tmp_path / "few.extxyz", "-o", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
