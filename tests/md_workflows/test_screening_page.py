"""The page docs/screening.md: its examples run, its tables are complete."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from md_workflows import EXECUTORS, Status, parse_settings
from md_workflows.screening.executors import ParslSettings
from md_workflows.screening.outputs import WRITERS

PAGE = (Path(__file__).parents[2] / "docs" / "screening.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SAYS = ("Fe failed None NotImplementedError", "'converged'>: 2")


@pytest.mark.parametrize(("code", "says"), list(zip(EXAMPLES, SAYS, strict=True)))
def test_examples_run(code: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(code)  # as users do: processes import the script again
    told = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert says in told.stdout


def test_every_status_output_and_setting_of_an_executor_is_there() -> None:
    assert [status for status in Status if f"`{status}`" not in PAGE] == []
    assert [suffix for suffix in WRITERS if suffix not in PAGE] == []
    for name, (settings, _) in EXECUTORS.items():
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
        assert [key for key in settings.model_fields if f"`{key}" not in row and name != "mpi"] == []


def test_the_settings_file_is_one() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    executor = tomllib.loads(text)["executor"]
    assert executor.pop("name") == "parsl"
    assert parse_settings(ParslSettings, executor).provider == "slurm"
