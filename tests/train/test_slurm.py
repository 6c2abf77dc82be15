"""A real Slurm stops a training by its time limit, requeues it, and it ends as if nothing had been."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "slurm_here"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_requeued() -> None:
    missing = [name for name in ("slurmctld", "slurmd", "munged", "ip", "unshare") if not shutil.which(name)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}; scripts/slurm_here --install gets Slurm with apt")
    done = subprocess.run(
        [str(SCRIPT)], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended with code 75; back into the queue" in done.stdout
    assert "COMPLETED, restarts " in done.stdout
    assert "the same weights to the bit" in done.stdout


def test_without_a_right_to_it(tmp_path: Path) -> None:
    """The script says what is missing, and leaves nothing."""
    if os.geteuid() == 0:
        pytest.skip("root may do all; this is what others get to read")
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "needs root" in done.stderr
