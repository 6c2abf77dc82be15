"""A browser for the tests of pages, started once, and a sample page that is open in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
