"""Hostile data, broken files, dark and narrow windows: the page in headless Chromium, with the network off."""

from pathlib import Path

import pytest
from ase.build import bulk

from md_workflows.page import PageSettings, write_page
from md_workflows.properties.base import Column
from tests.md_workflows.browser import Browser, pixels
from tests.md_workflows.sample_page import SALT

ATTACKS = (
    "<script>window.attacked = 1</script>",
    "</script><script>window.attacked = 1</script>",
    "<img src=x onerror='window.attacked = 1'>",
    '"><svg onload=window.attacked=1>',
    "<!--<script>",
    "javascript:window.attacked=1 é \u202e \u0000 😀",
)


def test_no_text_of_the_data_becomes_code(chromium: Browser, tmp_path: Path) -> None:
    columns = [Column("identifier", ATTACKS[0]), *(Column(attack, attack) for attack in ATTACKS), Column("status", "")]
    rows = [{"identifier": a, **dict.fromkeys(ATTACKS, a), "status": a} for a in ATTACKS]
    curve = {attack: ([0.0, 1.0], [1.0, 0.0]) for attack in ATTACKS}
    axes = {attack: (attack, attack) for attack in ATTACKS}
    write_page(
        tmp_path / "page.html", ATTACKS[1], columns, rows, lambda _: dict.fromkeys(ATTACKS, bulk("Cu")),
        curves=lambda _: curve, settings=PageSettings(about=ATTACKS[2], curve_axes=axes),
    )  # fmt: skip
    chromium.open(tmp_path / "page.html")
    for attack in ATTACKS:
        chromium.run(
            "document.querySelector('#table-port').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown'}))"
        )
        chromium.filter(attack)
    chromium.filter("")
    names = chromium.js("[...document.querySelectorAll('#table td:first-child')].map(td => td.textContent)")
    assert names == list(ATTACKS)
    assert chromium.text("#title") == ATTACKS[1]
    assert chromium.js("window.attacked") is None
    assert chromium.js("document.querySelectorAll('main img, main svg, main script').length") == 0
    assert chromium.complaints() == []


def test_the_same_attack_succeeds_on_a_page_that_escapes_nothing(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><p>{ATTACKS[0]}</p>")
    chromium.open(tmp_path / "page.html", ready=False)
    assert chromium.js("window.attacked") == 1


def test_the_page_may_fetch_nothing(chromium: Browser, sample: Path) -> None:
    chromium.open(sample)
    attempt = "new Promise(done => fetch('data:text/plain,a').then(() => done('fetched'), () => done('refused')))"
    assert chromium.driver.execute_script(f"return {attempt}") == "refused"
    assert any("Content Security Policy" in message for message in chromium.complaints())


def test_dark_and_light_differ_and_can_be_switched(chromium: Browser, sample: Path) -> None:
    def ground() -> int:
        return int(chromium.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] * 1"))

    chromium.open(sample, scheme="dark")
    assert ground() < 40
    dark = pixels(chromium, "#plot")[2]
    chromium.click("#theme")
    assert ground() > 220
    assert pixels(chromium, "#plot")[2] != dark


@pytest.mark.parametrize("width", [320, 400, 800, 1400])
def test_nothing_reaches_beyond_the_side_of_the_window(chromium: Browser, sample: Path, width: int) -> None:
    chromium.open(sample, width=width)
    assert chromium.js("document.documentElement.scrollWidth") <= width


def test_a_page_that_is_cut_says_so(chromium: Browser, sample: Path, tmp_path: Path) -> None:
    text = sample.read_text()
    (tmp_path / "page.html").write_text(text.replace('data-kind="rows">H4s', 'data-kind="rows">AAA'))
    chromium.open(tmp_path / "page.html", ready=False)
    chromium.until("document.documentElement.dataset.ready")
    assert chromium.js("document.documentElement.dataset.ready") == "failed"
    assert chromium.text("#loading").startswith("The page cannot be shown: ")
    assert chromium.complaints()


def test_where_structures_are_left_out_the_page_says_so(chromium: Browser, tmp_path: Path) -> None:
    rows = [{"identifier": "a"}]
    written = write_page(
        tmp_path / "page.html",
        "none",
        [Column("identifier", "")],
        rows,
        lambda _: SALT,
        settings=PageSettings(structures_MB=0),
    )
    chromium.open(tmp_path / "page.html")
    assert chromium.text("#left-out") == chromium.text("#structure-none") == written.left_out != ""
