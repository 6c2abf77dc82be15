"""The whole line of the MatCalc benchmark over small lists, begun, broken off and gone on with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rich.console import Console

from benchmarks import matcalc_row
from benchmarks.matcalc import elasticity, equilibrium, phonons
from benchmarks.matcalc.journal import Journal
from benchmarks.matcalc.lists import ELEMENTS, FOLDER, Row
from md_workflows.engine import ASEEngine

pytest.importorskip("pymatgen")
pytest.importorskip("phonopy")


def listed(name: str, **info: Any) -> list[Atoms]:
    """Two metals of EMT, and one that it does not know."""
    crystals = [bulk("Cu", a=3.65), bulk("Au", a=4.1), bulk("Fe", a=2.87)]
    for number, atoms in enumerate(crystals):
        atoms.info = {name: f"x-{number}", "formula": str(atoms.symbols), **info}
    return crystals


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lists = {
        equilibrium.LIST: listed("material_id", formation_energy_per_atom=0.0),
        elasticity.LIST: listed("mp_id", bulk_modulus_vrh=130.0, shear_modulus_vrh=50.0),
        phonons.LIST: listed("mp_id", heat_capacity=24.0),
        ELEMENTS: [bulk("Cu"), bulk("Au")],
    }
    for atoms in lists[ELEMENTS]:
        atoms.info["element"] = str(atoms.symbols[0])
    folders = {FOLDER: lists, "mptrj_1k": {"test": frames(0.1)}, "mpf_tp": {"test": [*frames(0.2), *frames(0.0)]}}
    for folder, files in folders.items():
        (tmp_path / folder).mkdir()
        for name, structures in files.items():
            write(tmp_path / folder / f"{name}.extxyz.gz", structures, format="extxyz")
    return tmp_path


def frames(moved: float) -> list[Atoms]:
    """A frame whose "DFT" forces are twice those of EMT."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(moved, seed=4)
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=2 * atoms.get_forces())
    return [atoms]


def line(data: Path, journal: Journal, console: Console) -> dict[str, list[Row]]:
    rows, measured = {}, []
    for task in matcalc_row.tasks(data, None, 0, None, journal):
        measured.append(replace(task, chunk=2))
        rows[task.name] = matcalc_row.run(measured[-1], ASEEngine(EMT()), journal, console)
    matcalc_row.report(measured, rows, console, "EMT")
    return rows


@pytest.mark.slow
def test_the_whole_line_is_measured_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "row.rows.jsonl"
    rows = line(data, Journal(path, {}), Console(width=200))
    told = capsys.readouterr().out
    assert "EMT" in told
    assert "CHGNet MPtrj (published)" in told
    assert len(rows["softening"]) == 2  # the frame without forces is at equilibrium
    assert [row.values["fF"] / row.values["FF"] for row in rows["softening"]] == pytest.approx([0.5, 0.5])
    for name in ("equilibrium", "elasticity", "phonon"):
        failed = [row for row in rows[name] if row.error]
        assert [row.formula for row in failed] == ["Fe"]
    copper = {name: next(row for row in rows[name] if row.formula == "Cu").values for name in rows if name[0] in "ep"}
    assert copper["equilibrium"]["Ef"] == pytest.approx(0.0, abs=1e-3)
    assert copper["equilibrium"]["d"] < 0.05
    assert copper["elasticity"]["K"] == pytest.approx(134, abs=3)  # EMT's copper
    assert copper["phonon"]["CV"] == pytest.approx(24, abs=1)

    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]) + "\n" + lines[-2][:20])  # killed in the midst of the last two
    measured = []
    whole = phonons.measure

    def counted(relaxed: Any, *rest: Any) -> Any:
        measured.extend(relaxed)
        return whole(relaxed, *rest)

    monkeypatch.setattr(phonons, "measure", counted)
    again = line(data, Journal(path, {}), Console(width=200))
    assert len(measured) <= 2
    assert [row.values for row in again["phonon"]] == [row.values for row in rows["phonon"]]


def test_a_missing_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GFM_ASE_DATA"):
        line(tmp_path, Journal(tmp_path / "rows", {}), Console())
