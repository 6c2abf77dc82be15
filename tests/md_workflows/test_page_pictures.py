"""Plots, structures in 3D and what is saved of them, in headless Chromium with the network off."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.io import read
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.spacegroup import crystal

from md_workflows.page import write_page
from md_workflows.page.document import asset
from md_workflows.properties.base import Column
from tests.md_workflows.browser import Browser, pixels
from tests.md_workflows.sample_page import ROWS, SALT, SLAB

LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 44  # around the plot, in pixels, where there is no bar of colours


def select(page: Browser, name: str) -> None:
    page.filter(f"identifier = {name}")
    page.click("#table tbody tr[aria-rowindex='2']")
    page.until(f"document.getElementById('detail-name').textContent === '{name}'")
    page.filter("")
    page.frame()


def corners(path: Path) -> None:
    columns = [Column("identifier", ""), Column("x", ""), Column("y", "")]
    points = {"low": (0.0, 1.0), "middle": (0.5, 10.0), "high": (1.0, 100.0)}
    rows = [{"identifier": name, "x": x, "y": y} for name, (x, y) in points.items()]
    write_page(path, "corners", columns, rows)


def place(page: Browser, x: float, y: float) -> tuple[float, float]:
    """Pixels of a point, given as parts of the ranges of both axes, which are drawn with 4 % of room on each side."""
    width, height = page.js(
        "[document.getElementById('plot').clientWidth, document.getElementById('plot').clientHeight]"
    )
    along = LEFT + (0.04 + x) / 1.08 * (width - LEFT - RIGHT)
    return along, height - BOTTOM - (0.04 + y) / 1.08 * (height - TOP - BOTTOM)


def test_a_click_on_a_point_selects_its_row_and_a_box_filters_the_table(chromium: Browser, tmp_path: Path) -> None:
    corners(tmp_path / "page.html")
    chromium.open(tmp_path / "page.html")
    chromium.drag("#plot", place(chromium, 1, 1), place(chromium, 1, 1))
    assert chromium.text("#detail-name") == "high"
    middle = place(chromium, 0.5, 9 / 99)
    chromium.drag("#plot", middle, middle)
    assert chromium.text("#detail-name") == "middle"
    assert chromium.text("#plot-tip").startswith("middle")
    chromium.click("#log-y")
    chromium.drag("#plot", place(chromium, 0.5, 0.5), place(chromium, 0.5, 0.5))  # 10 is half of the way from 1 to 100
    assert chromium.text("#detail-name") == "middle"
    chromium.drag("#plot", place(chromium, 0.4, 0.3), place(chromium, 1.03, 1.03))
    assert chromium.text("#count") == "2 of 3 rows"
    assert chromium.js("[...document.querySelectorAll('#table td:first-child')].map(td => td.textContent)") == [
        "middle",
        "high",
    ]
    chromium.click("#clear-box")
    assert chromium.text("#count") == "3 rows"
    assert chromium.complaints() == []


def test_a_histogram_counts_and_a_range_of_it_filters(chromium: Browser, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    corners(tmp_path / "page.html")
    chromium.open(tmp_path / "page.html")
    before = pixels(chromium, "#plot")
    chromium.click("#mode-histogram")
    assert pixels(chromium, "#plot")[2] != before[2]
    chromium.drag("#plot", place(chromium, 0.7, 0.5), place(chromium, 1.03, 0.5))
    assert chromium.text("#count") == "1 of 3 rows"
    chromium.keys("#table-port", Keys.ESCAPE)
    assert chromium.text("#count") == "3 rows"
    assert chromium.complaints() == []


def test_points_are_coloured_by_category_or_number_and_missing_ones_are_counted(page: Browser) -> None:
    assert page.text("#plot-legend") == "convergedfailednot_converged"
    none = sum(row["gap_eV"] is None for row in ROWS)
    assert page.text("#plot-note") == f"{none} of 60 rows have no value to place here."
    few = pixels(page, "#plot")
    page.choose("#plot-colour", "natoms")
    many = pixels(page, "#plot")
    assert page.text("#plot-legend") == ""
    assert many[1] > few[1] + 100  # the bar of colours
    page.click("#log-x")
    placed = sum(row["gap_eV"] is not None and row["gap_eV"] > 0 for row in ROWS)
    assert page.text("#plot-note") == f"{60 - placed} of 60 rows have no value to place here."


def test_the_structure_is_drawn_turns_and_repeats(page: Browser) -> None:
    drawn, colours, picture = pixels(page, "#viewer")
    assert drawn > 5000
    assert colours > 500  # shaded spheres
    assert page.text("#elements") == "Na 4Cl 4"
    for i, number in enumerate((11, 17)):
        swatch = page.js("getComputedStyle(document.querySelectorAll('#elements i')[arguments[0]]).backgroundColor", i)
        assert swatch == "rgb({}, {}, {})".format(*(round(255 * part) for part in jmol_colors[number]))
    from selenium.webdriver.common.keys import Keys

    page.keys("#viewer", Keys.ARROW_RIGHT)
    assert pixels(page, "#viewer")[2] != picture
    page.keys("#viewer", "0")
    assert pixels(page, "#viewer")[2] == picture
    page.keys("#viewer", "+", "+", "+")
    assert pixels(page, "#viewer")[0] > drawn * 1.2
    page.keys("#viewer", "0")
    for selector, value in (("#copies", "2"), ("#style", "spheres"), ("#style", "sticks")):
        page.choose(selector, value)
        (picture, before) = (pixels(page, "#viewer")[2], picture)
        assert picture != before
    page.drag("#viewer", (100, 100), (150, 120))
    assert pixels(page, "#viewer")[2] != picture


def test_two_atoms_that_are_clicked_give_their_distance(chromium: Browser, tmp_path: Path) -> None:
    pair = Atoms("CO", positions=[(0, -0.6, 0), (0, 0.6, 0)])
    write_page(tmp_path / "page.html", "pair", [Column("identifier", "")], [{"identifier": "CO"}], lambda _: pair)
    chromium.open(tmp_path / "page.html")
    chromium.click("#face-c")
    width, height = chromium.js(
        "[document.getElementById('viewer').clientWidth, document.getElementById('viewer').clientHeight]"
    )
    # The picture spans the height for twice the radius, 1.5 or more with 0.8 Å of room.
    step = 0.6 * 0.5 * min(width, height) / (1.5 + 0.8)
    for sign in (1, -1):
        spot = (width / 2, height / 2 + sign * step)
        chromium.drag("#viewer", spot, spot)
    assert chromium.text("#measured") == "C0 – O1: 1.200 Å"
    assert chromium.complaints() == []


def test_what_is_saved_of_a_structure_is_read_by_ase(page: Browser) -> None:
    saved = read(io.StringIO(page.saved("#save-extxyz")), format="extxyz")
    np.testing.assert_allclose(saved.positions, SALT.positions, atol=1e-6)  # float32
    np.testing.assert_array_equal(saved.cell.array, SALT.cell.array)
    assert str(saved.symbols) == str(SALT.symbols)
    assert saved.pbc.all()
    assert (saved.info["identifier"], saved.info["natoms"], saved.info["stable"]) == ("mp-0", 1, True)
    crystal = read(io.StringIO(page.saved("#save-cif")), format="cif")
    np.testing.assert_allclose(crystal.get_all_distances(mic=True), SALT.get_all_distances(mic=True), atol=1e-5)
    select(page, "mp-1")
    page.choose("#structure-name", "1")
    slab = read(io.StringIO(page.saved("#save-extxyz")), format="extxyz")
    assert slab.pbc.tolist() == [True, True, False]
    np.testing.assert_array_equal(slab.cell.array, SLAB.cell.array)
    assert page.js("document.getElementById('save-cif').disabled")


def test_text_of_a_row_comes_through_the_saved_structure(page: Browser) -> None:
    # Row 3 holds NaN, quotes and a line's end; its structure is not finite and cannot be drawn.
    select(page, "mp-3")
    assert page.text("#structure-facts") == "Positions or cell are not finite: there is nothing to draw."
    assert pixels(page, "#viewer")[0] == 0
    first = page.saved("#save-extxyz").splitlines()
    assert len(first) == 3
    assert 'formula="say \\"Cu\\", or\\nnot"' in first[1]
    assert "energy_eV=nan" in first[1]


def test_molecules_have_no_cell_to_repeat_and_rows_without_a_structure_say_so(page: Browser) -> None:
    select(page, "mp-2")
    assert page.text("#structure-facts") == "12 atoms, repeats nowhere"
    assert page.js("[...document.getElementById('copies').options].map(o => o.disabled)") == [True] * 3
    assert pixels(page, "#viewer")[0] > 5000
    select(page, "mp-9")
    assert page.text("#structure-none") == "No structure is kept for this row."
    assert page.js("document.getElementById('structure').offsetHeight") == 0


def test_curves_are_drawn_with_the_names_of_their_axes(page: Browser) -> None:
    assert page.text("#curves figcaption") == "eos"
    assert pixels(page, "#curves canvas")[0] > 500
    select(page, "mp-1")
    assert page.js("document.querySelectorAll('#curves canvas').length") == 0


def scene(chromium: Browser, atoms: Atoms, copies: int = 1) -> dict[str, Any]:
    """What the page would draw of `atoms`: positions, indices, bonds, edges."""
    code = (
        asset("scene.js")
        + """
        const [positions, numbers, cell, pbc, radii, copies] = arguments;
        const structure = {positions: Float32Array.from(positions), numbers: Uint8Array.from(numbers), cell, pbc};
        return buildScene(structure, {radii}, copies);"""
    )
    facts = (atoms.positions.ravel().tolist(), atoms.numbers.tolist(), atoms.cell.tolist(), atoms.pbc.tolist())
    found: dict[str, Any] = chromium.driver.execute_script(code, *facts, covalent_radii.tolist(), copies)
    return found


@pytest.mark.parametrize("name", ["C60", "CH3CH2OH", "C6H6"])
def test_bonds_are_those_of_ase(chromium: Browser, name: str) -> None:
    atoms = molecule(name)
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    expected = {(int(a), int(b)) for a, b in zip(i, j, strict=True) if a < b}
    assert {tuple(sorted(bond)) for bond in scene(chromium, atoms)["bonds"]} == expected


def test_cations_of_an_oxide_are_not_bound_to_each_other_and_metals_are(chromium: Browser) -> None:
    sites = [(0, 0, 0), (0.305, 0.305, 0)]
    rutile = crystal(["Ti", "O"], sites, spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90])
    drawn = scene(chromium, rutile)
    numbers = [atom["number"] for atom in drawn["atoms"]]
    assert {tuple(sorted((numbers[i], numbers[j]))) for i, j in drawn["bonds"]} == {(8, 22)}
    assert scene(chromium, bulk("Ti"))["bonds"]


@pytest.mark.parametrize(("copies", "count", "edges"), [(1, 14, 12), (2, 63, 54)])
def test_atoms_on_faces_are_drawn_on_the_opposite_ones_too(
    chromium: Browser, copies: int, count: int, edges: int
) -> None:
    # An fcc cell has 8 corners and 6 faces, 2 × 2 × 2 of them 27 and 36; n cells along a side have 3 n (n + 1)² edges.
    copper = bulk("Cu", cubic=True)
    copper.positions += (0.1, -0.1, 7 * copper.cell[0, 0])  # a little off the faces, and far away
    drawn = scene(chromium, copper, copies)
    assert (len(drawn["atoms"]), len(drawn["edges"])) == (count, edges)
    spots = np.array([atom["position"] for atom in drawn["atoms"]])
    assert spots.min() > -0.3
    assert spots.max() < copies * copper.cell[0, 0] + 0.3
    fractions = np.linalg.solve(copper.cell.array.T, (spots - copper.positions[[a["index"] for a in drawn["atoms"]]]).T)
    np.testing.assert_allclose(fractions, np.round(fractions), atol=1e-5)  # whole cells away from where they are
