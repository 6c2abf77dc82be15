"""A browser for the tests of pages, started once, with a sample page open in it; a folder for those of commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from gfm_ase.commands import calculator
from tests.md_workflows.browser import Browser, browser
from tests.md_workflows.sample_page import write_sample


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def page(chromium: Browser, sample: Path) -> Iterator[Browser]:
    """The sample page, newly opened; afterwards nothing was complained of and nothing was fetched."""
    chromium.open(sample)
    yield chromium
    assert chromium.complaints() == []
    assert chromium.js("performance.getEntriesByType('resource').length") == 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint that is EMT, and two structures of copper."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calculator, "build_calculator", lambda *_: EMT())
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    write(tmp_path / "cu.extxyz", [bulk("Cu"), atoms])
    return tmp_path
