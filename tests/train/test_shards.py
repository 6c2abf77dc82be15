"""Optimizer states shared by processes: the numbers of one process, a part of the memory on each."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from potentials.backbones.base import N_ELEMENTS
from tests.train.conftest import MakeConfig
from tests.train.test_ranks import LAUNCHED, MPIEXEC, assert_same, free_port, trained
from train.config import OptimizerConfig, RunConfig
from train.group import Group
from train.launch import Launch
from train.optimizer import Optimizer
from train.shards import ALIGNED, Partition, cut

SCRIPT = Path(__file__).with_name("stepped_by_many.py")
ELEMENTS = torch.tensor([1, 6, 8, 29])
SETTINGS = OptimizerConfig(learning_rate=0.01, weight_decay=0.1, clip_norm=20.0, warmup_fraction=0.0)
STEPS = 4


class Threaded(Group):
    """One of several threads that take the part of processes."""

    def __init__(self, rank: int, room: "Room") -> None:
        super().__init__(Launch(rank=rank, size=room.size))
        self.room = room

    def concatenate(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        self.room.told[self.rank] = tensor.clone()
        self.room.barrier.wait(60)
        found = torch.cat([self.room.told[rank] for rank in range(self.size)])
        self.room.barrier.wait(60)
        return found


class Room:
    """Where threads meet."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier = size, Barrier(size)
        self.told: dict[int, Tensor] = {}

    def run(self, do: Callable[[Group], Any]) -> list[Any]:
        """What each of the threads gives."""
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(do, [Threaded(rank, self) for rank in range(self.size)]))


@cache
def start(dtype: torch.dtype) -> nn.ModuleDict:
    """A table by element, a large map and many small things, of sizes that are multiples of nothing."""
    torch.manual_seed(5)
    layers = [nn.Linear(width, width + 3) for width in (3, 5, 13)]
    large = nn.Linear(171, 53)
    return nn.ModuleDict({"table": nn.Embedding(N_ELEMENTS, 7), "large": large, "small": nn.ModuleList(layers)}).to(
        dtype
    )


def module(dtype: torch.dtype) -> nn.ModuleDict:
    """Always of the same weights: threads share one source of random numbers."""
    return copy.deepcopy(start(dtype))


def gradients(of: nn.Module, step: int) -> list[Tensor]:
    """With steps that are clipped and steps that are not."""
    generator = torch.Generator().manual_seed(step)
    found = [(step + 1) * 0.1 * torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in of.parameters()]
    found[0] = torch.zeros_like(found[0]).index_copy(0, ELEMENTS, found[0][ELEMENTS])
    return found


def optimizer(own: nn.Module, group: Group | None) -> Optimizer:
    groups = None if group is None else [group] * len(list(own.parameters()))
    return Optimizer(own, SETTINGS, elements=ELEMENTS, groups=groups)


def stepped(group: Group | None, dtype: torch.dtype) -> dict[str, Any]:
    """Some steps, and all that can be seen of them."""
    own = module(dtype)
    taken = optimizer(own, group)
    norms = [taken.step(gradients(own, step), step / STEPS) for step in range(STEPS)]
    return {"weights": own.state_dict(), "norms": norms, "averaged": taken.averaged(), "state": taken.state()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.shape == other[name].shape, name
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_shared_steps_are_those_of_one_to_the_bit(size: int, dtype: torch.dtype) -> None:
    alone = stepped(None, dtype)
    assert min(alone["norms"]) < 20.0 < max(alone["norms"])
    first, *others = Room(size).run(lambda group: stepped(group, dtype))
    for found in (first, *others):
        assert found["norms"] == alone["norms"]
        assert_equal(found["weights"], alone["weights"])
        assert_equal(found["averaged"], alone["averaged"])
    assert_equal(first["state"], alone["state"])
    assert all(not found["state"] for found in others)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_a_state_of_any_number_goes_on_as_any_other(before: int, after: int) -> None:
    dtype = torch.float32
    whole = stepped(None, dtype)

    def begin(group: Group) -> dict[str, Any]:
        own = module(dtype)
        taken = optimizer(own, group)
        for step in range(2):
            taken.step(gradients(own, step), step / STEPS)
        return {"weights": own.state_dict(), "state": taken.state()}

    stopped = Room(before).run(begin)[0]
    saved = {name: value.clone() for name, value in stopped["state"].items()}

    def go_on(group: Group) -> dict[str, Any]:
        own = module(dtype)
        own.load_state_dict(stopped["weights"])
        taken = optimizer(own, group)
        taken.load_state(saved, 2)
        for step in range(2, STEPS):
            taken.step(gradients(own, step), step / STEPS)
        return {"weights": own.state_dict(), "state": taken.state()}

    found = Room(after).run(go_on)
    assert_equal(found[0]["state"], whole["state"])
    for one in found:
        assert_equal(one["weights"], whole["weights"])


@pytest.mark.parametrize("size", [2, 3, 7])
def test_memory_is_shared_evenly(size: int) -> None:
    """Bytes of all that an optimizer holds between steps beside the module, however uneven the tensors are."""
    own = module(torch.float32)
    rows = 119 - len(ELEMENTS)
    numbers = sum(parameter.numel() for parameter in own.parameters()) - 7 * rows
    assert own["large"].weight.numel() > 0.8 * numbers  # nobody holds it all

    def held(group: Group) -> int:
        own = module(torch.float32)
        taken = optimizer(own, group)
        taken.step(gradients(own, 0), 0.0)
        moments = [value for state in taken.adam.state.values() for key, value in state.items() if key != "step"]
        return sum(tensor.untyped_storage().nbytes() for tensor in [*moments, *taken.average])

    found = Room(size).run(held)
    assert sum(found) == 3 * 4 * numbers
    for part in found:
        assert abs(part - 3 * 4 * numbers / size) <= 3 * 4 * ALIGNED


def test_cuts_keep_to_multiples_within_tensors() -> None:
    sizes = [10, 1000, 0, 77, 5000, 3]
    parts = cut(range(6), sizes, 4)
    ends = dict.fromkeys(range(6), 0)
    for part in parts:
        for piece in part:
            assert piece.start == ends[piece.place]
            assert piece.start % ALIGNED == 0
            ends[piece.place] = piece.stop
    assert list(ends.values()) == sizes
    assert max(abs(sum(piece.stop - piece.start for piece in part) - 6090 / 4) for part in parts) <= ALIGNED


def test_more_processes_than_numbers() -> None:
    """Some have nothing to step, and take part all the same."""
    torch.manual_seed(1)
    start = nn.Linear(3, 2).state_dict()

    def take(group: Group | None) -> dict[str, Tensor]:
        own = nn.Linear(3, 2)
        own.load_state_dict(start)
        taken = Optimizer(own, SETTINGS, groups=None if group is None else [group] * 2)
        taken.step([torch.ones_like(parameter) for parameter in own.parameters()], 0.5)
        return {**own.state_dict(), **{f"average.{name}": value for name, value in taken.averaged().items()}}

    for found in Room(3).run(take):
        assert_equal(found, take(None))


def test_one_type_of_numbers() -> None:
    with pytest.raises(AssertionError, match="parameters of two kinds"):
        Partition([torch.zeros(2), torch.zeros(2, dtype=torch.float64)], [Group(), Group()])


@pytest.fixture
def sharing(make_config: MakeConfig) -> Callable[..., RunConfig]:
    """Three batches a step, of which the last step of an epoch has fewer."""

    def make(name: str, *, shard: bool = True, epochs: int = 2) -> RunConfig:
        batch = {"max_atoms": 8, "per_step": 3}
        return make_config(name, batch=batch, stop={"epochs": epochs}, optimizer={"shard": shard})

    return make


def test_trainings_of_one_two_and_three_processes(sharing: Callable[..., RunConfig]) -> None:
    alone = trained(sharing("alone", shard=False), 1)
    assert_same(alone, trained(sharing("two"), 2))
    assert_same(alone, trained(sharing("three"), 3, by=MPIEXEC))


@pytest.mark.slow
def test_a_shared_run_goes_on_alone_and_shared_again(sharing: Callable[..., RunConfig]) -> None:
    """What each number does to the learning rate, an unshared run does too."""

    def in_three(name: str, ranks: tuple[int, int, int], shards: tuple[bool, bool, bool]) -> dict[str, Any]:
        for session, (count, shard) in enumerate(zip(ranks, shards, strict=True)):
            config = sharing(name, shard=shard, epochs=session + 1)
            found = trained(config, count, *(["--resume"] if session else []))
        return found

    alone = in_three("alone", (1, 1, 1), (False, False, False))
    assert_same(alone, in_three("many", (2, 1, 3), (True, False, True)))


def run_script(count: int, what: str) -> list[tuple[int, str]]:
    """What became of each process, and what it said; nobody looks after them."""
    common = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    common |= {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), what],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]


def test_parameters_with_processes_of_their_own() -> None:
    for code, said in run_script(3, "parts"):
        assert code == 0, said[-3000:]


def test_who_waits_for_weights_of_one_that_is_lost_is_told() -> None:
    (code, said), (lost, _) = run_script(2, "leaves")
    assert lost == 3
    assert code == 1
    assert "another process of this run has ended or does not answer" in said
    assert "gather" in said  # it was there that it waited
