"""The page docs/properties.md: its examples run, its tables are complete."""

import re
from pathlib import Path

import pytest

from md_workflows import PROPERTIES, NEBSettings

PAGE = (Path(__file__).parents[3] / "docs" / "properties.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SAYS = ("None 25 of 25 calculations failed", "0.0 1 Cu3Au", "0.37 eV True")


@pytest.mark.parametrize(("code", "says"), list(zip(EXAMPLES, SAYS, strict=True)))
def test_examples_run(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/properties.md", "exec"), {})  # noqa: S102 - our own page
    assert says in capsys.readouterr().out


def test_every_setting_and_column_is_on_the_page() -> None:
    models = [one.settings for one in PROPERTIES.values()]
    names = {name for model in [*models, NEBSettings] for name in model.model_fields}
    names |= {
        column.name for one in PROPERTIES.values() for column in one.columns if not re.match(r"C\d\d_", column.name)
    }
    assert [name for name in sorted(names | set(PROPERTIES)) if f"`{name}`" not in PAGE] == []
