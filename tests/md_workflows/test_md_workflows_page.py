"""The page docs/md_workflows.md: its examples run, its tables are complete."""

import re
from pathlib import Path

import pytest

import md_workflows

PAGE = (Path(__file__).parents[2] / "docs" / "md_workflows.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SAYS = ("copper.csv", "True converged", "Fe failed None NotImplementedError", "0 converged", "3 50 came to its end")


@pytest.mark.parametrize(("code", "says"), list(zip(EXAMPLES, SAYS, strict=True)))
def test_examples_run(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/md_workflows.md", "exec"), {})  # noqa: S102 - our own page
    assert says in capsys.readouterr().out


def test_every_setting_is_on_the_page() -> None:
    models = [md_workflows.MDSettings, md_workflows.RelaxSettings, md_workflows.CellSettings, md_workflows.MDGuards]
    models += [ensemble for ensemble, _ in md_workflows.ENSEMBLES.values()]
    names = {name for model in models for name in model.model_fields} - {"name", "ensemble"}
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []
    assert [name for name in md_workflows.ENSEMBLES if f"`{name}`" not in PAGE] == []


def test_public_names_are_there() -> None:
    for name in md_workflows.__all__:
        assert getattr(md_workflows, name) is not None
    assert sorted(md_workflows._HOME) == sorted(md_workflows.__all__)
    with pytest.raises(AttributeError, match="no attribute 'relaxx'"):
        _ = md_workflows.relaxx
