"""HDF5 trajectories: exact, readable by others at every moment, cut back to a mark, and never torn."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read

from md_workflows import MDSettings, run_md
from md_workflows.frames import Mark, mark_file, rewind_file
from md_workflows.h5_frames import H5Writer, h5_groups, iread_h5, read_h5
from md_workflows.h5_pages import PAGE, PagedFile, journal_of
from md_workflows.snapshot import Snapshot, System


def crystal(repeat: int = 1) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (repeat, 1, 1)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.1, seed=1)
    return atoms


def settings(**other: object) -> MDSettings:
    values = {
        "steps": 20,
        "timestep_fs": 4.0,
        "trajectory_interval": 1,
        "log_interval": 1,
        "state_interval": 5,
        **other,
    }
    return MDSettings(ensemble={"name": "langevin", "temperature_K": 400}, **values)


def frame(number: int, n_atoms: int = 3, group: int = 0) -> Snapshot:
    """A frame whose content follows from its number, so that a reader can tell whether it is whole."""
    random = np.random.default_rng([number, group])
    system = System(np.full(n_atoms, 29), np.full(n_atoms, 63.5), np.ones(3, dtype=bool), "", 3 * n_atoms)
    draw = random.standard_normal
    return Snapshot(system, number, 0.5 * number, draw((n_atoms, 3)), draw((3, 3)), draw((n_atoms, 3)), float(draw()))


def same(one: Snapshot, other: Snapshot) -> bool:
    names = ("positions", "cell", "momenta", "energy")
    values = [(getattr(one, name), getattr(other, name)) for name in names]
    return (one.step, one.time_fs) == (other.step, other.time_fs) and all(np.array_equal(*pair) for pair in values)


def test_a_run_reads_back_to_the_bit(tmp_path: Path) -> None:
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "md.h5")
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "ase.traj")
    ours, theirs = read_h5(tmp_path / "md.h5", ":"), read(tmp_path / "ase.traj", index=":")
    assert len(ours) == len(theirs) == 21
    for one, other in zip(ours, theirs, strict=True):
        for name in ("positions", "numbers", "pbc"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("get_momenta", "get_forces", "get_stress", "get_potential_energy", "get_masses"):
            assert np.array_equal(getattr(one, name)(), getattr(other, name)())
        assert np.array_equal(one.cell.array, other.cell.array)
        assert one.info == other.info
    assert np.array_equal(read_h5(tmp_path / "md.h5", 3).positions, ours[3].positions)
    assert np.array_equal(read_h5(tmp_path / "md.h5").positions, ours[-1].positions)
    assert [one.info["step"] for one in read_h5(tmp_path / "md.h5", "2:9:3")] == [2, 5, 8]


def test_the_layout_is_h5md(tmp_path: Path) -> None:
    """What the standard asks for, read with h5py alone."""
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "md.h5")
    atoms = read_h5(tmp_path / "md.h5", 7)
    with h5py.File(tmp_path / "md.h5") as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert file["h5md/author"].attrs["name"]
        assert {"name", "version"} <= set(file["h5md/creator"].attrs)
        group = file["particles/trajectory"]
        assert group["box"].attrs["dimension"] == 3
        assert group["box"].attrs["boundary"].tolist() == [b"periodic"] * 3
        assert group["species"][()].tolist() == atoms.numbers.tolist()
        for name in ("position", "velocity", "momentum", "forces", "box/edges"):
            element = group[name]
            assert element["value"].shape[0] == 21
            assert element["step"][()].tolist() == list(range(21))
            assert element["time"][()].tolist() == [4.0 * step for step in range(21)]
            assert element["time"].attrs["unit"] == "fs"
            assert element["value"].attrs["unit"]
            assert element["value"].maxshape[0] is None
        assert np.array_equal(group["position/value"][7], atoms.positions)
        assert group["box/edges/value"][7].tolist() == atoms.cell.array.tolist()
        ångström_per_fs = atoms.get_velocities() / 10.180505710774743  # one fs in ASE's unit is 0.0982...
        assert group["velocity/value"][7] == pytest.approx(ångström_per_fs, rel=1e-6)
        energies = file["observables/trajectory/potential_energy/value"]
        assert energies[7] == atoms.get_potential_energy()


def test_constraints_and_masses_and_boundaries_are_kept(tmp_path: Path) -> None:
    atoms = molecule("CH3OH", vacuum=3.0)
    atoms.pbc = [True, False, True]
    atoms.set_masses([13.0, *atoms.get_masses()[1:]])
    atoms.set_constraint(FixAtoms([1]))
    writer = H5Writer(tmp_path / "md.h5")
    writer.write(atoms)
    writer.close()
    back = read_h5(tmp_path / "md.h5")
    assert back.pbc.tolist() == [True, False, True]
    assert back.get_masses().tolist() == atoms.get_masses().tolist()
    assert back.constraints[0].index.tolist() == [1]
    assert back.calc is None
    assert not back.has("momenta")


def test_what_some_frames_do_not_know(tmp_path: Path) -> None:
    """Unknown is unknown, never zero: stress comes with the third frame, forces are missing in the last."""
    writer = H5Writer(tmp_path / "md.h5")
    for number in range(4):
        atoms = crystal()
        results = {"energy": 1.0 * number, "forces": np.full((4, 3), 0.5), "stress": np.arange(6.0)}
        known = ["energy", *(["forces"] if number < 3 else []), *(["stress"] if number == 2 else [])]
        atoms.calc = SinglePointCalculator(atoms, **{name: results[name] for name in known})
        writer.write(atoms)
        if number == 0:
            writer.mark()
    writer.close()
    frames = read_h5(tmp_path / "md.h5", ":")
    assert [sorted(one.calc.results) for one in frames] == [
        ["energy", "forces"],
        ["energy", "forces"],
        ["energy", "forces", "stress"],
        ["energy"],
    ]


def test_many_systems_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "replicas.h5"
    writer = H5Writer(path)
    for number in range(5):
        for group in range(3):
            if number >= group:  # systems that come later
                writer.append(frame(number, 2 + group, group), f"r{group}")
        if number == 2:
            writer.mark()
    writer.close()
    assert h5_groups(path) == {"r0": 5, "r1": 4, "r2": 3}
    for group in range(3):
        read_back = list(iread_h5(path, group=f"r{group}"))
        assert all(same(one, frame(group + i, 2 + group, group)) for i, one in enumerate(read_back))
    again = H5Writer(path)
    again.append(frame(9, 3, 1), "r1")
    again.append(frame(9, 4, 7), "new")
    again.close()
    assert h5_groups(path) == {"new": 1, "r0": 5, "r1": 5, "r2": 3}


def test_rewinding_cuts_frames_and_systems(tmp_path: Path) -> None:
    path = tmp_path / "replicas.h5"
    writer = H5Writer(path)
    for number in range(3):
        writer.append(frame(number), "a")
    mark = writer.mark()
    for number in range(3, 6):
        writer.append(frame(number), "a")
        writer.append(frame(number, 5, 1), "b")
    writer.close()
    assert mark == Mark(mark.size, frames={"a": 3})
    assert json.loads(json.dumps(mark.frames)) == mark.frames
    rewind_file(path, mark)
    assert h5_groups(path) == {"a": 3}
    assert mark_file(path).frames == mark.frames
    writer = H5Writer(path)
    for number in range(3, 8):
        writer.append(frame(number), "a")
    writer.close()
    assert all(same(one, frame(number)) for number, one in enumerate(iread_h5(path)))
    rewind_file(path, Mark(0))
    assert not path.exists()


@pytest.mark.parametrize("how", ["missing", "shorter", "another"])
def test_lost_frames_are_told(how: str, tmp_path: Path) -> None:
    path = tmp_path / "md.h5"
    run_md(crystal(), settings(steps=5), calculator=EMT(), files=path)
    path.unlink()
    if how != "missing":
        writer = H5Writer(path)
        writer.append(frame(0, 4), "trajectory" if how == "shorter" else "other")
        writer.close()
    told = {
        "missing": "has 0 bytes",
        "shorter": "has 1 frames of 'trajectory'",
        "another": "has 0 frames of 'trajectory'",
    }
    with pytest.raises(ValueError, match=f"{told[how]}.*, but the saved state knows of"):
        run_md(crystal(), settings(), calculator=EMT(), files=path, on_existing="restart")


class Killed(BaseException):
    """As a signal would: nothing in the packages catches it."""


@pytest.mark.parametrize("step", [0, 1, 13])
def test_a_restart_gives_the_same_frames(step: int, tmp_path: Path) -> None:
    run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "whole.h5")

    def kill(done: int, total: int | None) -> None:
        if done == step:
            raise Killed

    parts = tmp_path / "parts.h5"
    with pytest.raises(Killed):
        run_md(crystal(), settings(), calculator=EMT(), files=parts, progress=kill)
    run_md(crystal(), settings(), calculator=EMT(), files=parts, on_existing="restart")
    one, other = list(iread_h5(parts)), list(iread_h5(tmp_path / "whole.h5"))
    assert len(one) == len(other) == 21
    assert all(same(a, b) and np.array_equal(a.forces, b.forces) for a, b in zip(one, other, strict=True))


WRITE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_h5_trajectory as made
from md_workflows.h5_frames import H5Writer
path, marks = Path(sys.argv[1]), Path(sys.argv[2])
writer = H5Writer(path)
first = {{f"r{{g}}": 0 for g in range(4)}}
first.update(made.h5_groups(path))
print("ready", flush=True)
for number in range(100_000):
    for group in range(4):
        name = f"r{{group}}"
        writer.append(made.frame(first[name], 2 + 40 * group, group), name)
        first[name] += 1
    if number % 3 == 2:
        counts = writer.mark().frames
        beside = marks.with_suffix(".tmp")
        beside.write_text(made.json.dumps(counts))
        os.replace(beside, marks)
"""


def killed_writes(folder: Path, times: int) -> tuple[int, int]:
    """Kill a writing process again and again; returns how often a frame was torn for h5py alone, and the frames."""
    path, marks = folder / "md.h5", folder / "marks.json"
    code = WRITE.format(tests=str(Path(__file__).parent))
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
    _, frames = killed_writes(tmp_path, 5)
    assert frames > 0


@pytest.mark.slow
def test_killed_while_it_writes_many_times(tmp_path: Path) -> None:
    _, frames = killed_writes(tmp_path, 60)
    assert frames > 1000


def test_a_kill_at_every_moment_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call that changes the disk is the last one once: what is read is the content before, or the one after."""
    reached, at = [0], [10**9]

    def counted(function):  # type: ignore[no-untyped-def] # a test's own wrapper
        def call(*arguments):  # type: ignore[no-untyped-def]
            reached[0] += 1
            if reached[0] > at[0]:
                raise Killed
            return function(*arguments)

        return call

    def torn(file: int, content: memoryview, offset: int) -> int:
        """Half of what was asked for, so that a kill falls into the middle of it as well."""
        return pwrite(file, content[: max(len(content) // 2, 1)] if len(content) > PAGE // 2 else content, offset)

    pwrite = os.pwrite
    patched = {name: counted(getattr(os, name)) for name in ("fsync", "ftruncate")} | {"pwrite": counted(torn)}
    unlink, replace = counted(Path.unlink), counted(Path.replace)
    outcomes = set()
    for moment in range(400):
        path = tmp_path / f"{moment}.h5"
        writer = H5Writer(path)
        for number in range(2):
            writer.append(frame(number), "a")
        writer.mark()
        writer.append(frame(2), "a")
        writer.append(frame(0, 30, 1), "b")
        reached[0], at[0] = 0, moment
        with monkeypatch.context() as patch:
            for name, call in patched.items():
                patch.setattr(f"md_workflows.h5_pages.os.{name}", call)
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: unlink(self, missing_ok))
            patch.setattr(Path, "replace", lambda self, target: replace(self, target))
            try:
                writer.commit()
                finished = True
            except Killed:
                finished = False
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
        if finished:
            break
    assert finished
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


def test_the_file_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "md.h5"
    writer = H5Writer(path)
    for number in range(3):
        writer.append(frame(number))
        writer.mark()
        with h5py.File(path, "r") as file:
            assert file["particles/trajectory/position/value"].shape == (number + 1, 3, 3)
    writer.close()


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


def test_a_write_is_shared_by_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 systems, 20 frames each: one file, one commit, whatever the number of frames."""
    commits = []
    commit = PagedFile.commit
    monkeypatch.setattr(PagedFile, "commit", lambda self: (commits.append(1), commit(self))[1])
    monkeypatch.setattr("md_workflows.h5_frames.SECONDS_UNSEEN", 1e6)
    writer = H5Writer(tmp_path / "md.h5")
    for number in range(20):
        for group in range(100):
            writer.append(frame(number, 4, group), f"r{group}")
    assert not commits
    writer.mark()
    assert len(commits) == 1
    monkeypatch.setattr("md_workflows.h5_frames.BUFFER_BYTES", 5000)
    for number in range(20):
        writer.append(frame(number, 4), "r0")
    assert 3 <= len(commits) <= 6
    writer.close()


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "md.h5"
    with pytest.raises(ValueError, match="no such file"):
        read_h5(path)
    path.write_bytes(b"text" * 1000)
    with pytest.raises(ValueError, match="is no HDF5 trajectory that gfm-ase has written"):
        read_h5(path)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["h5md/creator"] = 1
        file["h5md/creator"].attrs["name"] = "another"
    with pytest.raises(ValueError, match="is no HDF5 trajectory that gfm-ase has written"):
        read_h5(path)
    path.unlink()
    writer = H5Writer(path)
    writer.append(frame(0, 3), "a")
    with pytest.raises(
        ValueError, match=r"is about 3 atoms that keep their order; this frame has other numbers \(4 atoms"
    ):
        writer.append(frame(1, 4), "a")
    with pytest.raises(ValueError, match="cannot be the name of a group"):
        writer.append(frame(1, 4), "a/b")
    writer.close()
    with pytest.raises(ValueError, match="has 1 frames, there is no frame 4"):
        read_h5(path, 4)
    with pytest.raises(ValueError, match="has no group 'b'; there are a"):
        read_h5(path, group="b")
    writer = H5Writer(path)
    writer.append(frame(0, 3), "b")
    writer.close()
    with pytest.raises(ValueError, match=r"has 2 groups \(a, b\); name the one to read"):
        read_h5(path)
    with pytest.raises(ValueError, match="does not tell its degrees of freedom"):
        atoms = crystal()
        atoms.set_constraint(Odd())
        System.of(atoms)


class Odd:
    """A constraint that says nothing about itself."""

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None: ...
    def adjust_forces(self, atoms: Atoms, forces: np.ndarray) -> None: ...


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "old.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"HDF5 needs the extra: pip install gfm-ase\[hdf5\]"):
        read_h5(tmp_path / "old.h5")
    monkeypatch.setattr("md_workflows.frames.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"HDF5 needs the extra: pip install gfm-ase\[hdf5\]"):
        run_md(crystal(), settings(), calculator=EMT(), files=tmp_path / "md.h5")
