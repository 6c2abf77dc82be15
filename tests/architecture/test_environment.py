"""`make test` on a fresh clone: which PyTorch is installed, and what is said when Python will not do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAIN = "install torch==2.13.0"
FROM_OWN_INDEX = "install torch==2.13.0+cpu"
FROM_PYTORCH = "install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"

# Stands for the environment's Python: has torch or not, and records what pip is asked for.
FAKE_PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then exit $NO_TORCH; fi
shift 2
request=$(echo "$*" | sed 's/ --quiet//g; s/ --disable-pip-version-check//')
echo "$request" >>"$LOG"
for refused in "$REFUSED" "$REFUSED_TOO"; do
    if [ "$request" = "$refused" ]; then echo "pip: no such wheel" >&2; exit 1; fi
done
"""
GPU = "#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\n"
NO_GPU = "#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate with the driver.'\nexit 9\n"


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    return subprocess.run(
        list(map(str, command)), env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


def install_torch(
    folder: Path, *, smi: str = NO_GPU, torch: bool = False, refused: tuple[str, str] = ("", "")
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """What pip was asked for, and what was said, with the given answer of nvidia-smi."""
    executable(folder / "nvidia-smi", smi)
    fake = executable(folder / "python", FAKE_PYTHON)
    log = folder / "log"
    log.touch()
    done = run(
        ROOT / "scripts/install-torch",
        fake,
        PATH=f"{folder}:{os.environ['PATH']}",
        NO_TORCH="0" if torch else "1",
        LOG=str(log),
        REFUSED=refused[0],
        REFUSED_TOO=refused[1],
    )
    return log.read_text().splitlines(), done


def test_a_torch_that_is_there_stays(tmp_path: Path) -> None:
    asked, done = install_torch(tmp_path, torch=True)
    assert (asked, done.returncode, done.stderr) == ([], 0, "")


def test_with_a_gpu_the_plain_wheel_is_installed(tmp_path: Path) -> None:
    asked, done = install_torch(tmp_path, smi=GPU)
    assert (asked, done.returncode) == ([PLAIN], 0)
    assert "for the GPU that nvidia-smi lists" in done.stderr


def test_without_a_gpu_the_cpu_wheel_of_ones_own_index_comes_first(tmp_path: Path) -> None:
    asked, done = install_torch(tmp_path)
    assert (asked, done.returncode) == ([FROM_OWN_INDEX], 0)
    assert "for the CPU, as no GPU is listed" in done.stderr


def test_without_it_the_cpu_wheel_comes_from_pytorch(tmp_path: Path) -> None:
    asked, done = install_torch(tmp_path, refused=(FROM_OWN_INDEX, ""))
    assert (asked, done.returncode) == ([FROM_OWN_INDEX, FROM_PYTORCH], 0)


def test_at_last_the_plain_wheel_with_a_sentence(tmp_path: Path) -> None:
    asked, done = install_torch(tmp_path, refused=(FROM_OWN_INDEX, FROM_PYTORCH))
    assert (asked, done.returncode) == ([FROM_OWN_INDEX, FROM_PYTORCH, PLAIN], 0)
    assert "installing the plain one, which is larger and works as well" in done.stderr


def test_what_fails_for_good_shows_what_pip_says(tmp_path: Path) -> None:
    asked, done = install_torch(tmp_path, smi=GPU, refused=(PLAIN, ""))
    assert asked == [PLAIN]
    assert done.returncode != 0
    assert "pip: no such wheel" in done.stderr


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("#!/bin/sh\nexit 127\n", "needs Python 3.11 or newer, and '{python}' does not run: name one"),
        (
            '#!/bin/sh\ncase "$2" in *print*) echo 3.9;; *exit*) exit 1;; esac\n',
            "needs Python 3.11 or newer, and '{python}' is 3.9: name one, as in 'PYTHON=python3.12",
        ),
        (
            '#!/bin/sh\ncase "$2" in *print*) echo 3.11;; *ensurepip*) exit 1;; esac\n',
            "cannot make virtual environments: install its venv module (Debian and Ubuntu: apt install",
        ),
    ],
    ids=["does not run", "too old", "no venv"],
)
def test_a_python_that_will_not_do_gets_one_sentence(tmp_path: Path, python: str, message: str) -> None:
    fake = executable(tmp_path / "python", python)
    done = run(ROOT / "scripts/environment", fake, tmp_path / "venv")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert message.format(python=fake) in done.stderr
    assert not (tmp_path / "venv").exists()


def test_make_reuses_the_environment_and_refuses_to_ignore_another_python(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / ".ready").touch()
    without_python = dict.fromkeys(("MAKEFLAGS", "MAKELEVEL"), "") | {"VENV": str(venv), "LC_ALL": "C"}
    again = run("make", "environment", **without_python)
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout
    same = run("make", "environment", f"PYTHON={sys.executable}", **without_python)
    assert same.returncode == 0, same.stderr
    other = executable(tmp_path / "python", "#!/bin/sh\necho 3.99\n")
    refused = run("make", "environment", f"PYTHON={other}", **without_python)
    assert refused.returncode != 0
    assert f"{venv} is of another Python than {other}: make clean, or give VENV=" in refused.stderr
