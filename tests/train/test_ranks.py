"""One result, however many processes there are and whoever started them."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from train.config import RunConfig, dump_config
from train.journal import read_journal, write_json

MakeConfig = Callable[..., RunConfig]
SCRIPT = Path(__file__).with_name("trained_by_many.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
MPIEXEC = [shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec", "-n"]
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def started(config: RunConfig, ranks: int, *options: str, by: list[str] = TORCHRUN) -> subprocess.CompletedProcess[str]:
    """Train by so many processes in an environment that knows of no others."""
    file = config.output.with_suffix(".json")
    write_json(file, dump_config(config))
    launcher = [sys.executable] if ranks == 1 else [*by, str(ranks), *([] if by is TORCHRUN else [sys.executable])]
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    environment["OMP_NUM_THREADS"] = "1"
    return subprocess.run(
        [*launcher, str(SCRIPT), str(file), *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def trained(config: RunConfig, ranks: int, *options: str, by: list[str] = TORCHRUN) -> dict[str, Any]:
    done = started(config, ranks, *options, by=by)
    assert done.returncode == 0, done.stderr[-3000:]
    return found(config)


def found(config: RunConfig) -> dict[str, Any]:
    """What a training has left."""
    folder = config.output
    return {"weights": load_file(folder / "model.safetensors"), "rows": read_journal(folder / "journal.jsonl")}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, tensor in one["weights"].items():
        bounds = {"rtol": 1e-9, "atol": 1e-11}
        if name.startswith("last_layer."):  # inverses of matrices whose ridge may be 1e-8 of their eigenvalues
            bounds = {"rtol": 1e-5, "atol": 1e-5 * float(tensor.double().abs().max())}
        assert torch.allclose(tensor.double(), other["weights"][name].double(), **bounds), name
    for row, again in zip(one["rows"], other["rows"], strict=True):
        for key in ("step", "epoch", "train_loss", "valid_loss", "learning_rate", "largest_gradient"):
            assert row[key] == pytest.approx(again[key], rel=1e-9), key
        for name, value in row["valid"]["emt"].items():
            assert value == pytest.approx(again["valid"]["emt"][name], rel=1e-7), name


@pytest.fixture
def shared(make_config: MakeConfig) -> MakeConfig:
    """Four batches a step, of which the last step of an epoch has fewer; two epochs."""

    def make(name: str, **tables: Any) -> RunConfig:
        batch = {"max_atoms": 8, "per_step": 3}
        return make_config(name, **{"batch": batch, "stop": {"epochs": 3}, **tables})

    return make


def test_one_two_and_three_processes_give_one_result(shared: MakeConfig) -> None:
    alone = trained(shared("alone"), 1)
    assert_same(alone, trained(shared("two"), 2))
    # as many as batches: in the last step of an epoch some have none
    assert_same(alone, trained(shared("three"), 3, by=MPIEXEC))


def test_a_run_of_two_goes_on_as_one_and_as_three(shared: MakeConfig) -> None:
    alone = trained(shared("alone"), 1)
    config = shared("stopped", stop={"epochs": 1})
    trained(config, 2)
    config = shared("stopped", stop={"epochs": 2})
    trained(config, 1, "--resume")
    again = trained(shared("stopped"), 3, "--resume")
    # the learning rate followed three ends: the same steps, of other rates
    assert [row["step"] for row in again["rows"]] == [row["step"] for row in alone["rows"]]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def pair(
    config: RunConfig, hosts: Sequence[list[str]] = ([], []), address: str = "127.0.0.1"
) -> list[subprocess.Popen[str]]:
    """Two processes that nobody looks after: what becomes of one when the other is gone is its own doing."""
    file = config.output.with_suffix(".json")
    write_json(file, dump_config(config))
    common = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    common |= {"WORLD_SIZE": "2", "MASTER_ADDR": address, "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    if address != "127.0.0.1":
        common["LOCAL_WORLD_SIZE"] = "1"
    return [
        subprocess.Popen(
            [*hosts[rank], sys.executable, str(SCRIPT), str(file)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(0 if hosts[rank] else rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


@pytest.mark.parametrize(("killed", "after"), [(0, 0.13), (1, 0.41)])
def test_a_process_that_is_killed_at_any_moment(killed: int, after: float, shared: MakeConfig) -> None:
    """The other ends by itself and says why; what was saved goes on to the result of a run that nothing happened to."""
    tables = {"log": {"checkpoint_minutes": 1e-9}, "stop": {"epochs": 30}}
    config = shared("killed", **tables)
    processes = pair(config)
    state = config.output / "state.safetensors"
    end = time.monotonic() + 120
    while not state.exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(after)
    processes[killed].kill()
    other = processes[1 - killed]
    _, said = other.communicate(timeout=120)
    processes[killed].communicate()
    assert other.returncode not in {0, -9}
    assert "another process of this run has ended or does not answer" in said
    assert_same(trained(shared("whole", **tables), 1), trained(config, 1, "--resume"))


@pytest.mark.slow
def test_two_hosts(shared: MakeConfig, two_hosts: list[list[str]]) -> None:
    config = shared("hosts")
    processes = pair(config, hosts=two_hosts, address="10.199.7.1")
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said[-3000:]
    assert_same(trained(shared("alone"), 1), found(config))


def test_more_processes_than_batches(shared: MakeConfig) -> None:
    done = started(shared("many", batch={"max_atoms": 8, "per_step": 1}), 2)
    assert done.returncode != 0
    assert "2 processes share batch.per_step = 1 batches" in done.stderr
