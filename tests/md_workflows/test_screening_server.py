"""A table on a PostgreSQL server, one that the tests start themselves."""

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ase.build import bulk

from md_workflows import ScreenFiles, ScreenSettings, Unreadable, screen
from md_workflows.screening.table import Table
from tests.md_workflows.screening_samples import DENSEST, CountingFactory, asked
from tests.md_workflows.test_screening_table import RELAX, computed, metals


@pytest.fixture
def factory(tmp_path: Path) -> CountingFactory:
    return CountingFactory(tmp_path / "log")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a PostgreSQL server of our own, in a temporary folder, which speaks through a socket there."""
    programs = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    found = shutil.which("initdb")
    home = programs[-1] if programs else Path(found).parent if found else None
    if home is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        yield from serve(home, Path(folder))


def serve(home: Path, folder: Path) -> Iterator[str]:
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to be root
        if (
            shutil.which("runuser") is None
            or subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode
        ):
            pytest.skip("root cannot run PostgreSQL, and there is no user postgres to do so")
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    user = "postgres" if as_user else getpass.getuser()
    data = folder / "data"
    subprocess.run(
        [*as_user, home / "initdb", "-D", data, "-A", "trust", "-N"], check=True, capture_output=True, cwd="/"
    )
    options = f"-k {folder} -c listen_addresses='' -F"
    control = [*as_user, home / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, cwd="/")
    try:
        yield f"postgresql://{user}@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd="/")


def test_a_table_on_a_server(server: str, tmp_path: Path, factory: CountingFactory) -> None:
    nan = bulk("Cu", cubic=True)
    nan.positions[0, 0], nan.info["name"] = float("nan"), "nan"
    items = [*metals(), ("Cu again", metals()[0][1]), ("nan", nan), ("bad", Unreadable("cut"))]
    settings = ScreenSettings(RELAX, (asked(sample=DENSEST),))
    here = screen(items, tmp_path / "here", settings, engine=factory())
    computed(factory)
    files = ScreenFiles.beside(tmp_path / "there", table=server)
    there = screen(items, files, settings, engine=factory())
    assert computed(factory) == ["Cu", "Ni", "Al", "nan", "Cu", "Ni", "Al"]
    for one, other in zip(here.rows, there.rows, strict=True):
        assert replace(one, wall_time=0.0) == replace(other, wall_time=0.0)
    assert (tmp_path / "here.extxyz").read_bytes() == (tmp_path / "there.extxyz").read_bytes()
    assert not (tmp_path / "there.db").exists()
    assert screen(items, files, settings, engine=factory()).resumed == 6
    assert computed(factory) == []
    other = ScreenFiles.beside(tmp_path / "other", table=server)  # another screening in the same database
    assert screen(items, other, settings, engine=factory()).resumed == 0
    screen(items, other, settings, engine=factory(), resume=False)
    computed(factory)
    assert screen(items, files, settings, engine=factory()).resumed == 6


def test_two_on_a_server_are_refused(server: str, tmp_path: Path) -> None:
    table = Table(server, "one")
    with pytest.raises(ValueError, match="is in use by another screening"):
        Table(server, "two")
    table.close()
    Table(server, "two").close()
    with pytest.raises(ValueError, match=r"the PostgreSQL server refuses: .*nowhere"):
        Table(server.replace("/postgres?", "/nowhere?"), "three")
