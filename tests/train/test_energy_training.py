"""Joules of a run: in journal, state and checkpoint; sessions add up; training does not depend on them."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from potentials.checkpoint import read_manifest
from tests.train.doubles_of_meters import Machine
from train import loop as loops
from train.config import RunConfig
from train.data import load_datasets
from train.energy import meter as meters
from train.energy.account import Account
from train.journal import read_journal
from train.loop import train
from train.progress import Reporter
from train.run import Run
from train.state import Position, RunState, load_state, save_state

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Where runs are metered: by RAPL, whose package draws 10 J, all ours, for each optimizer step that is taken."""
    made = Machine(tmp_path / "machine")
    made.busy(0.0)
    made.packages(0.0, wraps=1e6)
    monkeypatch.setattr(meters, "place_of", lambda device: made.place())
    real = Run.learn

    def learn(run: Run, own: Any) -> None:
        real(run, own)
        made.own += 1.0
        made.busy(made.own)
        made.packages(10.0 * made.own, wraps=1e6)

    monkeypatch.setattr(Run, "learn", learn)
    return made


def stop_after(config: RunConfig, steps: int) -> None:
    """A session that is asked to stop once so many steps are taken."""
    run = Run(config, load_datasets(config), Reporter())
    loops.make_folder(config.output)
    assert loops.loop(run, lambda: run.position.steps >= steps) == "interrupted"
    run.meter.close()


def test_journal_checkpoint_and_result(make_config: MakeConfig, machine: Machine) -> None:
    config = make_config()
    result = train(config)
    assert result.position.steps == 16
    assert result.position.joules == pytest.approx(160.0)
    rows = read_journal(config.output / "journal.jsonl")
    assert [(row["energy_J"], row["energy_source"]) for row in rows] == [(40.0 * n, "rapl") for n in (1, 2, 3, 4)]
    assert read_manifest(config.output / "model.safetensors").training["energy"] == {
        "joules": pytest.approx(160.0),
        "kWh": pytest.approx(160.0 / 3.6e6),
        "source": "rapl",
        "estimate": False,
        "parts": {"rapl": pytest.approx(160.0)},
    }
    assert "energy_J,energy_source" in (config.output / "journal.csv").read_text()


@pytest.mark.parametrize("steps", [3, 8])
def test_sessions_add_up(steps: int, make_config: MakeConfig, machine: Machine) -> None:
    config = make_config("stopped")
    stop_after(config, steps)
    assert load_state(config.output / "state.safetensors").position.joules == pytest.approx(10.0 * steps)
    machine.own += 1000.0  # what others do meanwhile
    machine.busy(machine.own)
    machine.packages(10.0 * machine.own, wraps=1e6)
    result = train(config, resume=True)
    assert result.position.joules == pytest.approx(160.0)
    rows = read_journal(config.output / "journal.jsonl")
    assert [row["energy_J"] for row in rows] == pytest.approx([40.0, 80.0, 120.0, 160.0])
    assert {row["energy_source"] for row in rows} == {"rapl"}


def test_sessions_with_different_sources_name_them_all(make_config: MakeConfig, machine: Machine) -> None:
    config = make_config("stopped")
    stop_after(config, 8)
    estimate = make_config("stopped", energy={"source": "estimate", "watts_per_core": 5.0})
    energy = train(estimate, resume=True).position.energy
    assert energy.parts == pytest.approx({"rapl": 80.0, "estimate: busy cores x 5 W": 40.0})
    assert energy.source == "rapl, then estimate: busy cores x 5 W"
    assert energy.record()["estimate"]


def test_energy_changes_no_number(make_config: MakeConfig, machine: Machine) -> None:
    for name in ("auto", "none", "estimate"):
        train(make_config(name, energy={"source": name}))
    folders = {name: make_config(name).output for name in ("auto", "none", "estimate")}
    weights = {name: load_file(folder / "model.safetensors") for name, folder in folders.items()}
    for name, tensor in weights["auto"].items():
        assert torch.equal(tensor, weights["none"][name]), name
        assert torch.equal(tensor, weights["estimate"][name]), name
    rows = read_journal(folders["none"] / "journal.jsonl")
    assert {(row["energy_J"], row["energy_source"]) for row in rows} == {(None, "not metered")}
    rows = read_journal(folders["estimate"] / "journal.jsonl")
    assert all(row["energy_source"].startswith("estimate: busy cores x ") for row in rows)


def test_a_source_that_is_not_there_ends_the_run_before_it_begins(make_config: MakeConfig, machine: Machine) -> None:
    config = make_config(energy={"source": "slurm"})
    with pytest.raises(ValueError, match=r'energy\.source = "slurm" cannot be had: slurm: this process is in no job'):
        train(config)
    assert not config.output.exists()


def test_the_state_keeps_the_account_to_the_bit(tmp_path: Path) -> None:
    energy = Account({"nvml": 0.1 + 0.2, "rapl": 1 / 3}, ["nvml + rapl"])
    save_state(tmp_path / "state.safetensors", RunState(Position(energy=energy), {}, {}, {"a": torch.zeros(1)}))
    assert load_state(tmp_path / "state.safetensors").position.energy == energy


def test_a_state_from_before_there_was_a_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its joules are not known, and no sum says that they were none."""
    position = asdict(Position(steps=5))
    del position["energy"]
    monkeypatch.setattr("train.state.asdict", lambda _: position)
    save_state(tmp_path / "state.safetensors", RunState(Position(), {}, {}, {"a": torch.zeros(1)}))
    energy = load_state(tmp_path / "state.safetensors").position.energy
    energy.add({"rapl": 7.0}, "rapl")
    assert json.loads(json.dumps(energy.row())) == {"energy_J": 7.0, "energy_source": "not metered, then rapl"}
