"""Multi-task parallelism: heads on processes of their own, one result."""

from collections.abc import Callable
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from potentials.checkpoint import load_checkpoint
from potentials.potential import Potential, PotentialConfig
from tests.train.conftest import MakeConfig
from tests.train.test_ranks import MPIEXEC, assert_same, found, started, trained
from train.config import RunConfig
from train.data import load_datasets
from train.division import sharing
from train.group import ALONE
from train.layout import Layout
from train.loop import train
from train.progress import Reporter
from train.run import Run
from train.separate import SeparatePlan, shares


@pytest.fixture
def two(make_config: MakeConfig, write_molecules: Callable[[int], str]) -> Callable[..., RunConfig]:
    """Alloys and three times as many molecules; keyword arguments replace tables."""
    name = write_molecules(24)

    def make(output: str, **tables: Any) -> RunConfig:
        datasets = [
            {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"},
            {"name": "toy", "train": name, "weight": 2.0},
        ]
        outputs = {"output": [{"name": "magmoms"}]} if tables.pop("moments", False) else {}
        potential = {"backbone": {"name": "painn", "cutoff": 4.0, "width": 8, "depth": 2, "radial_size": 6}, **outputs}
        given: dict[str, Any] = {
            "potential": {**potential, "head_width": 16},
            "dataset": datasets,
            "batch": {"max_atoms": 12, "per_step": 4, "mixed": False},
            "stop": {"epochs": 2},
        }
        return make_config(output, **{**given, **tables})

    return make


TASKS = {"parallel": {"tasks": True}}


def test_one_two_and_four_processes_with_and_without_tasks(two: Callable[..., RunConfig]) -> None:
    """Potential, errors, norms of gradients and losses are those of one process that computes everything."""
    alone = trained(two("alone"), 1)
    assert_same(alone, trained(two("everywhere", batch=two("x").batch.model_dump()), 2))
    for ranks, by in ((1, MPIEXEC), (2, MPIEXEC), (4, MPIEXEC)):
        assert_same(alone, trained(two(f"tasks-{ranks}", **TASKS), ranks, by=by))


@pytest.mark.slow
def test_heads_of_their_own_are_shared_by_those_that_have_them(two: Callable[..., RunConfig]) -> None:
    """Optimizer states of the message passing by three, of the molecules' head by two; the state goes on unshared."""
    shared = {**TASKS, "optimizer": {"shard": True}}
    trained(two("shared", stop={"epochs": 1}, **shared), 3, by=MPIEXEC)
    trained(two("alone", stop={"epochs": 1}), 1)
    assert_same(found(two("alone")), found(two("shared")))
    assert_same(trained(two("alone"), 1, "--resume"), trained(two("shared", **TASKS), 1, "--resume"))


def test_a_run_of_four_goes_on_as_two_and_one(two: Callable[..., RunConfig]) -> None:
    """The state is whole, whoever had which head."""
    balance = {"loss": {"weighting": "uncertainty"}, "log": {"checkpoint_minutes": 1e-9}}
    config = two("stopped", stop={"epochs": 1}, **TASKS, **balance)
    trained(config, 4, by=MPIEXEC)
    trained(two("stopped", stop={"epochs": 2}, **TASKS, **balance), 2, "--resume", by=MPIEXEC)
    again = trained(two("stopped", stop={"epochs": 3}, **TASKS, **balance), 1, "--resume")
    assert [row["epoch"] for row in again["rows"]] == [1, 2, 3]
    potential, _ = load_checkpoint(config.output / "model.safetensors")
    assert potential.heads == ("emt", "toy")


def test_processes_step_and_remember_their_own_heads_alone(two: Callable[..., RunConfig]) -> None:
    config = two("run")
    run = Run(config, load_datasets(config), Reporter())
    part = sharing(run.potential, ["toy"])
    names = [name for name, _ in part.named_parameters()]
    assert [name for name in names if ".branches.emt." in f".{name}"] == []
    assert len(names) < len(list(run.potential.parameters()))
    assert all(weight is run.potential.get_parameter(name) for name, weight in part.named_parameters())
    assert torch.equal(part.references.e0_DZ[0], run.potential.references.e0_DZ[1])


def test_some_branches_say_what_they_said() -> None:
    potential = Potential(PotentialConfig(heads=("a", "b", "c")))
    potential.references.set_head("c", {"H": -13.0}, scale=2.0)
    part = potential.part(["c", "a"])
    assert part.heads == ("c", "a")
    assert part.references.e0("c") == {"H": -13.0}
    with pytest.raises(ValueError, match="unknown head 'd'"):
        potential.part(["d"])


def test_a_step_has_batches_of_every_data_set(two: Callable[..., RunConfig]) -> None:
    config = two("run")
    run = Run(config, load_datasets(config), Reporter())
    plan = run.plan
    assert isinstance(plan, SeparatePlan)
    edge = len(run.datasets[0].train)
    steps = list(islice(plan.steps(0, [0, 0]), 30))
    seen = sorted(number for step in steps for batch in step for number in batch)
    assert seen == list(range(len(run.structures)))
    for step in steps:
        assert all(len({number < edge for number in batch}) == 1 for batch in step)
        assert sum(batch[0] < edge for batch in step) <= plan.counts()[0]
    of_two = [list(islice(plan.steps(0, [0, 0], (rank, 2)), 30)) for rank in range(2)]
    assert [one + other for one, other in zip(*of_two, strict=True)] == steps
    later = list(islice(plan.steps(0, plan.counts()), 29))
    assert later == steps[1:]
    assert 0 <= plan.idle() < 1


@pytest.mark.parametrize(
    ("total", "costs", "wanted"),
    [
        (4, [1, 3], [1, 3]),
        (2, [1, 99], [1, 1]),
        (10, [1, 1, 8], [1, 1, 8]),
        (16, [5, 5, 5], [6, 5, 5]),
        (1, [7], [1]),
        (100, [1, 1, 998], [1, 1, 98]),
    ],
)
def test_shares_follow_the_costs(total: int, costs: list[float], wanted: list[int]) -> None:
    found = shares(total, costs)
    assert sum(found) == total
    assert sorted(found) == sorted(wanted)


def test_owners_of_heads(two: Callable[..., RunConfig]) -> None:
    config = two("run")
    plan = Run(config, load_datasets(config), Reporter()).plan
    assert isinstance(plan, SeparatePlan)
    assert plan.counts() == [1, 3] or plan.counts() == [2, 2]
    assert plan.owners(1) == [[0], [0]]
    owners = plan.owners(4)
    assert sorted(rank for ranks in owners for rank in ranks) == [0, 1, 2, 3]
    assert len(owners[0]) == plan.counts()[0]


def test_settings_that_contradict_each_other(two: Callable[..., RunConfig], tmp_path: Path) -> None:
    few = two("few", batch={"max_atoms": 12, "per_step": 1, "mixed": False})
    with pytest.raises(
        ValueError, match=r"2 data sets share batch.per_step = 1 batches; set batch.per_step to 2 or more"
    ):
        Run(few, load_datasets(few), Reporter())
    mixed = two("mixed", batch={"max_atoms": 12, "mixed": True}, **TASKS)
    Run(mixed, load_datasets(mixed), Reporter())  # alone nothing is divided
    done = started(mixed, 2, by=MPIEXEC)
    assert done.returncode
    assert "leave batch.mixed out" in done.stderr


def test_batches_that_will_be_empty_are_told(two: Callable[..., RunConfig]) -> None:
    console = Console(record=True, width=200, file=StringIO())
    config = two("run", batch={"max_atoms": 12, "per_step": 2, "mixed": False}, stop={"epochs": 1})
    train(config, console=console)
    assert "% of the batches of an epoch are empty" in console.export_text()


def test_per_step_is_at_least_one_a_data_set(two: Callable[..., RunConfig]) -> None:
    config = two("run", batch={"max_atoms": 12, "mixed": False})
    datasets = load_datasets(config)
    assert Layout(config, datasets, Run(config, datasets, Reporter()).potential, ALONE).per_step == 2
