"""The table of a page in headless Chromium, with the network off: order, filters, facets, keys, a copy as CSV."""

import csv
import io
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from md_workflows.page import write_page
from md_workflows.properties.base import Column
from tests.md_workflows.browser import Browser
from tests.md_workflows.sample_page import BY_NAME, COLUMNS, ROWS, Row


def shown(page: Browser) -> list[str]:
    """Identifiers of the rows that are shown, in their order: as they are saved."""
    return [row["identifier"] for row in csv.DictReader(io.StringIO(page.saved("#save-csv"), newline=""))]


def head(page: Browser, name: str) -> None:
    page.driver.execute_script(
        "[...document.querySelectorAll('#table th button')].find(b => b.textContent.startsWith(arguments[0])).click()",
        name,
    )


def test_it_opens_with_its_first_row_selected(page: Browser) -> None:
    assert page.text("#title") == "A <b>page</b>"
    assert page.driver.title == "A <b>page</b>"
    assert page.text("#about") == "sixty rows"
    assert page.text("#count") == "60 rows"
    assert page.text("#detail-name") == "mp-0"
    assert page.text("#values") == "".join(
        f"{name}{value}{meaning}"
        for (name, meaning), value in zip(
            ((c.name, c.meaning) for c in COLUMNS), ("mp-0", "Cu4", "converged", "1", "0", "–", "yes", "0"), strict=True
        )
    )


@pytest.mark.parametrize("name", ["energy_eV", "gap_eV", "natoms"])
def test_numbers_sort_with_missing_ones_last(page: Browser, name: str) -> None:
    def there(row: Row) -> bool:
        return row[name] is not None and not math.isnan(row[name])

    present, absent = [r for r in ROWS if there(r)], [r for r in ROWS if not there(r)]
    for descending in (False, True):
        head(page, name)
        # Both sorts keep the order of equal rows.
        expected = sorted(present, key=lambda row: -row[name] if descending else row[name]) + absent
        assert shown(page) == [row["identifier"] for row in expected]
    head(page, name)
    assert shown(page) == list(BY_NAME)


def test_text_sorts_by_the_numbers_in_it(page: Browser) -> None:
    head(page, "identifier")
    head(page, "identifier")
    assert shown(page) == [f"mp-{i}" for i in range(59, -1, -1)]
    assert page.js("document.querySelector('#table th').getAttribute('aria-sort')") == "descending"


def less(a: Any, b: Any) -> bool:
    return a is not None and b is not None and a < b


FILTERS: list[tuple[str, Callable[[Row], bool]]] = [
    ("energy_eV < 0.05", lambda r: less(r["energy_eV"], 0.05)),
    (
        "  energy_eV>=-1e-2 and gap_eV <= 1",
        lambda r: less(-1e-2, r["energy_eV"]) and r["gap_eV"] is not None and r["gap_eV"] <= 1,
    ),
    ("0.5 <= gap_eV < 2", lambda r: r["gap_eV"] is not None and 0.5 <= r["gap_eV"] < 2),
    ("status = failed or natoms = 3", lambda r: r["status"] == "failed" or r["natoms"] == 3),
    ("not (status == failed || natoms > 3)", lambda r: not (r["status"] == "failed" or r["natoms"] > 3)),
    ("status != 'converged' && stable", lambda r: r["status"] != "converged" and r["stable"]),
    ("stable = false", lambda r: not r["stable"]),
    ("formula ~ cu", lambda r: "Cu" in r["formula"]),
    ("formula !~ cu", lambda r: "Cu" not in r["formula"]),
    ("energy_eV = nan", lambda r: r["energy_eV"] is not None and math.isnan(r["energy_eV"])),
    ("energy_eV = inf", lambda r: r["energy_eV"] == math.inf),
    ("gap_eV = none", lambda r: r["gap_eV"] is None),
    ("gap_eV != none", lambda r: r["gap_eV"] is not None),
    ("gap_eV / natoms < 0.1", lambda r: r["gap_eV"] is not None and r["gap_eV"] / r["natoms"] < 0.1),
    ("(gap_eV + 1) * 2 > natoms - 1", lambda r: r["gap_eV"] is not None and (r["gap_eV"] + 1) * 2 > r["natoms"] - 1),
    ("`odd name` > 30", lambda r: r["odd name"] > 30),
    ("natoms > `odd name`", lambda r: r["natoms"] > r["odd name"]),
    ("nacl", lambda r: r["formula"] == "NaCl"),
    ("mp-1 failed", lambda r: "mp-1" in r["identifier"] and "failed" in r["status"]),
    ('"cu\\", or"', lambda r: False),
    ("'say \"cu\"'", lambda r: "say" in r["formula"]),
    ("failed gap_eV > 1", lambda r: r["status"] == "failed" and r["gap_eV"] is not None and r["gap_eV"] > 1),
    ("", lambda r: True),
]


def test_filters_say_what_the_same_words_say_in_python(page: Browser) -> None:
    for text, test in FILTERS:
        page.filter(text)
        if text.startswith('"cu'):
            assert page.text("#filter-error") == "A quotation mark is never closed."
            continue
        assert page.text("#filter-error") == "", text
        assert shown(page) == [row["identifier"] for row in ROWS if test(row)], text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("energy_ev < 3", "No column is called ‘energy_ev’; the nearest is ‘energy_eV’."),
        ("`enrgy` < 3", "No column is called ‘enrgy’"),
        ("gap_eV < high", "No column is called ‘high’"),
        ("gap_eV < 'high'", "‘high’ is no number."),
        ("gap_eV < formula", "‘formula’ does not hold numbers."),
        ("gap_eV + formula < 3", "‘formula’ does not hold numbers."),
        ("gap_eV", "‘gap_eV’ wants a comparison, as in ‘gap_eV > 0’."),
        ("gap_eV / natoms", "A sum wants a comparison"),
        ("(natoms > 1", "A bracket is never closed."),
        ("natoms > 1)", "‘)’ is one too many."),
        ("natoms >", "Something is missing at the end."),
        ("< 3", "Something is missing before ‘<’."),
        ('natoms > 1 "', "A quotation mark is never closed."),
    ],
)
def test_a_filter_that_cannot_be_read_says_why_and_changes_nothing(page: Browser, text: str, message: str) -> None:
    page.filter("natoms = 3")
    before = page.text("#count")
    page.filter(text)
    assert page.text("#filter-error").startswith(message)
    assert page.js("document.getElementById('filter').getAttribute('aria-invalid')") == "true"
    assert page.text("#count") == before


def test_facets_add_up_within_a_column_and_narrow_across(page: Browser) -> None:
    failed, stable = "#facets .facet:nth-child(1) button.bad", "#facets .facet:nth-child(3) button:last-child"
    assert page.text(failed) == f"failed{sum(r['status'] == 'failed' for r in ROWS)}"
    assert page.text("#facets .facet:nth-child(3)").startswith("stable")
    page.click(failed)
    assert shown(page) == [r["identifier"] for r in ROWS if r["status"] == "failed"]
    page.click("#facets .facet:nth-child(1) button.good")
    assert shown(page) == [r["identifier"] for r in ROWS if r["status"] != "not_converged"]
    page.click(stable)
    assert shown(page) == [r["identifier"] for r in ROWS if r["status"] != "not_converged" and r["stable"]]
    assert page.js("document.querySelector(arguments[0]).getAttribute('aria-pressed')", stable) == "true"
    for pressed in (failed, "#facets .facet:nth-child(1) button.good", stable):
        page.click(pressed)
    assert page.text("#count") == "60 rows"


def test_the_copy_holds_the_rows_shown_with_all_their_digits(page: Browser) -> None:
    page.filter("natoms >= 5")
    rows = list(csv.DictReader(io.StringIO(page.saved("#save-csv"), newline="")))
    assert len(rows) == sum(row["natoms"] >= 5 for row in ROWS) > 0
    for row in rows:
        for name, value in BY_NAME[row["identifier"]].items():
            if value is None:
                assert row[name] == ""
            elif isinstance(value, bool):
                assert row[name] == str(value).lower()
            elif isinstance(value, str):
                assert row[name] == value
            else:
                assert float(row[name]) == value or (math.isnan(value) and row[name] == "NaN")


def test_arrow_keys_go_through_the_rows_that_are_shown(page: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    page.filter("natoms = 4")
    names = [row["identifier"] for row in ROWS if row["natoms"] == 4]
    page.keys("#table-port", Keys.HOME)
    assert page.text("#detail-name") == names[0]
    page.keys("#table-port", Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert page.text("#detail-name") == names[1]
    page.keys("#table-port", Keys.END, Keys.ARROW_DOWN)
    assert page.text("#detail-name") == names[-1]
    assert page.js("document.querySelectorAll('tr[aria-selected=true]').length") == 1


def test_a_slash_goes_to_the_filter_and_escape_back(page: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    page.keys("#table-port", "/")
    assert page.js("document.activeElement.id") == "filter"
    page.keys("#filter", "NaCl", Keys.ESCAPE)
    assert page.js("document.activeElement.id") == "table-port"
    assert page.js("document.getElementById('filter').value") == "NaCl"
    page.until("document.getElementById('count').textContent === '15 of 60 rows'")  # typed, without Enter


def test_columns_can_be_put_away(page: Browser) -> None:
    page.click(".bar > .drop > summary")
    page.click("#columns label:nth-child(2) input")
    heads = page.js("[...document.querySelectorAll('#table th')].map(th => th.textContent)")
    assert heads == [column.name for column in COLUMNS if column.name != "status"]


def test_no_row_at_all_is_said(chromium: Browser, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "none", COLUMNS, [])
    chromium.open(tmp_path / "page.html")
    assert chromium.text("#count") == "0 rows"
    assert chromium.js("document.getElementById('table-empty').offsetHeight > 0")
    assert chromium.complaints() == []


def test_twenty_thousand_rows_sort_within_a_second_and_few_of_them_are_in_the_document(
    chromium: Browser, tmp_path: Path
) -> None:
    columns = [Column("identifier", ""), *(Column(f"value_{k}", "") for k in range(5))]
    rows = ({"identifier": f"mp-{i}"} | {f"value_{k}": math.sin(i * (k + 1.3)) for k in range(5)} for i in range(20000))
    write_page(tmp_path / "page.html", "many", columns, rows)
    chromium.open(tmp_path / "page.html")
    seconds = []
    for column in range(6):
        head(chromium, columns[column].name)  # the first sort also warms the compiler of the browser
        code = """
            const start = performance.now();
            document.querySelectorAll('#table th button')[arguments[0]].click();
            const passed = () => (performance.now() - start) / 1000;
            return new Promise(done => requestAnimationFrame(() => setTimeout(() => done(passed()))))"""
        seconds.append(chromium.driver.execute_script(code, column))
    assert statistics.median(seconds) < 1
    assert shown(chromium) == [f"mp-{i}" for i in sorted(range(20000), key=lambda i: -math.sin(i * 5.3))]
    chromium.run("document.getElementById('table-port').scrollTop = 1e9")
    chromium.frame()
    assert chromium.js("document.querySelectorAll('#table tr').length") < 100
    assert chromium.js("document.querySelector('#table tr:nth-last-child(2)').getAttribute('aria-rowindex')") == "20001"
    assert chromium.complaints() == []
