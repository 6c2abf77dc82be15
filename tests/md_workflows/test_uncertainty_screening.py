"""A screening of structures whose uncertainty is known beforehand: columns, marks, stops, candidates."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.db import connect
from ase.io import read

from md_workflows import (
    ASEEngine,
    Asked,
    RelaxSettings,
    ScreenFiles,
    ScreenSettings,
    Spread,
    Status,
    UncertaintyPolicy,
    open_pool,
    screen,
)
from tests.md_workflows.browser import Browser
from tests.md_workflows.doubtful import Free
from tests.md_workflows.screening_samples import DENSITY

X = {"far": 0.9, "near": 0.1, "middle": 0.4}
CELL = [20.0, 20.0, 20.0]


class Counted(Free):
    """Free atoms, so that every relaxation converges at once; counts calculations."""

    calls = 0

    def calculate(self, *arguments: Any, **named: Any) -> None:
        Counted.calls += 1
        super().calculate(*arguments, **named)


@dataclass(frozen=True)
class Factory:
    """For workers."""

    identity: str = "EMT"

    def __call__(self) -> ASEEngine:
        return ASEEngine(EMT())


def structures() -> list[tuple[str, Atoms]]:
    found = [(name, Atoms("CuAu", [[0, 3, 0], [x, 0, 0]], cell=CELL)) for name, x in X.items()]
    return [*found, ("twin", found[0][1].copy())]


def run(place: Path, limit: float | None, action: str = "mark", *, asked: Any = (), calculator: Any = None, **how: Any):  # type: ignore[no-untyped-def] # a ScreenResult
    policy = None if limit is None else UncertaintyPolicy(limit=limit, action=action)
    settings = ScreenSettings(RelaxSettings(uncertainty=policy), asked=asked)
    files = ScreenFiles.beside(place / "s", also=(".html",))
    return screen(structures(), files, settings, calculator=calculator or Counted(), **how)


def table(place: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader((place / "s.csv").read_text().splitlines())
    return {row["identifier"]: row for row in rows}


def test_columns_are_there_where_anything_is_known(tmp_path: Path) -> None:
    run(tmp_path, None)
    rows = table(tmp_path)
    for name, x in X.items():
        assert float(rows[name]["uncertainty_eV_per_A"]) == pytest.approx(x)
        assert float(rows[name]["energy_uncertainty_eV"]) == pytest.approx(0.1 * x)
        assert rows[name]["status"] == "converged"
    assert rows["twin"]["uncertainty_eV_per_A"] == rows["far"]["uncertainty_eV_per_A"]
    assert "uncertain" not in rows["far"]
    (tmp_path / "plain").mkdir()
    run(tmp_path / "plain", None, calculator=EMT())
    assert "uncertainty_eV_per_A" not in table(tmp_path / "plain")["near"]


def test_marks_follow_the_limit_and_nothing_is_computed_again(tmp_path: Path) -> None:
    run(tmp_path, None)
    before = Counted.calls
    for limit, marked in ((0.5, {"far", "twin"}), (0.2, {"far", "twin", "middle"}), (2.0, set())):
        result = run(tmp_path, limit)
        assert result.resumed == 4
        assert {name for name, row in table(tmp_path).items() if row["uncertain"] == "True"} == marked
        database = connect(tmp_path / "s.db")
        assert {row.identifier for row in database.select(uncertain=True)} == marked
        assert {atoms.info["identifier"] for atoms in read(tmp_path / "s.extxyz", ":") if atoms.info["uncertain"]} == (
            marked - {"twin"}
        )
        assert result.candidates is None
    assert Counted.calls == before
    run(tmp_path, None)
    assert "uncertain" not in table(tmp_path)["far"]
    assert all("uncertain" not in atoms.info for atoms in read(tmp_path / "s.extxyz", ":"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.db", "s.extxyz", "s.html"]


def test_candidates_are_kept_once_and_without_labels(tmp_path: Path) -> None:
    result = run(tmp_path, 0.2, "keep")
    assert (result.candidates, result.n_candidates) == (tmp_path / "s.candidates.extxyz", 2)
    kept = read(result.candidates, index=":")
    assert [one.info["source"] for one in kept] == ["far", "middle"]
    for one in kept:
        assert one.calc is None
        np.testing.assert_allclose(one.arrays["forces_uncertainty"], [0, X[one.info["source"]]])
        assert one.info["uncertain"]
    assert run(tmp_path, 5.0, "keep").candidates is None
    assert not (tmp_path / "s.candidates.extxyz").exists()


def test_what_is_stopped_is_a_row_with_its_reason_and_is_not_used(tmp_path: Path) -> None:
    density = (Asked.of("density", DENSITY),)
    first = run(tmp_path, None, asked=density)
    result = run(tmp_path, 0.5, "stop", asked=density)
    assert result.resumed == 0  # other rows than without a stop
    assert result.counts == {Status.UNCERTAIN: 1, Status.CONVERGED: 2, Status.DUPLICATE: 1}
    far, near = result.rows[0], result.rows[1]
    assert far.error == (
        "stopped at step 0, too uncertain: uncertainty 0.9 eV/Å, energy uncertainty 0.09 eV, largest at atom 1"
    )
    assert "density_per_A3" not in far.values
    assert near.values["density_per_A3"] == pytest.approx(2 / 8000)
    assert near.values["density_per_A3"] == first.rows[1].values["density_per_A3"]
    assert [one.info["identifier"] for one in read(tmp_path / "s.extxyz", index=":")] == ["near", "middle"]
    assert table(tmp_path)["far"]["uncertain"] == "True"
    assert run(tmp_path, 0.5, "stop", asked=density).resumed == 4


def test_structures_stopped_may_be_kept(tmp_path: Path) -> None:
    pool = tmp_path / "pool.extxyz"
    policy = UncertaintyPolicy(limit=0.5, action="stop", candidates=pool)
    result = screen(structures(), tmp_path / "s", RelaxSettings(uncertainty=policy), calculator=Free())
    assert result.n_candidates == 1
    assert read(pool).positions[1, 0] == pytest.approx(0.9)


def test_a_policy_changes_no_name_of_earlier_results() -> None:
    """The hash of a run is that of the settings without a policy, as it was before there was one."""
    plain = RelaxSettings()
    kept = {**json.loads(plain.model_dump_json())}
    assert kept.pop("uncertainty", "there") is None
    for action in ("mark", "keep"):
        other = RelaxSettings(uncertainty=UncertaintyPolicy(limit=1.0, action=action))
        assert ScreenSettings(other).run("x") == ScreenSettings(plain).run("x") == "rbf90bf100493"
    stops = RelaxSettings(uncertainty=UncertaintyPolicy(limit=1.0, action="stop"))
    assert ScreenSettings(stops).run("x") != ScreenSettings(plain).run("x")


def test_engines_without_uncertainties_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"which EMT does not give; .*gfm-ase calibrate"):
        run(tmp_path, 0.5, calculator=EMT())
    policy = RelaxSettings(uncertainty=UncertaintyPolicy(limit=0.5))
    with open_pool("process", {"workers": 1}) as pool, pytest.raises(ValueError, match="which EMT does not give"):
        screen(structures(), tmp_path / "p", policy, engine=Spread(Factory(), pool))
    (tmp_path / "known").mkdir()
    run(tmp_path / "known", None, calculator=EMT())
    with pytest.raises(ValueError, match="which the engine of this screening does not give"):
        run(tmp_path / "known", 0.5, calculator=EMT())
    keeps = UncertaintyPolicy(limit=0.5, action="keep", candidates=tmp_path / "none" / "a.extxyz")
    with pytest.raises(ValueError, match="create it first"):
        screen(structures(), tmp_path / "q", RelaxSettings(uncertainty=keeps), calculator=Free())


def test_uncertainties_that_a_file_brings_are_not_kept(tmp_path: Path) -> None:
    atoms = Atoms("CuAu", [[0, 3, 0], [0.4, 0, 0]], cell=CELL)
    atoms.info.update(uncertainty=9.0, uncertain=True)
    measured = ScreenSettings(None, (Asked.of("density", DENSITY),))
    result = screen([("a", atoms)], tmp_path / "s", measured, calculator=EMT())
    (row,) = result.rows
    assert row.status is Status.MEASURED
    assert "uncertain" not in read(tmp_path / "s.extxyz").info


def test_the_page_sorts_by_uncertainty(tmp_path: Path, chromium: Browser) -> None:
    run(tmp_path, 0.5)
    chromium.open(tmp_path / "s.html")
    for _ in range(2):  # the second time descending
        chromium.run(
            "[...document.querySelectorAll('#table th button')]"
            ".find(b => b.textContent.startsWith('uncertainty_eV_per_A')).click()"
        )
    rows = list(csv.DictReader(io.StringIO(chromium.saved("#save-csv"), newline="")))
    assert [row["identifier"] for row in rows] == ["far", "twin", "middle", "near"]
    assert [row["uncertain"] for row in rows] == [str(row["identifier"] in {"far", "twin"}).lower() for row in rows]
    assert chromium.complaints() == []
