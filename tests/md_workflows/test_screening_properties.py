"""The properties that there are, through a whole screening: one stream, one row each, the hull at the end."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from md_workflows import PROPERTIES, ASEEngine, Asked, CellSettings, RelaxSettings, ScreenSettings, Spread, open_pool
from md_workflows import screen as run_screen

pytest.importorskip("pymatgen", reason="hulls need the extra materials")

ASKED = ("eos", "elastic", "formation_energy", "energy_above_hull")


@dataclass(frozen=True)
class EMTFactory:
    identity: str = "EMT"

    def __call__(self) -> ASEEngine:
        return ASEEngine(EMT(), self.identity)


def metals() -> list[tuple[str, Atoms]]:
    ordered = bulk("Cu", cubic=True, a=3.75)
    ordered.numbers[0] = 79
    return [("Cu", bulk("Cu")), ("Au", bulk("Au")), ("Cu3Au", ordered), ("Fe", bulk("Fe"))]


@pytest.mark.parametrize("workers", [0, 2])
def test_properties_of_relaxed_metals(workers: int, tmp_path: Path) -> None:
    elements = {symbol: _energy(symbol) for symbol in ("Cu", "Au")}
    (tmp_path / "elements.json").write_text(json.dumps(elements))
    asked = []
    for name in ASKED:
        row = PROPERTIES[name]
        takes = "references" in row.settings.model_fields
        asked.append(Asked.of(name, row, row.settings(references=tmp_path / "elements.json") if takes else None))
    settings = ScreenSettings(RelaxSettings(fmax=0.01, cell=CellSettings()), tuple(asked))
    if workers:
        with open_pool("process", {"workers": workers}) as pool:
            result = run_screen(metals(), tmp_path / "metals", settings, engine=Spread(EMTFactory(), pool))
    else:
        result = run_screen(metals(), tmp_path / "metals", settings, calculator=EMT())
    rows = {row.identifier: row for row in result.rows}
    assert [rows[name].status for name in ("Cu", "Au", "Cu3Au", "Fe")] == ["converged"] * 3 + ["failed"]
    assert "Fe" in rows["Fe"].error or "NotImplementedError" in rows["Fe"].error
    values = {name: row.values for name, row in rows.items()}
    for name in ("Cu", "Au", "Cu3Au"):
        by_volume, by_strain = values[name]["eos_bulk_modulus_GPa"], values[name]["bulk_modulus_vrh_GPa"]
        assert by_volume == pytest.approx(by_strain, rel=0.02)
        assert rows[name].error == ""
    compound = values["Cu3Au"]
    by_hand = rows["Cu3Au"].energy_per_atom - (3 * elements["Cu"] + elements["Au"]) / 4
    assert compound["formation_energy_eV_per_atom"] == pytest.approx(by_hand, abs=1e-6)
    assert by_hand < 0
    assert compound["energy_above_hull_eV_per_atom"] == pytest.approx(0, abs=1e-9)


def test_a_hull_that_lacked_an_element_is_mended(tmp_path: Path) -> None:
    row = PROPERTIES["energy_above_hull"]
    settings = ScreenSettings(RelaxSettings(fmax=0.05), (Asked.of("energy_above_hull", row),))
    alone = run_screen(metals()[2:3], tmp_path / "metals", settings, calculator=EMT())
    (lacking,) = alone.rows
    assert "needs an energy of pure" in lacking.error
    whole = run_screen(metals()[:3], tmp_path / "metals", settings, calculator=EMT())
    assert whole.resumed == 1
    mended = {row.identifier: row for row in whole.rows}["Cu3Au"]
    assert mended.error == ""
    assert mended.values["energy_above_hull_eV_per_atom"] is not None


def _energy(symbol: str) -> float:
    relaxed = next(ASEEngine(EMT()).relax_many([bulk(symbol)], RelaxSettings(fmax=0.01, cell=CellSettings())))
    assert relaxed.result is not None
    return relaxed.result.energy
