"""The page docs/acting.md: its example runs, its tables are complete, its names are those of potentials."""

import re
from pathlib import Path

import pytest

from md_workflows import UncertaintyPolicy
from md_workflows.uncertainty import UNCERTAINTIES, UNITS
from potentials.quantities import UNCERTAINTIES as OF_POTENTIALS

PAGE = (Path(__file__).parents[2] / "docs" / "acting.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/acting.md", "exec"), {})  # noqa: S102 - our own page
    told = capsys.readouterr().out
    assert re.fullmatch(r"\d+ steps above, [1-9]\d* kept in md\.candidates\.extxyz\n", told)
    assert (tmp_path / "md.candidates.extxyz").exists()


def test_every_setting_and_result_is_on_the_page() -> None:
    assert [name for name in (*UncertaintyPolicy.model_fields, *UNCERTAINTIES) if f"`{name}`" not in PAGE] == []
    for name, default in (("interval", 100), ("most", 100)):
        assert UncertaintyPolicy.model_fields[name].default == default
        assert f"| `{name}` | {default} |" in PAGE


def test_names_levels_and_units_are_those_of_potentials() -> None:
    for name, quantity in OF_POTENTIALS.items():
        assert UNCERTAINTIES[name] == quantity.level
        assert UNITS.get(name, "eV/Å") == quantity.unit
