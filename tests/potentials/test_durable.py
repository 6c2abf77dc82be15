"""A file is the old one or the new one, whatever happens in between."""

from pathlib import Path

import pytest

from potentials.durable import replaced


def test_the_new_one_takes_the_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("one", "two"):
        with replaced(path) as beside:
            beside.write_text(text)
            assert beside != path
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with replaced(path) as beside:
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / ".file.tmp").mkdir()
    (tmp_path / ".file.tmp" / ".tmp4dZQ").write_text("half")
    with replaced(path) as beside:
        beside.write_text("new")
    assert list(tmp_path.iterdir()) == [path]
