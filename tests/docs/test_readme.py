"""What the README shows works as it stands there, on data of our own and with fewer steps."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from potentials.models.registry import DEFAULT, MODELS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def write_data(path: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    ase.io.write(path, frames)


def test_the_example_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toml,), (_, code) = blocks("toml"), blocks("python")
    monkeypatch.chdir(tmp_path)
    write_data(Path("train.extxyz"), 20, seed=0)
    write_data(Path("test.extxyz"), 4, seed=1)
    small = "compile = false\n" + toml + "\n[stop]\nepochs = 1\n[potential.backbone]\nwidth = 8\ndepth = 1\n"
    Path("run.toml").write_text(small, encoding="utf-8")
    assert "steps=1000" in code
    exec(compile(code.replace("steps=1000", "steps=20"), "README", "exec"), {"__name__": "readme"})  # noqa: S102 - ours
    assert Path("run/model.safetensors").is_file()
    assert len(ase.io.read("md.traj", ":")) == 3


def test_the_first_example_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """With the model of the package: its head is there and knows what the example asks."""
    first, _ = blocks("python")
    (head,) = re.findall(r'GFMCalculator\(head="(\w+)"\)', first)
    assert head in MODELS[DEFAULT].heads
    exec(compile(first, "README", "exec"), {"__name__": "readme"})  # noqa: S102 - ours
    assert len(capsys.readouterr().out.splitlines()) == 9  # energy and nine rows, the first on one line


def test_the_example_is_as_short_as_promised() -> None:
    _, code = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_every_page_and_make_target_named_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{name}:", makefile, flags=re.MULTILINE), name


def test_every_command_named_is_one() -> None:
    from gfm_ase.cli import app

    named = set(re.findall(r"^gfm-ase (\w+)", README, flags=re.MULTILINE))
    there = {str(command.name) for command in app.registered_commands}
    assert named == there | {str(group.name) for group in app.registered_groups}
