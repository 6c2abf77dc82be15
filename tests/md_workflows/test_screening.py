"""Screening: a row for each structure whatever happens, and nothing computed twice."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read

from md_workflows import (
    ASEEngine,
    CellSettings,
    Outcome,
    RelaxSettings,
    Status,
    Unreadable,
    relax,
    screen,
)

SETTINGS = RelaxSettings(optimizer="lbfgs", max_steps=40)
FREE = SETTINGS.model_copy(update={"cell": CellSettings()})


def metal(symbol: str) -> Atoms:
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


class Counting(EMT):
    """EMT that remembers which systems it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def calculate(self, atoms: Any = None, *args, **kwargs) -> None:  # type: ignore[no-untyped-def] # ASE's signature
        formula = atoms.get_chemical_formula()
        if formula not in self.seen:
            self.seen.append(formula)
        super().calculate(atoms, *args, **kwargs)


def engine(calculator: Any = None) -> ASEEngine:
    return ASEEngine(calculator or EMT(), identity="EMT")


def good() -> list[tuple[str, Atoms]]:
    return [(symbol, metal(symbol)) for symbol in ("Cu", "Ag", "Au", "Ni")]


def test_rows_table_and_structures(tmp_path: Path) -> None:
    atoms = metal("Cu")
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["note"] = "kept"
    result = screen([("a", atoms), ("b", metal("Ni"))], tmp_path / "s.csv", FREE, calculator=EMT())
    alone = relax(atoms, FREE, calculator=EMT())
    row = result.rows[0]
    assert (row.identifier, row.formula, row.n_atoms, row.status) == ("a", "Cu4", 4, Status.CONVERGED)
    assert (row.energy, row.energy_per_atom) == (alone.energy, alone.energy / 4)
    assert (row.fmax, row.steps, row.error) == (alone.fmax, alone.steps, "")
    assert row.volume == alone.atoms.get_volume()
    assert row.wall_time > 0
    table = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [line["identifier"] for line in table] == ["a", "b"]
    assert float(table[0]["energy_eV"]) == alone.energy
    frames = read(tmp_path / "s.extxyz", index=":")
    assert [frame.info["identifier"] for frame in frames] == ["a", "b"]
    assert frames[0].positions == pytest.approx(alone.atoms.positions, abs=1e-8)
    assert frames[0].get_potential_energy() == pytest.approx(alone.energy, abs=1e-7)
    assert frames[0].info["note"] == "kept"
    assert frames[0].constraints[0].index.tolist() == [0]
    assert {path.name for path in tmp_path.iterdir()} == {"s.csv", "s.extxyz", "s.db"}


class Sick(EMT):
    """EMT that gives NaN for nickel and refuses iron by itself."""

    def calculate(self, atoms: Any = None, *args, **kwargs) -> None:  # type: ignore[no-untyped-def] # ASE's signature
        super().calculate(atoms, *args, **kwargs)
        if 28 in atoms.numbers:
            self.results["forces"] = self.results["forces"] * np.nan


def test_a_failure_is_a_row(tmp_path: Path) -> None:
    nan = metal("Cu")
    nan.positions[1, 2] = np.nan
    beyond = metal("Cu")
    beyond.numbers[0] = 200
    bad_charge = metal("Cu")
    bad_charge.info["charge"] = "two"
    unencodable = metal("Pd")
    unencodable.info["object"] = object()
    items = [
        ("first", metal("Cu")),
        ("unknown element", metal("Fe")),
        ("empty", Atoms()),
        ("nan", nan),
        ("beyond", beyond),
        ("explodes", metal("Ni")),
        ("charge", bad_charge),
        ("not periodic", Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]])),
        ("file", Unreadable("after 3 frames: cut")),
        ("slow", metal("Al")),
        ("object", unencodable),
        ("last", metal("Ag")),
    ]
    result = screen(items, tmp_path / "s.csv", FREE, calculator=Sick())
    rows = {row.identifier: row for row in result.rows}
    assert [row.identifier for row in result.rows] == [name for name, _ in items]
    errors = {name: row.error for name, row in rows.items() if row.status is Status.FAILED}
    assert errors.keys() == {name for name, _ in items[1:9]}
    assert errors["unknown element"].startswith("NotImplementedError")
    assert "no atoms" in errors["empty"]
    assert "not finite" in errors["nan"]
    assert errors["explodes"] == "energy or forces are not finite at step 0"
    assert "two" in errors["charge"]
    assert errors["beyond"] == "there is no element of number 200"
    assert "not periodic" in errors["not periodic"]
    assert errors["file"] == "after 3 frames: cut"
    assert rows["beyond"].formula == "?"
    assert all("\n" not in error for error in errors.values())
    assert rows["first"].status is rows["last"].status is Status.CONVERGED
    assert all(rows[name].energy is None for name in errors)
    assert len(read(tmp_path / "s.extxyz", index=":")) == 4
    assert result.count(Status.FAILED) == 8


def test_not_converged_is_told(tmp_path: Path) -> None:
    settings = RelaxSettings(fmax=1e-4, max_steps=2)
    result = screen([metal("Cu")], tmp_path / "s.csv", settings, calculator=EMT())
    assert result.rows[0].status is Status.NOT_CONVERGED
    assert result.rows[0].identifier == "0"
    assert result.rows[0].steps == 2


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    calculator = Counting()
    first = screen(good()[:2], tmp_path / "s.csv", SETTINGS, engine=engine(calculator))
    assert (first.resumed, calculator.seen) == (0, ["Cu4", "Ag4"])
    calculator = Counting()
    second = screen(good(), tmp_path / "s.csv", SETTINGS, engine=engine(calculator))
    assert (second.resumed, calculator.seen) == (2, ["Au4", "Ni4"])
    assert second.rows[:2] == first.rows
    assert [frame.info["identifier"] for frame in read(tmp_path / "s.extxyz", index=":")] == ["Cu", "Ag", "Au", "Ni"]


@pytest.mark.parametrize("change", ["structure", "settings", "engine", "identifier", "fresh"])
def test_what_changed_is_computed_again(change: str, tmp_path: Path) -> None:
    screen(good()[:2], tmp_path / "s.csv", SETTINGS, engine=engine())
    items = good()[:2]
    if change == "structure":
        items[1][1].positions[0, 0] += 1e-9
    if change == "identifier":
        items[1] = ("other", items[1][1])
    settings = SETTINGS.model_copy(update={"fmax": 0.03}) if change == "settings" else SETTINGS
    calculator = Counting()
    driver = ASEEngine(calculator, identity="other") if change == "engine" else engine(calculator)
    screen(items, tmp_path / "s.csv", settings, engine=driver, resume=change != "fresh")
    everything = change in ("settings", "engine", "fresh")
    assert calculator.seen == (["Cu4", "Ag4"] if everything else ["Ag4"])


class Killed(BaseException):
    """As a signal would: nothing in the packages catches it."""


def stop_after(number: int):  # type: ignore[no-untyped-def] # a test's own callback
    def progress(done: int, total: int | None) -> None:
        if done == number:
            raise Killed

    return progress


def test_killed_and_resumed(tmp_path: Path) -> None:
    whole = screen(good(), tmp_path / "whole.csv", SETTINGS, engine=engine())
    with pytest.raises(Killed):
        screen(good(), tmp_path / "s.csv", SETTINGS, engine=engine(), progress=stop_after(2))
    assert not (tmp_path / "s.csv").exists()
    calculator = Counting()
    result = screen(good(), tmp_path / "s.csv", SETTINGS, engine=engine(calculator))
    assert calculator.seen == ["Au4", "Ni4"]
    assert [(row.identifier, row.energy) for row in result.rows] == [(row.identifier, row.energy) for row in whole.rows]
    assert (tmp_path / "s.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()


def test_order_leaves_no_trace(tmp_path: Path) -> None:
    """Structures of the same elements, where EMT would go on with the neighbour list of the one before."""
    alike = [(str(seed), metal("Cu")) for seed in range(4)]
    for seed, (_, atoms) in enumerate(alike):
        atoms.rattle(0.05, seed=seed + 7)
    screen(alike, tmp_path / "whole.csv", SETTINGS, engine=engine())
    with pytest.raises(Killed):
        screen(alike, tmp_path / "s.csv", SETTINGS, engine=engine(), progress=stop_after(2))
    screen(alike, tmp_path / "s.csv", SETTINGS, engine=engine())
    screen(alike[::-1], tmp_path / "back.csv", SETTINGS, engine=engine())
    assert (tmp_path / "s.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
    energies = [row["energy_eV"] for row in csv.DictReader((tmp_path / "back.csv").read_text().splitlines())]
    whole = [row["energy_eV"] for row in csv.DictReader((tmp_path / "whole.csv").read_text().splitlines())]
    assert energies == whole[::-1]


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    def second(done: int, total: int | None) -> None:
        screen(good(), tmp_path / "s.csv", SETTINGS, engine=engine())

    with pytest.raises(ValueError, match="is in use by another screening"):
        screen(good(), tmp_path / "s.csv", SETTINGS, engine=engine(), progress=second)


def test_identifiers_have_to_differ(tmp_path: Path) -> None:
    calculator = Counting()
    twice = [*good(), ("Cu", metal("Pd"))]
    with pytest.raises(ValueError, match="identifier 'Cu' is given twice"):
        screen(twice, tmp_path / "s.csv", SETTINGS, calculator=calculator)
    assert not calculator.seen  # a list is looked at before anything is computed
    with pytest.raises(ValueError, match="identifier 'Cu' is given twice"):
        screen(iter(twice), tmp_path / "s.csv", SETTINGS, engine=engine(calculator))
    assert not calculator.seen  # a stream is read to its end before that, too


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give either calculator= .* or engine="):
        screen(good(), tmp_path / "s.csv")
    with pytest.raises(ValueError, match=r"give either calculator= .* or engine="):
        screen(good(), tmp_path / "s.csv", calculator=EMT(), engine=engine())
    with pytest.raises(ValueError, match="does not exist; create it first"):
        screen(good(), tmp_path / "no" / "s.csv", calculator=EMT())
    with pytest.raises(ValueError, match=r"structure 0 is 'Cu'; give ase.Atoms"):
        screen(["Cu"], tmp_path / "s.csv", calculator=EMT())  # type: ignore[list-item] # the point


class Backwards:
    """An engine that takes all it can and finishes in the opposite order."""

    identity = "backwards"

    def __init__(self, loses: int | None = None) -> None:
        self.loses = loses

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        done = list(ASEEngine(EMT()).relax_many(structures, settings))
        for outcome in reversed(done):
            if outcome.index != self.loses:
                yield outcome


def test_an_engine_may_finish_in_any_order(tmp_path: Path) -> None:
    serial = screen(good(), tmp_path / "serial.csv", SETTINGS, calculator=EMT())
    other = screen(good(), tmp_path / "other.csv", SETTINGS, engine=Backwards())
    assert [(row.identifier, row.energy) for row in other.rows] == [(row.identifier, row.energy) for row in serial.rows]


def test_an_engine_that_loses_a_structure_is_caught(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Backwards gave no outcome for Ag"):
        screen(good(), tmp_path / "s.csv", SETTINGS, engine=Backwards(loses=1))


def test_identity_follows_the_parameters() -> None:
    assert ASEEngine(EMT()).identity == ASEEngine(EMT()).identity
    assert ASEEngine(EMT()).identity != ASEEngine(EMT(asap_cutoff=True)).identity
