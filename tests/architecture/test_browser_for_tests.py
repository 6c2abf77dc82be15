"""`scripts/browser-for-tests`: installs chromium where it may, says so where it cannot, and never fails."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/browser-for-tests"
SKIPPED = "No chromium with chromedriver: the tests of pages will be skipped."
APT = """#!/bin/sh
echo "$@" >>"{folder}/asked"
[ "$1" = install ] || exit 0
for name in {installs}; do
    printf '#!/bin/sh\\n' >"{folder}/$name"
    chmod +x "{folder}/$name"
done
"""


def run(folder: Path, *, user: int, installs: str = "", has: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """What apt-get was asked for and what was said, on a machine that holds nothing but what is given."""
    scripts = dict.fromkeys(has, "#!/bin/sh\n")
    scripts |= {"id": f"#!/bin/sh\necho {user}\n", "apt-get": APT.format(folder=folder, installs=installs)}
    scripts["timeout"] = '#!/bin/sh\nshift\nexec "$@"\n'
    scripts["chmod"] = '#!/bin/sh\nexec /bin/chmod "$@"\n'
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    done = subprocess.run(["/bin/sh", SCRIPT], env={"PATH": str(folder)}, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    asked = folder / "asked"
    return asked.read_text().splitlines() if asked.exists() else [], done.stderr.splitlines()


@pytest.mark.parametrize("user", [0, 1000])
def test_a_browser_that_is_there_stays(tmp_path: Path, user: int) -> None:
    assert run(tmp_path, user=user, has=("chromium", "chromedriver")) == ([], [])


def test_root_gets_a_browser(tmp_path: Path) -> None:
    asked, said = run(tmp_path, user=0, installs="chromium chromedriver")
    assert asked == ["update", "install -y --no-install-recommends chromium chromium-driver"]
    assert said == ["Installing chromium and chromium-driver for the tests of pages ..."]


def test_where_the_packages_are_not_to_be_had_that_is_said(tmp_path: Path) -> None:
    asked, said = run(tmp_path, user=0, has=("chromium",))
    assert len(asked) == 2
    assert said[-1] == SKIPPED


def test_others_than_root_install_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, user=1000) == ([], [SKIPPED])
