"""The version is stated once, and the changelog knows it."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import gfm_ase

ROOT = Path(__file__).resolve().parents[2]


def out_of_order(changelog: str) -> list[str]:
    """Entries marked [Breaking] that come after one that is not, in the same list."""
    found, calm = [], False
    for line in changelog.splitlines():
        if line.startswith("#"):
            calm = False
        elif line.startswith("- [Breaking]") and calm:
            found.append(line)
        elif line.startswith("- "):
            calm = calm or not line.startswith("- [Breaking]")
    return found


def test_the_version_is_stated_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert "version" in project["dynamic"]
    rooms = ("gfm_ase", "potentials", "train", "md_workflows")
    stated = [
        str(file.relative_to(ROOT))
        for room in rooms
        for file in (ROOT / room).rglob("*.py")
        if re.search(r"^__version__\s*[:=]", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert stated == ["gfm_ase/_version.py"]


def test_the_installed_distribution_has_it() -> None:
    """After a new version `make test` installs anew: the environment depends on the file that states it."""
    assert metadata.version("gfm-ase") == gfm_ase.__version__


def test_the_changelog_has_an_entry_for_it() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(?P<version>[^]]+)\] - (unreleased|\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest["version"] == gfm_ase.__version__


def test_breaking_changes_come_first_in_each_list() -> None:
    assert out_of_order((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("changelog", "wrong"),
    [
        ("### Changed\n- [Breaking] a\n- b\n", []),
        ("### Changed\n- b\n- [Breaking] a\n", ["- [Breaking] a"]),
        ("### Added\n- b\n### Changed\n- [Breaking] a\n", []),
    ],
)
def test_a_late_breaking_change_is_seen(changelog: str, wrong: list[str]) -> None:
    assert out_of_order(changelog) == wrong
