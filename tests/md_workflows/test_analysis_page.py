"""The page docs/analysis.md: its example runs, its tables are complete."""

import re
from pathlib import Path

import pytest

from md_workflows.analysis.registry import REPORTERS
from md_workflows.h5_layout import ELEMENTS

PAGE = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/analysis.md", "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out.startswith("21 ")
    assert {"md.h5", "md.rdf.csv", "md.msd.csv", "md.vdos.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_every_report_setting_and_element_is_on_the_page() -> None:
    names = {*REPORTERS, *(name for settings, _ in REPORTERS.values() for name in settings.model_fields)}
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []
    places = [element.place.rpartition("/")[2] for element in ELEMENTS.values()]
    assert [place for place in places if not re.search(rf"[`/]{place}`", PAGE)] == []
    assert (Path(__file__).parents[2] / "docs" / "pictures" / "analysis.png").exists()


def test_defaults_on_the_page() -> None:
    for name, (settings, _) in REPORTERS.items():
        (row,) = re.findall(rf"^\| `{name}` \|(.*)$", PAGE, flags=re.MULTILINE)
        for setting, told in re.findall(r"`(\w+)` \(([\d.]+)", row):
            assert float(told) == settings.model_fields[setting].default, (name, setting)
