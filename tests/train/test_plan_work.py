"""Costs of a run and of this machine: measured, written, read; and how many weights there are."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from potentials.potential import Potential
from train.config import RunConfig
from train.data import load_datasets
from train.plan.here import fit_line, measure_here, ring_bandwidth
from train.plan.network import all_reduce
from train.plan.planning import of_costs, populations_of
from train.plan.work import CostsFile, measure_costs, read_costs, weights_of, work_of, write_costs
from train.progress import Reporter
from train.run import Run

MakeConfig = Callable[..., RunConfig]
COSTS = CostsFile(step=1e-3, atom=1e-5, edge=1e-6, update=2e-3, input=1e-5, device="a device", relative_error=0.04)


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_costs(tmp_path / "costs.json", COSTS)
    assert read_costs(tmp_path / "costs.json") == COSTS


def test_a_faster_device_assembles_batches_no_faster() -> None:
    faster = COSTS.times_faster(4.0)
    assert [faster.step, faster.atom, faster.edge, faster.update] == [2.5e-4, 2.5e-6, 2.5e-7, 5e-4]
    assert (faster.input, faster.device) == (COSTS.input, COSTS.device)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "the file: Invalid JSON"),
        ('{"step": 1, "atom": 0, "device": "a"}', "edge: Field required"),
        ('{"step": 1, "atom": -1, "edge": 0, "device": "a"}', "atom: Input should be greater"),
        ('{"step": 1, "atom": 0, "edge": 0, "device": "a", "gpu": 1}', "gpu: Extra inputs"),
    ],
)
def test_costs_that_are_none(content: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=what) as caught:
        read_costs(tmp_path / "costs.json")
    assert "it must hold step, atom, edge" in str(caught.value)


def test_costs_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_costs(tmp_path / "none.json")
    content = {"step": 0, "atom": 0, "edge": 0, "device": "a"}
    (tmp_path / "costs.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="finite and not negative"):
        read_costs(tmp_path / "costs.json")


def test_it_is_said_what_costs_are_of() -> None:
    (assumed,) = of_costs(COSTS, 100.0, "frontier", None)
    assert "measured on a device, 4 % off" in assumed
    assert "divided by 100, which is ASSUMED for a device of frontier" in assumed
    (wrong,) = of_costs(COSTS, None, "frontier", None)
    assert "They are NOT those of a device of frontier: give --costs or --times-faster" in wrong
    (given,) = of_costs(COSTS, None, "frontier", Path("x/costs.json"))
    assert given == "Costs of a batch: of costs.json, for a device, 4 % off the batches they are of"
    (here,) = of_costs(COSTS.model_copy(update={"relative_error": None}), None, "here", None)
    assert here == "Costs of a batch: measured on a device"


def test_weights_are_those_of_the_potential(make_config: MakeConfig) -> None:
    config = make_config()
    work = work_of(COSTS, weights_of(config), ["a", "b", "c"])
    made_of = config.potential_config().model_copy(update={"heads": ("a", "b", "c")})
    assert work.weights == sum(parameter.numel() for parameter in Potential(made_of).parameters())
    assert work.heads.keys() == {"a", "b", "c"}
    assert work.heads["a"] > 0
    assert work.shared > work.heads["a"]


def test_measuring_costs_changes_nothing(make_config: MakeConfig) -> None:
    run = Run(make_config(), load_datasets(make_config()), Reporter())
    before = [weight.detach().clone() for weight in run.potential.parameters()]
    costs, measured = measure_costs(run)
    assert costs.model == measured.model
    assert costs.update > 0
    assert costs.input > 0
    assert costs.relative_error == measured.relative_error
    assert all(torch.equal(one, other) for one, other in zip(before, run.potential.parameters(), strict=True))
    assert run.optimizer.steps == 0
    assert not any(name.startswith("exp_avg") for name in run.optimizer.state())


def test_sizes_of_data_that_are_at_hand(make_config: MakeConfig) -> None:
    datasets = load_datasets(make_config())
    (population,) = populations_of(Run(make_config(), datasets, Reporter()))
    assert (population.name, population.count) == ("emt", 8)
    assert population.sizes.tolist() == [[one.graph.n_atoms, one.graph.n_edges] for one in datasets[0].train]
    twice = make_config(dataset=[{"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz", "repeat": 2.5}])
    (population,) = populations_of(Run(twice, datasets, Reporter()))
    assert population.count == 20


def test_a_line_is_found_again() -> None:
    sizes = [8.0, 1e3, 1e5, 4e6]
    assert fit_line(sizes, [2e-4 + 1e-9 * size for size in sizes]) == pytest.approx((2e-4, 1e-9))
    latency, per_byte = fit_line(sizes, [1e-4] * 4)
    assert latency == pytest.approx(1e-4)
    assert 0 < per_byte < 1e-14


def test_the_bandwidth_is_that_of_the_ring() -> None:
    """2 processes send all bytes once in all: two halves, one after the other."""
    assert ring_bandwidth(2, 1e-9) == pytest.approx(1e9)
    assert ring_bandwidth(4, 1e-9) == pytest.approx(1.5e9)


@pytest.mark.slow
def test_this_machine_is_measured() -> None:
    """Bounds that any machine is within: a microsecond to a second, 1 MB/s to 1 TB/s."""
    machine = measure_here()
    assert machine.name == "here"
    assert 1e-7 < machine.latency_inside < 1.0
    assert 1e6 < machine.inside < 1e12
    assert machine.crowding >= 1.0
    assert 1e5 < machine.storage < 1e12
    ranks = max(2, machine.ranks_per_node)
    assert all_reduce(machine, ranks, 4e6) > all_reduce(machine, ranks, 4.0) > 0


def test_a_machine_that_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.plan.here.SIZES", (2, 4))
    monkeypatch.setattr("train.plan.here.sys.executable", "false")
    with pytest.raises(ValueError, match="measuring this machine failed: exit code 1"):
        measure_here()


def test_processes_that_do_not_meet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    sleeper.chmod(0o755)
    monkeypatch.setattr("train.plan.here.sys.executable", str(sleeper))
    monkeypatch.setattr("train.plan.here.PATIENCE", 0.2)
    with pytest.raises(ValueError, match=r"did not find each other in 0\.2 s"):
        measure_here()
