"""`import gfm_ase`: light, lazy, and never with somebody else's `potentials`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gfm_ase

ROOT = Path(__file__).resolve().parents[2]
IMPORT = "import gfm_ase"


def python(code: str, *path: Path, alone: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that looks for modules in `path` first, or there `alone`."""
    flags = ["-P", "-S"] if alone else ["-P"]  # -P: not in the working directory; -S: not in site-packages
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, *flags, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    return folder


def distribution(folder: Path, name: str, package_name: str) -> None:
    """What pip leaves beside a package: its name, and the list of its files."""
    info = folder / f"{name}-0.4.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.4.1\n")
    (info / "RECORD").write_text(f"{package_name}/__init__.py,,\n")
    (info / "top_level.txt").write_text(f"{package_name}\n")


def installed(folder: Path, *rooms: str) -> Path:
    """A folder like site-packages: `gfm_ase` with empty rooms beside it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gfm_ase", folder / "gfm_ase", ignore=ignored)
    for room in rooms:
        package(folder, room)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return installed(tmp_path / "site", "potentials", "train", "md_workflows")


def test_import_alone_brings_no_torch() -> None:
    done = python(f"{IMPORT}, sys; assert 'torch' not in sys.modules; print(gfm_ase.__version__)", ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == gfm_ase.__version__


def test_the_command_line_answers_without_torch() -> None:
    code = """
import sys
from gfm_ase.cli import main
sys.argv = ["gfm-ase", "--help"]
try:
    main()
except SystemExit as done:
    assert done.code in (None, 0), done.code
assert "torch" not in sys.modules
"""
    done = python(code, ROOT)
    assert done.returncode == 0, done.stderr
    assert "gfm-ase" in done.stdout


@pytest.mark.parametrize("name", gfm_ase.__all__)
def test_every_export_is_there(name: str) -> None:
    assert getattr(gfm_ase, name) is not None
    assert name in dir(gfm_ase)


def test_an_unknown_name_says_what_is_there() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'GFMcalculator'; it has GFMCalculator, .*load"):
        gfm_ase.GFMcalculator  # noqa: B018 - the access is the test


def test_a_data_folder_with_a_room_s_name_does_no_harm(site: Path, tmp_path: Path) -> None:
    (tmp_path / "work" / "train").mkdir(parents=True)
    done = python(IMPORT, tmp_path / "work", site, alone=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("room", ["potentials", "train", "md_workflows"])
def test_a_package_of_the_same_name_in_front_is_refused(room: str, tmp_path: Path) -> None:
    other = package(tmp_path / "other", room)
    done = python(IMPORT, other, ROOT)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: gfm_ase needs its own package '{room}' from {ROOT}, but Python finds")
    assert str(other / room) in last
    assert "belongs to no installed distribution: uninstall or rename it" in last


def test_the_distribution_that_owns_the_other_package_is_named(tmp_path: Path) -> None:
    other = package(tmp_path / "other", "potentials")
    distribution(other, "potentials", "potentials")
    done = python(IMPORT, other, ROOT)
    assert done.returncode != 0
    assert "which belongs to the distribution 'potentials'" in done.stderr


def test_a_package_that_is_already_imported_is_seen_too(tmp_path: Path) -> None:
    other = package(tmp_path / "other", "potentials")
    done = python(f"import sys; sys.path.insert(0, {str(other)!r}); import potentials; {IMPORT}", ROOT)
    assert done.returncode != 0
    assert f"but Python finds {other / 'potentials'}" in done.stderr


def test_a_distribution_unpacked_among_our_files_is_refused(site: Path) -> None:
    distribution(site, "potentials", "potentials")
    done = python(IMPORT, site, alone=True)
    assert done.returncode != 0
    assert "The distribution 'potentials' has written its files among gfm_ase's" in done.stderr
    assert "`pip uninstall potentials`" in done.stderr


def test_a_data_folder_in_place_of_a_room_is_refused(tmp_path: Path) -> None:
    site = installed(tmp_path / "site", "potentials", "md_workflows")
    (tmp_path / "work" / "train").mkdir(parents=True)
    done = python(IMPORT, tmp_path / "work", site, alone=True)
    assert done.returncode != 0
    assert f"but Python finds {tmp_path / 'work' / 'train'}" in done.stderr


def test_a_missing_room_is_named(tmp_path: Path) -> None:
    site = installed(tmp_path / "site", "potentials", "md_workflows")
    done = python(IMPORT, site, alone=True)
    assert done.returncode != 0
    assert "needs its own package 'train' and Python finds none: run `pip install --force-reinstall" in done.stderr
