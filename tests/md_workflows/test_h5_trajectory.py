"""HDF5 trajectories: exact, readable by others at every moment, cut back to a mark."""

import json
import sys
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

from md_workflows import MDSettings, read_structure, run_md
from md_workflows.frames import Mark, mark_file, rewind_file
from md_workflows.h5_frames import H5Writer, h5_groups, iread_h5, read_h5
from md_workflows.h5_pages import PagedFile
from md_workflows.snapshot import System
from tests.md_workflows.numbered_frames import frame, same


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
        in_fs = atoms.get_velocities() / 10.180505710774743  # one fs in ASE's unit is 0.0982...
        assert group["velocity/value"][7] == pytest.approx(in_fs, rel=1e-6)
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


def test_the_file_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "md.h5"
    writer = H5Writer(path)
    for number in range(3):
        writer.append(frame(number))
        writer.mark()
        with h5py.File(path, "r") as file:
            assert file["particles/trajectory/position/value"].shape == (number + 1, 3, 3)
    writer.close()


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
    atoms = crystal()
    atoms.set_constraint(Odd())
    with pytest.raises(ValueError, match="does not tell its degrees of freedom"):
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


def test_one_frame_as_a_structure(tmp_path: Path) -> None:
    run_md(crystal(), settings(steps=3), calculator=EMT(), files=tmp_path / "md.h5")
    assert read_structure(tmp_path / "md.h5", 2).info["step"] == 2
    with pytest.raises(ValueError, match="has 4 frames, there is no frame 9"):
        read_structure(tmp_path / "md.h5", 9)
