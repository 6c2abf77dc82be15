"""The table of what learning many sets at once does to each."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from benchmarks import multi_task
from benchmarks.card.errors import errors_of
from benchmarks.card.sets import GROUPS, SetFile
from benchmarks.card.subject import Record, open_subject
from benchmarks.multi_task import checkpoint_of, measure, picture, section, short

CU = next(test for test in GROUPS["mlearn"].files if "Cu" in test.file)


def row(single: float | None, multi: float, tuned: float | None) -> Record:
    values = {"single": single, "multi": multi, "tuned": tuned}
    errors = {way: {"errors": {"forces_mae_eV_per_A": value}} for way, value in values.items() if value is not None}
    return {"group": "mlearn", "file": CU.file, "set": short(CU), "ways": errors}


def test_names_of_sets() -> None:
    files = {test.file: short(test) for group in GROUPS.values() for test in group.files}
    assert files["mlearn/Cu_test.extxyz.gz"] == "mlearn/Cu"
    assert files["acac/test_300K.extxyz.gz"] == "acac/300K"
    assert files["mptrj_1k/test.extxyz.gz"] == "mptrj_1k"
    assert len(set(files.values())) == len(files)


def test_the_run_of_a_set_comes_before_that_of_its_head(tmp_path: Path) -> None:
    assert checkpoint_of(tmp_path, CU) is None
    for name in ("pbe_metals", "Cu"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
        assert checkpoint_of(tmp_path, CU) == tmp_path / name / "model.safetensors"
    lithium = SetFile("mlearn/Li_test.extxyz.gz", "pbe_metals")
    assert checkpoint_of(tmp_path, lithium) == tmp_path / "pbe_metals" / "model.safetensors"


def test_the_table_says_what_helped() -> None:
    text = section([row(0.010, 0.020, 0.008), row(0.010, 0.005, None)])
    first, second = (line for line in text.splitlines() if line.startswith("| `mlearn/Cu`"))
    assert first == "| `mlearn/Cu` | –/0.01 | –/0.02 | **–/0.008** | 2.00 |"
    assert second == "| `mlearn/Cu` | –/0.01 | **–/0.005** | – | 0.50 |"
    assert (
        "of 1 files that all three ways have: by itself in 0, all at once in 0, all at once, then trained on in 1"
        in text
    )


def test_each_way_answers_with_the_errors_of_the_card(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = SetFile("mlearn/known_test.extxyz.gz", "pbe_metals")
    monkeypatch.setattr(multi_task, "GROUPS", {"mlearn": dataclasses.replace(GROUPS["mlearn"], files=(test,))})
    for name in ("single/known", "tuned/pbe_metals"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(checkpoint, tmp_path / name / "model.safetensors")
    folders = {way: tmp_path / way for way in ("single", "tuned")}
    (found,) = measure(checkpoint, folders, data, tmp_path)
    expected = errors_of(open_subject(checkpoint, data, tmp_path), test)
    assert set(found["ways"]) == {"single", "multi", "tuned"}
    assert all(way == expected for way in found["ways"].values())
    (alone,) = measure(checkpoint, dict.fromkeys(folders, tmp_path / "nothing"), data, tmp_path)
    assert set(alone["ways"]) == {"multi"}


def test_the_picture_has_a_point_for_each_way() -> None:
    axes = picture([row(0.010, 0.020, 0.008), row(0.010, 0.005, None), row(None, 0.005, None)]).axes[0]
    places = sorted(float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o")
    assert places == pytest.approx([0.5, 0.8, 2.0])
