"""What a later call finds changed: structures under old names, another input, settings that an error asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from md_workflows import ASEEngine, Asked, RelaxSettings, ScreenSettings, Status, screen
from md_workflows.engine import Engine
from md_workflows.properties import PROPERTIES
from md_workflows.properties.base import Measured, Property
from md_workflows.screening.outputs import ScreenFiles
from md_workflows.screening.rows import ScreenRow
from md_workflows.screening.run import _Screening
from md_workflows.screening.table import Table
from tests.md_workflows.screening_samples import COLUMNS, DensitySettings, asked, density

RELAX = ScreenSettings(RelaxSettings(max_steps=20))


def metal(symbol: str) -> Atoms:
    return bulk(symbol, cubic=True)


def of(name: str, **settings: object) -> Asked:
    return Asked.of(name, PROPERTIES[name], PROPERTIES[name].settings(**settings))


def test_a_smaller_table_keeps_no_hull_of_a_larger_one(tmp_path: Path) -> None:
    alloy = Atoms("CuAu", cell=[2.8, 2.8, 3.6], scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], pbc=True)
    items = [("alloy", alloy), ("copper", metal("Cu")), ("gold", metal("Au"))]
    hull = ScreenSettings(None, (of("energy_above_hull"),))
    whole = screen(items, tmp_path / "hull", hull, calculator=EMT()).rows[0]
    (lacking,) = screen(items[:1], tmp_path / "hull", hull, calculator=EMT()).rows
    assert lacking.values["energy_above_hull_eV_per_atom"] is None
    assert lacking.values["hull_decomposition"] is None
    assert "needs an energy of pure Au, Cu" in lacking.error
    assert screen(items, tmp_path / "hull", hull, calculator=EMT()).rows[0] == whole  # and no error is left


def test_an_error_that_asks_for_settings_goes_with_them(tmp_path: Path) -> None:
    """Of a structure that is not relaxed, whose only property failed."""
    failed, mended = of("formation_energy"), of("formation_energy", reference_energies={"Cu": 0.0})
    given = [("copper", metal("Cu"))]
    (row,) = screen(given, tmp_path / "form", ScreenSettings(None, (failed,)), calculator=EMT()).rows
    assert row.status is Status.FAILED
    assert row.error.endswith("Name a file in references.")
    (row,) = screen(given, tmp_path / "form", ScreenSettings(None, (mended,)), calculator=EMT()).rows
    assert row.status is Status.MEASURED
    assert row.error == ""
    assert row.values["formation_energy_eV_per_atom"] == row.values["energy_eV_per_atom"]


def test_a_structure_that_became_a_twin_has_its_values(tmp_path: Path) -> None:
    screen([("first", metal("Cu")), ("second", metal("Au"))], tmp_path / "twins", RELAX, calculator=EMT())
    first, second = screen(
        [("first", metal("Cu")), ("second", metal("Cu"))], tmp_path / "twins", RELAX, calculator=EMT()
    ).rows
    assert second.status is Status.DUPLICATE
    assert second.energy == first.energy is not None


def test_three_of_a_kind_are_all_duplicates_of_the_first(tmp_path: Path) -> None:
    """The third equals the second to the last digit, which equals the first within the tolerance."""
    pytest.importorskip("pymatgen", reason="duplicates within a tolerance need it")
    moved = metal("Cu")
    moved.positions += 0.3
    items = [("first", metal("Cu")), ("second", moved), ("third", moved.copy())]
    settings = ScreenSettings(RELAX.relax, duplicates=0.02)
    first, *others = screen(items, tmp_path / "twins", settings, calculator=EMT()).rows
    assert [row.duplicate_of for row in others] == ["first", "first"]
    assert [row.energy for row in others] == [first.energy] * 2


@pytest.mark.parametrize("statement", ["complete", "write"])
def test_a_kill_before_the_completion_of_what_changed(
    statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of an earlier completion does not hold for rows that were written after it."""
    names = ("copper", "gold", "gold too")
    before = list(zip(names, map(metal, ("Cu", "Au", "Au")), strict=True))
    after = list(zip(names, map(metal, ("Cu", "Ag", "Ag")), strict=True))
    screen(before, tmp_path / "metals", RELAX, calculator=EMT())
    with monkeypatch.context() as patched:
        _kill_at(statement, patched)
        with pytest.raises(KeyboardInterrupt):
            screen(after, tmp_path / "metals", RELAX, calculator=EMT())
    _, silver, twin = screen(after, tmp_path / "metals", RELAX, calculator=EMT()).rows
    assert twin.duplicate_of == "gold"
    assert twin.energy == silver.energy is not None


def _kill_at(statement: str, patched: pytest.MonkeyPatch) -> None:
    if statement == "complete":
        patched.setattr(_Screening, "complete", _interrupt)
        return
    write, calls = Table.write, []

    def once(self: Table, *arguments: object) -> list[int]:
        calls.append(1)
        return _interrupt() if len(calls) > 2 else write(self, *arguments)  # type: ignore[arg-type]

    patched.setattr(Table, "write", once)


def _interrupt(*_: object) -> list[int]:
    raise KeyboardInterrupt


def test_results_in_a_file_are_not_those_of_the_engine(tmp_path: Path) -> None:
    copper = metal("Cu")
    copper.calc = SinglePointCalculator(copper, energy=-123.0, forces=np.ones((4, 3)))
    settings = ScreenSettings(None, (of("formation_energy", reference_energies={"Cu": 0.0}),))
    screen([("copper", copper)], tmp_path / "own", settings, calculator=EMT())
    assert read(tmp_path / "own.extxyz").calc is None
    assert copper.calc.results["energy"] == -123.0  # nor are the user's lost


def test_what_no_table_can_keep(tmp_path: Path) -> None:
    """A constraint of the user's own is a row that failed; keys of info that JSON has not are left out."""
    tied, told = metal("Cu"), metal("Au")
    tied.set_constraint(_Tied())
    told.info = {(1, 2): "pair", "deep": {(1, 2): "pair"}, "kept": [1, 2]}
    circle: list[object] = []
    circle.append(circle)
    told.info["circle"] = circle
    result = screen([("tied", tied), ("told", told)], tmp_path / "odd", RELAX, calculator=EMT())
    assert [row.status for row in result.rows] == [Status.FAILED, Status.CONVERGED]
    assert result.rows[0].error == "the constraint _Tied has no todict(), so no table keeps it; take one of ASE's"
    assert list(read(tmp_path / "odd.extxyz").info["kept"]) == [1, 2]


class _Tied:
    def adjust_positions(self, atoms: Atoms, new: object) -> None: ...


@pytest.mark.parametrize("identifier", ["", "caf\udce9.cif"])
def test_an_identifier_that_no_table_can_hold(identifier: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has the identifier .* which no table can hold; give it, or its file"):
        screen([(identifier, metal("Cu"))], tmp_path / "names", RELAX, calculator=EMT())


def test_a_cell_that_is_not_finite_is_a_row(tmp_path: Path) -> None:
    """Spglib would end the process with it."""
    endless = metal("Cu")
    endless.cell[0, 0] = np.inf
    (row,) = screen(
        [("endless", endless)], tmp_path / "endless", ScreenSettings(None, (of("vacancy"),)), calculator=EMT()
    ).rows
    assert row.error == ("vacancy: the structure has positions or a cell that are not finite numbers; repair it first.")


def test_fresh_export_only_is_refused_and_forgets_nothing(tmp_path: Path) -> None:
    screen([("copper", metal("Cu"))], tmp_path / "kept", RELAX, calculator=EMT())
    export = ScreenSettings(RELAX.relax, export_only=True)
    with pytest.raises(ValueError, match=r"\(--fresh\) would forget .* \(--export-only\); give one of them"):
        screen([("copper", metal("Cu"))], tmp_path / "kept", export, calculator=EMT(), resume=False)
    assert screen([("copper", metal("Cu"))], tmp_path / "kept", export, calculator=EMT()).rows[0].energy is not None


def test_an_export_mixes_no_settings(tmp_path: Path) -> None:
    """Values of other settings than those asked for are in the table, and not in a file of the latter."""
    engine = ASEEngine(EMT())
    silver = asked(1.0)  # fails, by the sample property
    items = [("copper", metal("Cu")), ("silver", metal("Ag"))]
    files = ScreenFiles.beside(tmp_path / "mixed")
    screen(items, files, ScreenSettings(RELAX.relax, (silver,)), engine=engine)
    assert "no density of silver" in files.table.read_text()
    assert "1e5" in files.table.read_text()
    other = ScreenSettings(RELAX.relax, (asked(2.0),), export_only=True)
    screen(items, files, other, engine=engine)
    assert "density" in files.table.read_text().splitlines()[0]
    assert "no density of silver" not in files.table.read_text()
    assert "1e5" not in files.table.read_text()


def test_retrying_measures_what_failed_on_what_converged(tmp_path: Path) -> None:
    """And relaxes nothing again."""
    lacking: list[str] = ["memory"]

    def scarce(structures: Sequence[Atoms], engine: Engine, settings: DensitySettings) -> list[Measured]:
        return [Measured(error="out of memory")] * len(structures) if lacking else density(structures, engine, settings)

    retried = _screener(tmp_path / "retry", Property("for tests", COLUMNS, DensitySettings, scarce))
    (row,) = retried(False)
    assert (row.status, row.error) == (Status.CONVERGED, "density: out of memory")
    lacking.clear()
    assert retried(False) == [row]
    (mended,) = retried(True)
    assert (mended.status, mended.error, mended.values["dense"]) == (Status.CONVERGED, "", True)
    assert mended.energy == row.energy


def _screener(output: Path, sample: Property) -> Callable[[bool], list[ScreenRow]]:
    def run(again: bool) -> list[ScreenRow]:
        settings = ScreenSettings(RELAX.relax, (asked(1.0, sample),), retry_failed=again)
        return list(screen([("copper", metal("Cu"))], output, settings, calculator=EMT()).rows)

    return run
