"""The journal: a row is there or not, JSON and CSV agree, and it can be rewound."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from train import journal as journals
from train.journal import Journal, flatten, read_journal, write_json


def row(epoch: int, **more: Any) -> dict[str, Any]:
    return {"step": 10 * epoch, "epoch": epoch, "train_loss": 1 / epoch, "valid": {"emt": {"mae": 0.5}}, **more}


def test_rows_in_json_and_csv(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert not list(tmp_path.iterdir())
    journal.append(row(1))
    journal.append(row(2, valid_loss=None, extra={"a": {"b": 3}}))
    assert read_journal(tmp_path / "journal.jsonl") == [row(1), row(2, valid_loss=None, extra={"a": {"b": 3}})]
    with (tmp_path / "journal.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["epoch"] for line in table] == ["1", "2"]
    assert float(table[0]["train_loss"]) == 1.0
    assert table[1]["valid/emt/mae"] == "0.5"
    assert [line["extra/a/b"] for line in table] == ["", "3"]
    assert table[1]["valid_loss"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.csv", "journal.jsonl"]


def test_a_last_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(row(1))
    with journal.path.open("a") as file:
        file.write('{"step": 20, "epo')
    assert read_journal(journal.path) == [row(1)]
    journal.rewind(1)
    journal.append(row(2))
    assert read_journal(journal.path) == [row(1), row(2)]


def test_rewinding_forgets_rows_of_later_epochs(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for epoch in (1, 2, 3):
        journal.append(row(epoch))
    journal.rewind(2)
    assert read_journal(journal.path) == [row(1), row(2)]
    with journal.table.open(newline="") as file:
        assert [line["epoch"] for line in csv.DictReader(file)] == ["1", "2"]
    journal.rewind(0)
    assert read_journal(journal.path) == []


def test_rewinding_where_there_is_none(tmp_path: Path) -> None:
    Journal(tmp_path).rewind(0)
    assert read_journal(tmp_path / "journal.jsonl") == []


def test_flat_names() -> None:
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": "x"}}, "f": {}}) == {"a": 1, "b/c": 2, "b/d/e": "x"}


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    write_json(path, {"emt": 1.0})
    with pytest.raises(TypeError):
        write_json(path, {"emt": object()})
    assert json.loads(path.read_text()) == {"emt": 1.0}
    assert list(tmp_path.iterdir()) == [path]


def test_no_half_file_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "errors.json"
    write_json(path, {"emt": 1.0})

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"emt": 2.0})
    assert json.loads(path.read_text()) == {"emt": 1.0}
    assert list(tmp_path.iterdir()) == [path]


def test_tensorboard_shows_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is the extra `track`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = Journal(tmp_path, tensorboard=True)
    assert not list(tmp_path.iterdir())
    journal.append(row(1, valid_loss=None))
    journal.append(row(2, valid_loss=0.25))
    journal.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [(10, 1.0), (20, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("valid_loss")] == [(20, 0.25)]
    assert [event.value for event in events.Scalars("valid/emt/mae")] == [0.5, 0.5]


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"log\.tensorboard = true needs the extra: pip install gfm-ase\[track\]"):
        journals.Journal(tmp_path, tensorboard=True)
    assert not list(tmp_path.iterdir())
