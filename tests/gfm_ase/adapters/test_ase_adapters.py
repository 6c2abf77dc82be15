"""ASE's command line and databases with our calculator; imports of packages that are not there."""

import subprocess
import sys
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from safetensors import safe_open

from gfm_ase import GFMCalculator
from gfm_ase.adapters import ase_command
from gfm_ase.adapters.ase_database import checkpoint_keys, store
from gfm_ase.adapters.foreign import foreign


def test_ase_run(two_heads: Path, alloy: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("alloy.traj", alloy)
    (tmp_path / "model.safetensors").write_bytes(two_heads.read_bytes())
    for _ in range(2):  # registered once
        ase_command.main(["run", "gfm", "alloy.traj", "-p", "checkpoint=model.safetensors,head=emt", "-o", "out.db"])
    first, second = ase.db.connect("out.db").select()
    alloy.calc = GFMCalculator(two_heads, head="emt", device="cpu")
    assert first.energy == second.energy == alloy.get_potential_energy()
    assert np.array_equal(first.forces, alloy.get_forces())
    assert np.array_equal(first.stress, alloy.get_stress())
    assert first.calculator == "gfm"
    assert first.calculator_parameters == checkpoint_keys(two_heads, "emt")


def test_ase_run_relaxes(one_head: Path, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "copper.extxyz", bulk("Cu", cubic=True) * (2, 1, 1))
    (tmp_path / "model.safetensors").write_bytes(one_head.read_bytes())
    command = [sys.executable, "-m", "gfm_ase.adapters.ase_command", "run", "gfm", "copper.extxyz"]
    done = subprocess.run(
        [*command, "-p", "checkpoint=model.safetensors", "-f", "0.5", "-o", "end.extxyz"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    end = ase.io.read(tmp_path / "end.extxyz")
    assert np.linalg.norm(end.get_forces(), axis=1).max() < 0.5


def test_rows_say_where_they_come_from(two_heads: Path, alloy: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    rows = store(path, [bulk("Cu"), alloy], two_heads, keys={"source": "test"}, head="emt", device="cpu")
    assert rows == [1, 2]
    with safe_open(two_heads, framework="pt") as file:
        digest = file.metadata()["gfm_ase_sha256"]
    found = ase.db.connect(path).get(f"checkpoint=sha256-{digest[:16]},head=emt,Al")
    assert found.source == "test"
    alloy.calc = GFMCalculator(two_heads, head="emt", device="cpu")
    assert found.energy == alloy.get_potential_energy()
    assert np.array_equal(found.forces, alloy.get_forces())
    assert np.array_equal(found.stress, alloy.get_stress())
    shown = subprocess.run(
        [sys.executable, "-m", "ase", "db", path, "head=emt", "-c", "formula,energy,fmax,head,checkpoint"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"sha256-{digest[:16]}" in shown
    assert "Rows: 2" in shown


def test_a_failure_leaves_no_rows(two_heads: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    with pytest.raises(ValueError, match="head 'emt' has never seen Fe"):
        store(path, [bulk("Cu"), bulk("Fe")], two_heads, head="emt", device="cpu")
    assert not path.exists() or len(ase.db.connect(path)) == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"this adapter needs no_such_thing: pip install 'gfm-ase\[torch-sim\]'"):
        foreign("no_such_thing.models", "torch-sim")


def test_what_a_package_itself_lacks_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        foreign("broken_package", "x")
