"""The table of a screening: properties stage by stage, what other programs read of it, files written from it."""

import base64
import csv
import gzip
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.db import connect
from ase.io import read

from md_workflows import ASEEngine, Asked, RelaxSettings, ScreenFiles, ScreenSettings, Status, Unreadable, screen
from md_workflows.engine import Engine
from md_workflows.properties.base import Measured, Property
from md_workflows.screening.records import Record
from md_workflows.screening.rows import ScreenRow
from md_workflows.screening.table import Table
from tests.md_workflows.screening_samples import DENSEST, CountingFactory, DensitySettings, asked

RELAX = RelaxSettings(optimizer="lbfgs", max_steps=40)


def metals() -> list[tuple[str, Atoms]]:
    found = []
    for symbol in ("Cu", "Ni", "Al"):
        atoms = bulk(symbol, cubic=True)
        atoms.rattle(0.05, seed=1)
        atoms.info["name"] = symbol
        found.append((symbol, atoms))
    return found


@pytest.fixture
def factory(tmp_path: Path) -> CountingFactory:
    return CountingFactory(tmp_path / "log")


def computed(factory: CountingFactory) -> list[str]:
    """Names of the structures computed since the last call."""
    lines = factory.log.read_text().splitlines() if factory.log.exists() else []
    factory.log.write_text("")
    return [line.split()[2] for line in lines]


def test_properties_are_measured_on_what_converged(tmp_path: Path, factory: CountingFactory) -> None:
    stiff = bulk("Cu", cubic=True)
    stiff.rattle(0.4, seed=2)
    stiff.info["name"] = "stiff"
    items = [*metals(), ("stiff", stiff), ("bad", Unreadable("cut"))]
    relax = RelaxSettings(optimizer="lbfgs", max_steps=10)
    result = screen(items, tmp_path / "s", ScreenSettings(relax, (asked(),)), engine=factory())
    assert computed(factory) == ["Cu", "Ni", "Al", "stiff", "Cu", "Ni", "Al"]
    for row in result.rows[:3]:
        assert row.values == {"density_per_A3": 4 / row.volume, "dense": True, "kind": "1e5"}
    assert [row.status for row in result.rows[3:]] == [Status.NOT_CONVERGED, Status.FAILED]
    assert result.rows[3].values == result.rows[4].values == {}
    table = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert float(table[0]["density_per_A3"]) == result.rows[0].values["density_per_A3"]
    assert table[3]["density_per_A3"] == ""
    assert read(tmp_path / "s.extxyz", index=0).info["density_per_A3"] == result.rows[0].values["density_per_A3"]


def test_a_property_asked_for_later_relaxes_nothing_again(tmp_path: Path, factory: CountingFactory) -> None:
    screen(metals(), tmp_path / "s", RELAX, engine=factory())
    assert computed(factory) == ["Cu", "Ni", "Al"]
    first = screen(metals(), tmp_path / "s", ScreenSettings(RELAX, (asked(),)), engine=factory())
    assert (first.resumed, computed(factory)) == (0, ["Cu", "Ni", "Al"])  # one evaluation each
    again = screen(metals(), tmp_path / "s", ScreenSettings(RELAX, (asked(),)), engine=factory())
    assert (again.resumed, computed(factory), again.rows) == (3, [], first.rows)
    other = screen(metals(), tmp_path / "s", ScreenSettings(RELAX, (asked(scale=2.0),)), engine=factory())
    assert computed(factory) == ["Cu", "Ni", "Al"]
    assert other.rows[0].values["density_per_A3"] == 2 * first.rows[0].values["density_per_A3"]
    assert other.rows[0].energy == first.rows[0].energy


def test_settings_that_come_back_find_their_rows(tmp_path: Path, factory: CountingFactory) -> None:
    screen(metals(), tmp_path / "s", RELAX, engine=factory())
    screen(metals(), tmp_path / "s", RelaxSettings(max_steps=1), engine=factory())
    computed(factory)
    assert screen(metals(), tmp_path / "s", RELAX, engine=factory()).resumed == 3
    assert screen(metals(), tmp_path / "s", RELAX, engine=factory(), resume=False).resumed == 0
    computed(factory)
    assert screen(metals(), tmp_path / "s", RelaxSettings(max_steps=1), engine=factory()).resumed == 3  # not forgotten


def test_as_they_are(tmp_path: Path, factory: CountingFactory) -> None:
    items = [*metals(), ("Ag", bulk("Ag", cubic=True)), ("bad", Unreadable("cut"))]
    result = screen(items, tmp_path / "s", ScreenSettings(None, (asked(),)), engine=factory())
    assert [row.status for row in result.rows] == [Status.MEASURED] * 3 + [Status.FAILED] * 2
    assert result.rows[3].error == "density: ValueError: no density of silver"  # and the others have theirs
    assert result.rows[4].error == "cut"
    assert result.rows[0].values["density_per_A3"] == 4 / metals()[0][1].get_volume()
    frames = read(tmp_path / "s.extxyz", index=":")
    assert [frame.info["identifier"] for frame in frames] == ["Cu", "Ni", "Al"]
    assert frames[0].positions == pytest.approx(metals()[0][1].positions, abs=1e-8)
    with pytest.raises(ValueError, match="nothing is asked of the structures"):
        screen(items, tmp_path / "s", ScreenSettings(None), engine=factory())


def test_one_property_that_fails_leaves_the_rest(tmp_path: Path, factory: CountingFactory) -> None:
    def broken(structures: list[Atoms], engine: Engine, settings: Any) -> list[Measured]:
        return [Measured({"wrong": 1.0})]

    other = Asked.of("other", Property("wrong", (), DensitySettings, broken))
    items = [*metals()[:1], ("Ag", bulk("Ag", cubic=True))]
    rows = screen(items, tmp_path / "s", ScreenSettings(RELAX, (asked(), other)), engine=factory()).rows
    assert [row.status for row in rows] == [Status.CONVERGED] * 2
    assert rows[0].error == "other: AssertionError: other gives {'wrong'}, which are not among its columns"
    assert rows[1].error.startswith("density: ValueError: no density of silver; other: AssertionError")
    assert rows[0].values["density_per_A3"] == 4 / rows[0].volume


def test_what_needs_the_whole_table_and_what_all_need(tmp_path: Path, factory: CountingFactory) -> None:
    prepared: list[float] = []

    def prepare(engine: Engine, settings: DensitySettings) -> DensitySettings:
        prepared.append(settings.scale)
        return settings.model_copy(update={"scale": 10 * settings.scale})

    sample = replace(DENSEST, prepare=prepare)
    settings = ScreenSettings(RELAX, (asked(sample=sample),))
    items = [*metals(), ("Cu again", metals()[0][1]), ("bad", Unreadable("cut"))]
    rows = screen(items, tmp_path / "s", settings, engine=factory()).rows
    densities = [row.values["density_per_A3"] for row in rows[:3]]
    assert densities == [40 / row.volume for row in rows[:3]]
    assert [row.values["below_densest_per_A3"] for row in rows[:3]] == [max(densities) - one for one in densities]
    assert (rows[3].duplicate_of, rows[3].values) == ("Cu", rows[0].values)
    assert rows[4].values == {}
    computed(factory)
    assert screen(items, tmp_path / "s", settings, engine=factory()).rows == rows
    assert (prepared, computed(factory)) == ([1.0], [])  # nothing was left to prepare anything for
    fewer = screen(items[1:3], tmp_path / "s", settings, engine=factory()).rows
    assert computed(factory) == []
    assert min(row.values["below_densest_per_A3"] for row in fewer) == 0.0  # the densest of another table


def test_a_killed_completion_is_made_up_for(
    tmp_path: Path, factory: CountingFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ScreenSettings(RELAX, (asked(sample=DENSEST),))
    monkeypatch.setattr("md_workflows.screening.run.finish", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        screen(metals(), tmp_path / "s", settings, engine=factory())
    monkeypatch.undo()
    computed(factory)
    rows = screen(metals(), tmp_path / "s", settings, engine=factory()).rows
    assert computed(factory) == []
    assert all("below_densest_per_A3" in row.values for row in rows)


def test_ase_reads_the_table(tmp_path: Path, factory: CountingFactory) -> None:
    """`ase db s.db status=failed` and the like; what looks like a number is no text to ASE."""
    items = [("1", metals()[0][1]), ("true", metals()[1][1]), ("bad", Unreadable("cut"))]
    result = screen(items, tmp_path / "s", ScreenSettings(RELAX, (asked(),)), engine=factory())
    assert [row.identifier for row in result.rows] == ["1", "true", "bad"]
    with connect(tmp_path / "s.db", use_lock_file=False) as database:
        (bad,) = database.select(status="failed")
        assert (bad.identifier, bad.error, bad.natoms) == ("bad", "cut", 0)
        (first,) = database.select(identifier="#1")
        assert (first.density_per_A3, first.kind) == (result.rows[0].values["density_per_A3"], "#1e5")
        assert first.energy == result.rows[0].energy
        assert first.toatoms().get_forces() == pytest.approx(read(tmp_path / "s.extxyz", 0).get_forces(), abs=1e-7)
        assert first.data.start_positions == pytest.approx(metals()[0][1].positions)
        assert database.count("density_per_A3>0.01") == 2


def test_curves_and_structures_are_kept(tmp_path: Path, factory: CountingFactory) -> None:
    atoms = metals()[0][1]
    atoms.set_array("site", atoms.numbers * 2)
    result = screen([("a", atoms)], tmp_path / "s", ScreenSettings(RELAX, (asked(),)), engine=factory())
    table = Table(str(tmp_path / "s.db"), "")
    ((_, record),) = table.read(result.numbers)
    table.close()
    assert record.curves == {"density": {"line": ([0.0, 1.0], [1.0, 2.0])}}
    assert len(record.structures["density"]["half"]) == 1
    assert record.atoms.arrays["site"].tolist() == [58] * 4
    assert record.start == Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def test_the_database_itself_refuses_a_second_row(tmp_path: Path) -> None:
    record = Record(ScreenRow("a", "Cu", 1, Status.WAITING), bulk("Cu"), "0")
    table = Table(str(tmp_path / "s.db"), "")
    table.write([(None, record)], "r1")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        table.write([(None, replace(record, content="1")), (None, record)], "r1")
    assert len(list(table.known("r1"))) == 1  # nothing of a transaction that failed
    table.write([(None, record)], "r2")
    table.close()


def test_a_table_that_cannot_be_written(
    tmp_path: Path, factory: CountingFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(str(tmp_path / "s.db"), "")
    monkeypatch.setattr(table._db, "write", Mock(side_effect=sqlite3.OperationalError("database is locked")))
    with pytest.raises(ValueError, match=r"s.db cannot be written \(database is locked\); all that was written before"):
        table.write([(None, Record(ScreenRow("a", "Cu", 1, Status.WAITING), bulk("Cu"), "0"))], "r1")
    table.close()


def test_export_only_and_interrupted(tmp_path: Path, factory: CountingFactory) -> None:
    def stop(done: int, total: int | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screen(metals(), tmp_path / "s", RELAX, engine=factory(), progress=stop)
    assert not (tmp_path / "s.csv").exists()
    computed(factory)
    result = screen(metals(), tmp_path / "s", ScreenSettings(RELAX, export_only=True), engine=factory())
    assert computed(factory) == []
    assert [row.status for row in result.rows] == [Status.CONVERGED, Status.CONVERGED, Status.WAITING]
    assert len(read(tmp_path / "s.extxyz", index=":")) == 2
    assert "waiting" in (tmp_path / "s.csv").read_text()


def test_quick_ones_share_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 structures of milliseconds are written in far fewer transactions than there are structures."""
    writes: list[int] = []
    write = Table.write
    monkeypatch.setattr(
        Table, "write", lambda self, records, run: writes.append(len(records)) or write(self, records, run)
    )
    items = [(str(number), bulk("Cu", a=3.5 + 0.001 * number)) for number in range(200)]
    screen(items, tmp_path / "s", RelaxSettings(max_steps=0), engine=ASEEngine(EMT()))
    assert sum(writes) == 400
    assert len(writes) < 60


def test_parquet(tmp_path: Path, factory: CountingFactory) -> None:
    from pyarrow.parquet import read_table

    files = ScreenFiles.beside(tmp_path / "s", also=(".parquet",))
    items = [*metals(), ("bad", Unreadable("cut"))]
    result = screen(items, files, ScreenSettings(RELAX, (asked(),)), engine=factory())
    columns = read_table(tmp_path / "s.parquet").to_pydict()
    assert columns["identifier"] == ["Cu", "Ni", "Al", "bad"]
    assert columns["energy_eV"] == [row.energy for row in result.rows]
    assert columns["n_atoms"] == [4, 4, 4, 0]
    assert columns["dense"] == [True, True, True, None]
    assert columns["kind"] == ["1e5", "1e5", "1e5", None]
    assert columns["density_per_A3"] == [row.values.get("density_per_A3") for row in result.rows]
    assert columns["error"] == [None, None, None, "cut"]
    with (tmp_path / "s.csv").open() as table:
        assert next(csv.reader(table)) == list(columns)


def test_the_page(tmp_path: Path, factory: CountingFactory) -> None:
    """What is on it is tested with the page itself; here, that everything of the table is handed over."""
    files = ScreenFiles.beside(tmp_path / "s", also=(".html",))
    items = [*metals(), ("Cu again", metals()[0][1]), ("bad", Unreadable("cut"))]
    screen(items, files, ScreenSettings(RELAX, (asked(),)), engine=factory())
    blocks = re.findall(r'<script type="text/plain" data-kind="[^"]*">([^<]*)<', (tmp_path / "s.html").read_text())
    text = " ".join(gzip.decompress(base64.b64decode(block)).decode("latin-1") for block in blocks)
    for word in ("Cu again", "density_per_A3", "atoms in a volume", "density half", "line", "Screening s"):
        assert word in text, word


def test_names_and_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s", "s.csv", "s.db", "s.extxyz"):
        files = ScreenFiles.beside(tmp_path / name)
        assert (files.database, files.table.name, files.structures.name) == (f"{tmp_path}/s.db", "s.csv", "s.extxyz")
    assert ScreenFiles.beside(tmp_path / "run.v2").table.name == "run.v2.csv"
    with pytest.raises(ValueError, match=r"s.xls: a screening is written as .csv, .extxyz, .parquet, .html, and not"):
        ScreenFiles.beside(tmp_path / "s", also=(".xls",))
    (tmp_path / "s.db").write_text("no database at all, but long enough to be looked at as one by SQLite\n" * 20)
    with pytest.raises(ValueError, match=r"s.db is no ASE database that can be read"):
        screen([], tmp_path / "s", calculator=EMT())
    assert not list(tmp_path.glob(".s.db.lock"))
    monkeypatch.setattr("md_workflows.screening.outputs.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"parquet needs pyarrow: pip install 'gfm-ase\[parquet\]'"):
        ScreenFiles.beside(tmp_path / "s", also=(".parquet",))
    monkeypatch.setattr("md_workflows.screening.table.find_spec", lambda _: None)
    files = ScreenFiles.beside(tmp_path / "s", table="postgresql://me:secret@host/db")
    assert (files.place, files.name) == ("host/db", "s")
    with pytest.raises(ValueError, match=r"needs ase_db_backends, psycopg2: pip install 'gfm-ase\[postgres\]'"):
        screen([], files, calculator=EMT())
