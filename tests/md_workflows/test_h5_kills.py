"""HDF5 trajectories are never torn: kills at random, at every moment of a commit, full disks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from md_workflows.h5_frames import H5Writer, h5_groups, iread_h5
from md_workflows.h5_pages import PAGE, PagedFile, journal_of
from tests.md_workflows.numbered_frames import frame, same


class Killed(BaseException):
    """As a signal would: nothing in the packages catches it."""


WRITE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import json
from tests.md_workflows.numbered_frames import frame
from md_workflows.h5_frames import H5Writer, h5_groups
path, marks = Path(sys.argv[1]), Path(sys.argv[2])
writer = H5Writer(path)
first = {{f"r{{g}}": 0 for g in range(4)}}
first.update(h5_groups(path))
print("ready", flush=True)
for number in range(100_000):
    for group in range(4):
        name = f"r{{group}}"
        writer.append(frame(first[name], 2 + 40 * group, group), name)
        first[name] += 1
    if number % 3 == 2:
        counts = writer.mark().frames
        beside = marks.with_suffix(".tmp")
        beside.write_text(json.dumps(counts))
        os.replace(beside, marks)
"""


def killed_writes(folder: Path, times: int) -> tuple[int, int]:
    """Kill a writing process again and again; returns how often a frame was torn for h5py alone, and the frames."""
    path, marks = folder / "md.h5", folder / "marks.json"
    code = WRITE.format(root=str(Path(__file__).parents[2]))
    random = np.random.default_rng(0)
    journals = 0
    for _ in range(times):
        process = subprocess.Popen([sys.executable, "-c", code, path, marks], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.uniform(0.0, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        known = json.loads(marks.read_text()) if marks.exists() else {}
        journals += journal_of(path).exists()
        if not journal_of(path).exists() and known:
            with h5py.File(path, "r") as file:  # as any other program reads it
                for name, count in known.items():
                    assert file[f"particles/{name}/position/value"].shape[0] >= count
        there = h5_groups(path) if path.exists() and path.stat().st_size else {}
        for name, count in known.items():
            assert there[name] >= count, "a frame of a mark was lost"
        for name, count in there.items():
            group = int(name[1:])
            for number in {0, count // 2, count - 3, count - 2, count - 1} & set(range(count)):
                (one,) = iread_h5(path, slice(number, number + 1), name)
                assert same(one, frame(number, 2 + 40 * group, group))
    return journals, sum(there.values())


def test_killed_while_it_writes(tmp_path: Path) -> None:
    _, frames = killed_writes(tmp_path, 3)
    assert frames > 0


@pytest.mark.slow
def test_killed_while_it_writes_many_times(tmp_path: Path) -> None:
    _, frames = killed_writes(tmp_path, 60)
    assert frames > 1000


class Disk:
    """Lets `left` calls through that change the disk, then kills."""

    def __init__(self) -> None:
        self.left = 0

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not self.left:
                raise Killed
            self.left -= 1
            return function(*arguments, **named)

        return call


def half(file: int, content: memoryview, offset: int) -> int:
    """Half of what was asked for, so that a kill falls into the middle of it as well."""
    return os.pwrite(file, content[: max(len(content) // 2, 1)] if len(content) > PAGE // 2 else content, offset)


def patch_disk(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    written = disk.counted(half)
    calls = {"fsync": os.fsync, "ftruncate": os.ftruncate}
    kept = os.pwrite
    patch.setattr("md_workflows.h5_pages.os", _Os({name: disk.counted(one) for name, one in calls.items()}, written))
    for name in ("unlink", "replace"):
        patch.setattr(Path, name, disk.counted(getattr(Path, name)))
    assert os.pwrite is kept


class _Os:
    """The module os with some functions of our own."""

    def __init__(self, calls: dict[str, Callable[..., Any]], pwrite: Callable[..., Any]) -> None:
        self._calls = {**calls, "pwrite": pwrite}

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(os, name)


def test_a_kill_at_every_moment_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call that changes the disk is the last one once: what is read is the content before, or the one after."""
    disk, outcomes, finished, moment = Disk(), set(), False, 0
    while not finished:
        path = tmp_path / f"{moment}.h5"
        writer = H5Writer(path)
        for number in range(2):
            writer.append(frame(number), "a")
        writer.mark()
        writer.append(frame(2), "a")
        writer.append(frame(0, 30, 1), "b")
        disk.left = moment
        with monkeypatch.context() as patch:
            patch_disk(patch, disk)
            try:
                writer.commit()
                finished = True
            except Killed:
                moment += 1
        writer.close()  # writes nothing after a commit that failed; its memory would be gone with the process
        outcomes.add(counts := tuple(h5_groups(path).items()))
        assert counts in {(("a", 2),), (("a", 3), ("b", 1))}
        again = H5Writer(path)  # the one that goes on repairs the file itself
        again.append(frame(counts[0][1]), "a")
        again.close()
        assert not journal_of(path).exists()
        with h5py.File(path, "r") as file:
            assert file["particles/a/position/step"][()].tolist() == list(range(counts[0][1] + 1))
        assert all(same(one, frame(number)) for number, one in enumerate(iread_h5(path, group="a")))
    assert len(outcomes) == 2
    assert moment > 8


def test_a_journal_that_is_cut_short_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "md.h5"
    writer = H5Writer(path)
    writer.append(frame(0))
    writer.close()
    before = path.read_bytes()
    journal_of(path).write_bytes(b"gfm-ase pages 1\n" + b"\1" * 100)
    assert len(list(iread_h5(path))) == 1
    H5Writer(path).close()
    assert not journal_of(path).exists()
    assert len(list(iread_h5(path))) == 1
    path.unlink()
    journal_of(path).write_bytes(before)
    H5Writer(path).close()
    assert h5_groups(path) == {}


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "md.h5"
    writer = H5Writer(path)
    writer.append(frame(0))
    writer.mark()
    writer.append(frame(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("md_workflows.h5_pages._write_runs", full)
        with pytest.raises(OSError, match="No space left"):
            writer.mark()
    writer.close()
    assert len(list(iread_h5(path))) == 1


def test_pages_are_a_file(tmp_path: Path) -> None:
    """Random reads, writes and truncations against a bytearray, with commits in between."""
    random = np.random.default_rng(1)
    path = tmp_path / "pages"
    file, truth = PagedFile(path, write=True), bytearray()
    for _ in range(400):
        place, length = (int(n) for n in random.integers(0, 5 * PAGE, 2))
        what = random.random()
        if what < 0.5:
            content = random.bytes(length)
            file.seek(place)
            assert file.write(memoryview(content)) == length
            truth.extend(bytes(max(place + length - len(truth), 0)))
            truth[place : place + length] = content
        elif what < 0.55:
            truth = truth[:place].ljust(place, b"\0")
            file.truncate(place)
        elif what < 0.7:
            file.commit()
            assert path.read_bytes() == truth
        else:
            file.seek(place)
            assert file.read(length) == bytes(truth[place : place + length]).ljust(length, b"\0")
            assert file.tell() == place + length
    file.close()
