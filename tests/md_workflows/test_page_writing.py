"""What a page of a screening is made of: refusals, limits, memory, and that nothing half-written is left."""

import base64
import gzip
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from md_workflows.page import PageSettings, write_page
from md_workflows.page.document import ASSETS, code_block
from md_workflows.properties.base import Column, Value

COLUMNS = [Column("identifier", "name"), Column("energy_eV", "energy")]
ROWS: list[dict[str, Value]] = [{"identifier": "a", "energy_eV": 1.5}, {"identifier": "b"}]
COPPER = bulk("Cu", cubic=True)


def blocks(page: Path, kind: str) -> list[bytes]:
    found = re.findall(f'<script type="text/plain" data-kind="{kind}">([^<]*)</script>', page.read_text())
    return [gzip.decompress(base64.b64decode(text)) for text in found]


def test_values_come_through_as_they_are(tmp_path: Path) -> None:
    values: list[Any] = [
        None,
        True,
        3,
        2**53 + 1,
        0.1,
        float("nan"),
        -float("inf"),
        "é\ud800",
        np.float32(0.5),
        np.int64(7),
    ]
    rows = [{"identifier": str(i), "energy_eV": value} for i, value in enumerate(values)]
    write_page(tmp_path / "page.html", "values", COLUMNS, rows)
    (block,) = blocks(tmp_path / "page.html", "rows")
    expected = [None, True, 3, "9007199254740993", 0.1, ["nan"], ["-inf"], "é\ud800", 0.5, 7]
    assert json.loads(block) == [[str(i) for i in range(len(values))], expected]


def test_a_structure_is_kept_in_float32_and_its_cell_exactly(tmp_path: Path) -> None:
    atoms = COPPER.copy()
    atoms.rattle(0.1, seed=1)
    atoms.pbc = (True, True, False)
    write_page(tmp_path / "page.html", "one", COLUMNS, ROWS, {"b": atoms})
    (block,) = blocks(tmp_path / "page.html", "attached")
    length = int.from_bytes(block[:4], "little")
    assert json.loads(block[4 : 4 + length]) == [{"row": 1, "name": "", "atoms": 4, "pbc": [True, True, False]}]
    arrays = block[4 + length :]
    np.testing.assert_array_equal(np.frombuffer(arrays[:72], "<f8").reshape(3, 3), atoms.cell.array)
    np.testing.assert_array_equal(np.frombuffer(arrays[72:120], "<f4").reshape(4, 3), atoms.positions.astype("<f4"))
    np.testing.assert_array_equal(np.frombuffer(arrays[120:], "u1"), atoms.numbers)


def test_the_example_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "page.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "docs/page.md", "exec"), {})  # noqa: S102 - our own page
    assert len(blocks(tmp_path / "metals.html", "attached")) == 1
    assert set(PageSettings.model_fields) == {name for name in PageSettings.model_fields if f"`{name}`" in text}


def none_called(identifier: str) -> Atoms:
    raise AssertionError(f"asked for {identifier}, which there is no room for")


def test_structures_beyond_the_limit_are_not_asked_for_and_a_sentence_says_so(tmp_path: Path) -> None:
    written = write_page(
        tmp_path / "page.html", "none", COLUMNS, ROWS, none_called, settings=PageSettings(structures_MB=0)
    )
    sentence = "of the rows after number 0, in the order of the run, are left out: this page keeps 0 MB of structures"
    assert written.structures == 0
    assert sentence in written.left_out
    assert json.loads(blocks(tmp_path / "page.html", "page")[0])["left_out"] == written.left_out


@pytest.mark.parametrize("given", ["pairs", "asked"])
def test_the_first_structures_are_kept_up_to_the_limit(tmp_path: Path, given: str) -> None:
    rows = [{"identifier": str(i)} for i in range(5000)]
    random = np.random.default_rng(1)

    def atoms(_: str) -> Atoms:
        return Atoms("Cu256", positions=random.random((256, 3)))  # 3.4 kB that cannot be compressed

    settings = PageSettings(structures_MB=1.5)
    structures: Any = ((str(i), atoms("")) for i in range(5000)) if given == "pairs" else atoms
    written = write_page(tmp_path / "page.html", "some", COLUMNS, rows, structures, settings=settings)
    assert written.rows == 5000
    assert 300 < written.structures < 5000
    assert f"{written.structures:,}" in written.left_out or f"number {written.structures}," in written.left_out
    # The last block may pass the limit: 256 kB before compression, 4/3 of that in base64.
    assert (tmp_path / "page.html").stat().st_size < 1.5e6 + 0.35e6 + 0.15e6


def test_nothing_is_said_where_everything_is_kept(tmp_path: Path) -> None:
    written = write_page(tmp_path / "page.html", "all", COLUMNS, ROWS, lambda _: {"one": COPPER, "two": COPPER})
    assert (written.structures, written.left_out) == (4, "")


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def rows(count: int) -> Iterator[dict[str, Value]]:
        return ({"identifier": str(i), "energy_eV": i / 7} for i in range(count))

    def peak(count: int) -> int:
        tracemalloc.start()
        write_page(tmp_path / "page.html", "many", COLUMNS, rows(count), lambda _: COPPER)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    # An identifier and its number stay, and its place in the index: under 300 bytes a row.
    assert peak(12000) - peak(4000) < 8000 * 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": [*COLUMNS, COLUMNS[1]]}, "Two columns are named 'energy_eV': give each a name of its own"),
        ({"columns": COLUMNS[1:]}, "No column is named 'identifier', which tells rows apart: there are energy_eV"),
        ({"rows": [{"energy_eV": 1.0}]}, "Row 1 has no 'identifier', which tells rows apart: give it one"),
        ({"rows": [*ROWS, ROWS[0]]}, "Rows 1 and 3 are both called 'a': identifiers must differ"),
        ({"rows": [{"identifier": "a", "energy": 1}]}, "The row 'a' has a value 'energy', .* did you mean 'energy_eV'"),
        (
            {"rows": [{"identifier": "a", "energy_eV": [1]}]},
            "'energy_eV' of 'a' is of type list: the page shows numbers",
        ),
        ({"structures": [("c", COPPER)]}, "There is a structure 'c', and no row is called so: there are a, b"),
        ({"curves": lambda _: {"eos": ([1.0], [])}}, "The curve 'eos' of 'a' has 1 x and 0 y: both must be as many"),
        ({"settings": PageSettings(x="energy")}, "'energy' cannot be plotted, .*: did you mean 'energy_eV'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_old_page_stays(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        write_page(path, "wrong", **({"columns": COLUMNS, "rows": ROWS} | change))
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"


def test_a_directory_that_is_not_there_is_refused_before_rows_are_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; create it first"):
        write_page(tmp_path / "no/page.html", "nowhere", COLUMNS, (none_called(str(i)) for i in range(1)))


def test_names_are_listed_only_while_they_are_few(tmp_path: Path) -> None:
    rows = [{"identifier": f"row-{i:03d}"} for i in range(100)]
    with pytest.raises(ValueError, match=r"there are row-000, .*row-019 and 80 more\.$"):
        write_page(tmp_path / "page.html", "many", COLUMNS, rows, [("zzz", COPPER)])


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        write_page(tmp_path / name, "same", COLUMNS, ROWS, lambda _: COPPER)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.fixture
def scripts() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in ASSETS.iterdir() if file.name.endswith(".js")}


def test_no_script_writes_html_evaluates_text_or_reaches_for_a_network(scripts: dict[str, str]) -> None:
    words = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|\bfetch\(|XMLHttp|WebSocket|https?:"
    )
    assert len(scripts) == 12
    assert not {name for name, text in scripts.items() if re.search(words, text)}


def test_scripts_are_short_enough_to_be_read(scripts: dict[str, str]) -> None:
    assert not {name: n for name, text in scripts.items() if (n := len(text.splitlines())) > 300}


def test_a_script_that_would_end_early_is_refused() -> None:
    with pytest.raises(AssertionError, match="end early"):
        code_block("'</Script>'")


def test_the_page_without_data_is_small(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "empty", COLUMNS, [])
    assert (tmp_path / "page.html").stat().st_size < 120_000


def curves(identifier: str) -> dict[str, Any]:
    return {"eos": ([1.0, 2.0], [float("nan"), 3.0])}


def test_curves_are_kept_with_their_rows(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "curves", COLUMNS, ROWS, curves=curves)
    (block,) = blocks(tmp_path / "page.html", "attached")
    entries = [{"row": row, "curve": "eos", "x": [1.0, 2.0], "y": [["nan"], 3.0]} for row in (0, 1)]
    assert json.loads(block[4:]) == entries
