"""Backbones under one budget: what is planned, what one member does, what is left when something fails."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from potentials.backbones import BACKBONES
from potentials.potential import Potential
from potentials.programs import NotCompiledError
from train.comparison import Comparison, Watcher, compare, locked, member_of, parse_backbones
from train.comparison_member import MEMBER, Member, peak_memory, run_member
from train.comparison_rows import Row, markdown, ranked, table
from train.comparison_speed import energy_forces_speed
from train.config import RunConfig
from train.data import load_datasets
from train.journal import read_journal, write_json
from train.progress import Reporter
from train.run import Run

MakeConfig = Callable[..., RunConfig]
TINY = {"cutoff": 4.0, "width": 8, "depth": 1, "radial_size": 6}


def tiny(make_config: MakeConfig, **tables: Any) -> RunConfig:
    return make_config(potential={"backbone": {"name": "painn", **TINY}, "head_width": 8}, **tables)


def member(config: RunConfig, folder: Path, minutes: float | None = None) -> Member:
    data = {one.name: dict(one.fingerprint) for one in load_datasets(config)}
    made = member_of(Comparison(config, ("egnn",), folder, minutes), "egnn", data)
    made.config.output.mkdir(parents=True)
    write_json(made.config.output / MEMBER, made.model_dump(mode="json"))
    return made


def test_backbones_by_name() -> None:
    assert parse_backbones("all") == tuple(BACKBONES)
    assert parse_backbones("painn, egnn,painn") == ("painn", "egnn")
    with pytest.raises(ValueError, match=r"there is no backbone 'pain'; did you mean painn\? \(all, or some of schnet"):
        parse_backbones("egnn,pain")
    with pytest.raises(ValueError, match="no backbone is named; say all, or some of schnet"):
        parse_backbones(" , ")


def test_measuring_the_speed_leaves_the_run_as_it_was(make_config: MakeConfig) -> None:
    config = tiny(make_config)
    datasets = load_datasets(config)
    run, untouched = (Run(config, datasets, Reporter()) for _ in range(2))
    assert energy_forces_speed(run, datasets[0].valid, seconds=0.1) > 0
    for name, value in run.potential.state_dict().items():
        assert value.equal(untouched.potential.state_dict()[name]), name
    assert all(one.equal(two) for one, two in zip(run.optimizer.average, untouched.optimizer.average, strict=True))
    assert (run.position.steps, run.optimizer.steps, run.optimizer.adam.state) == (0, 0, {})


def test_settings_of_the_run_file_go_to_those_that_have_them(make_config: MakeConfig, tmp_path: Path) -> None:
    backbone = {"name": "egnn", **TINY, "update_positions": True}
    config = make_config(potential={"backbone": backbone})
    comparison = Comparison(config, ("schnet", "egnn"), tmp_path, settings={"schnet": {"width": 4}})
    of_schnet, of_egnn = (member_of(comparison, name, {}) for name in ("schnet", "egnn"))
    assert of_schnet.config.potential.backbone == BACKBONES["schnet"][0](**{**TINY, "width": 4})
    assert of_schnet.notes == ["update_positions of the run file is no setting of schnet, and was left out"]
    assert (of_egnn.config.potential.backbone, of_egnn.notes) == (config.potential.backbone, [])
    wrong = Comparison(config, ("painn",), tmp_path, settings={"painn": {"widht": 4}})
    with pytest.raises(ValueError, match=r"unknown key 'widht'.*did you mean width\?"):
        member_of(wrong, "painn", {})


def test_one_member(make_config: MakeConfig, tmp_path: Path) -> None:
    made = member(tiny(make_config, stop={"epochs": 3}), tmp_path / "all", minutes=0.05)
    row = run_member(made.config.output)
    assert row is not None
    assert (row.backbone, row.status, row.reason, row.compiled) == ("egnn", "finished", "max_minutes", False)
    assert row.epochs > 0
    assert 3.0 <= row.seconds < 30
    # the schedule ends with the minutes, however many epochs they hold
    optimizer = made.config.optimizer
    last = read_journal(made.config.output / "journal.jsonl")[-1]
    assert last["learning_rate"] == pytest.approx(optimizer.learning_rate * optimizer.final_fraction)
    potential = Potential(made.config.potential_config())
    assert row.parameters == sum(p.numel() for p in potential.parameters())
    assert row.settings["width"] == 8
    assert row.valid["emt"]["forces_mae_eV_per_A"] > 0
    assert row.test == {}
    best = min(entry["valid_loss"] for entry in read_journal(made.config.output / "journal.jsonl"))
    assert row.valid_loss == best
    assert row.training_atoms_per_s > 0
    assert row.energy_forces_atoms_per_s > row.training_atoms_per_s
    assert (made.config.output / "model.safetensors").is_file()


def test_a_member_whose_data_changed(make_config: MakeConfig, tmp_path: Path) -> None:
    made = member(tiny(make_config), tmp_path / "all")
    with (tmp_path / "valid.extxyz").open("a") as file:
        file.write((tmp_path / "train.extxyz").read_text())
    with pytest.raises(ValueError, match="the data have changed since the comparison began"):
        run_member(made.config.output)


def test_what_cannot_be_compiled_is_trained_without_and_told(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotCompiledError("its sums are of another kind")

    monkeypatch.setattr("train.step.LossAndGradients._compile", refuse)
    made = member(tiny(make_config, compile=True, stop={"epochs": 1}), tmp_path / "all")
    row = run_member(made.config.output)
    assert row is not None
    assert (row.compiled, row.notes) == (False, ["not compiled: its sums are of another kind"])


def test_peak_memory_is_that_of_this_process() -> None:
    import torch

    before = peak_memory(torch.device("cpu"))
    held = torch.ones(40_000_000)  # 160 MB, of which other tests may have had as much
    assert before + 200 > peak_memory(torch.device("cpu")) >= max(before, 160)
    del held


def row_of(name: str, valid_loss: float, **values: Any) -> Row:
    errors = {"emt": {"energy_mae_eV_per_atom": 0.0101, "forces_mae_eV_per_A": 0.05}}
    return Row(backbone=name, status="finished", valid=errors, valid_loss=valid_loss, **values)


def test_the_table() -> None:
    rows = [
        Row(backbone="gone", status="failed", reason="no memory"),
        row_of("slow", 2.0, notes=["cut short"]),
        row_of("good", 1.0, parameters=1234, test={"emt": {"forces_mae_eV_per_A": 0.07}}, training_atoms_per_s=5000.4),
    ]
    assert [row.backbone for row in ranked(rows)] == ["good", "slow", "gone"]
    headings, cells = table(rows)
    assert headings[:4] == ["backbone", "parameters", "energy, meV/atom", "forces, meV/Å"]
    assert cells[0][:5] == ["good", "1,234", "10.1 / –", "50 / 70", "5,000"]
    assert cells[2][:3] == ["gone", "failed", ""]
    estimated, measured = (
        row_of("a", 1.0, energy_J=1234.0, energy_source="estimate: busy cores x 8 W"),
        row_of("b", 2.0),
    )
    measured = measured.model_copy(update={"energy_J": 5e6, "energy_source": "rapl"})
    headings, cells = table([estimated, measured, row_of("c", 3.0)])
    assert [row[headings.index("energy, kJ")] for row in cells] == ["1.234 (estimate)", "5,000", "–"]
    text = markdown(rows, ["What this is."])
    lines = text.splitlines()
    assert lines[0] == "What this is."
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert lines[-2:] == ["- gone failed: no memory", "- slow: cut short"]


def test_a_folder_in_use(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ValueError, match="in use by another comparison"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


class Seen(Watcher):
    def __init__(self) -> None:
        self.rows: list[str] = []
        self.trained: set[str] = set()

    def training(self, name: str, state: dict[str, Any]) -> None:
        self.trained.add(name)

    def finished(self, row: Row) -> None:
        self.rows.append(row.backbone)


@pytest.mark.slow
def test_two_backbones_one_that_fails_and_resuming(make_config: MakeConfig, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    config = tiny(make_config, stop={"epochs": 2})
    huge = {"egnn": {"width": 10**12}}  # its allocation fails at once
    first = Seen()
    comparison = Comparison(config, ("painn", "egnn"), folder, settings=huge)
    rows, complete = compare(comparison, watcher=first)
    assert complete
    assert [row.status for row in rows] == ["finished", "failed"]
    assert "log.txt" in rows[1].reason
    assert rows[0].peak_memory_MB > 100
    journal = read_journal(folder / "painn" / "journal.jsonl")
    assert rows[0].energy_J is not None
    assert rows[0].energy_J >= journal[-1]["energy_J"] > 0
    assert rows[0].energy_source == journal[-1]["energy_source"]
    with (folder / "comparison.csv").open(newline="") as file:
        table_rows = list(csv.DictReader(file))
    assert [one["backbone"] for one in table_rows] == ["painn", "egnn"]
    assert float(table_rows[0]["valid/emt/forces_mae_eV_per_A"]) == rows[0].valid["emt"]["forces_mae_eV_per_A"]
    assert json.loads((folder / "comparison.json").read_text())["rows"][1]["status"] == "failed"

    with pytest.raises(ValueError, match="holds a comparison already: --resume"):
        compare(comparison)
    again = Seen()
    rows_again, _ = compare(Comparison(config, ("painn", "schnet"), folder), resume=True, watcher=again)
    assert (again.rows, again.trained) == (["painn", "schnet"], {"schnet"})
    assert rows_again[0] == rows[0]
    with pytest.raises(ValueError, match=r"begun with config.seed = 0 for painn and is to go on with 5"):
        compare(Comparison(config.model_copy(update={"seed": 5}), ("painn",), folder), resume=True)


SCRIPT = """
import sys
from pathlib import Path
from train.comparison import Comparison, compare
from train.config import load_config
rows, complete = compare(Comparison(load_config(Path(sys.argv[1])), ("egnn", "painn"), Path(sys.argv[2])), resume=True)
print([row.status for row in rows], complete)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_resumed(make_config: MakeConfig, tmp_path: Path, number: int) -> None:
    folder, run_file = tmp_path / "all", tmp_path / "run.json"
    config = tiny(make_config, stop={"epochs": 80})
    run_file.write_text(config.model_dump_json())
    command = [sys.executable, "-c", SCRIPT, str(run_file), str(folder)]
    journal = folder / "egnn" / "journal.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not journal.exists() or len(read_journal(journal)) < 5:
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, number)
        told, _ = process.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert told == "['waiting', 'waiting'] False\n"
    before = time.monotonic()
    while True:  # the orphan saves its state and lets the folder go
        try:
            with locked(folder):
                break
        except ValueError:
            assert time.monotonic() - before < 30
            time.sleep(0.05)
    half = read_journal(journal)
    assert len(half) < 80
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "['finished', 'finished'] True\n"
    whole = read_journal(journal)
    assert [row["epoch"] for row in whole] == list(range(1, 81))
    assert [row["valid_loss"] for row in whole[: len(half)]] == [row["valid_loss"] for row in half]
