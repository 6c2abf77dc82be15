"""A small page of a screening with all that is odd: no value, NaN, infinities, quotes, broken structures."""

import math
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk, molecule

from md_workflows.page import PageSettings, write_page
from md_workflows.properties.base import Column

COLUMNS = [
    Column("identifier", "name of the structure"),
    Column("formula", "chemical formula"),
    Column("status", "what became of it"),
    Column("natoms", "number of atoms"),
    Column("energy_eV", "potential energy"),
    Column("gap_eV", "band gap"),
    Column("stable", "on the hull"),
    Column("odd name", "a name with a space"),
]
Row = dict[str, Any]


def a_row(i: int) -> Row:
    special = {3: float("nan"), 7: float("inf"), 11: float("-inf"), 13: None}
    return {
        "identifier": f"mp-{i}",
        "formula": ("Cu4", "NaCl", "GaAs", 'say "Cu", or\nnot')[i % 4],
        "status": ("converged", "not_converged", "failed")[i % 7 % 3],
        "natoms": i % 9 + 1,
        "energy_eV": special.get(i, math.sin(37.0 * i) * 10.0 ** (i % 5 - 2)),
        "gap_eV": None if i % 6 == 0 else (i * 7 % 11) / 4,
        "stable": i % 5 == 0,
        "odd name": i,
    }


ROWS = [a_row(i) for i in range(60)]
BY_NAME = {row["identifier"]: row for row in ROWS}
SALT = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
SALT.rattle(0.05, seed=1)
SLAB = Atoms(
    "CuAg",
    positions=[(0.1, 0.2, 5), (1.4, 1.5, 6)],
    cell=[[2.8, 0, 0], [1.4, 2.5, 0], [0, 0, 0]],
    pbc=(True, True, False),
)
BROKEN = Atoms("Cu", positions=[(0, math.nan, 0)])


def structure(identifier: str) -> Any:
    given = {"mp-0": SALT, "mp-1": {"relaxed": SALT, "slab": SLAB}, "mp-2": molecule("C6H6"), "mp-3": BROKEN}
    return given.get(identifier)


def write_sample(path: Path) -> Path:
    curves = {"mp-0": {"eos": ([1.0, 2.0, 3.0], [2.0, 1.0, float("nan")])}}
    settings = PageSettings(
        about="sixty rows", x="gap_eV", y="natoms", colour="status", curve_axes={"eos": ("volume_A3", "energy_eV")}
    )
    write_page(path, "A <b>page</b>", COLUMNS, ROWS, structure, curves=curves.get, settings=settings)
    return path
