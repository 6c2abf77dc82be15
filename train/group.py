"""The processes of a run, and what they tell each other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from potentials.devices import choose_device
from train.heartbeat import LEFT, Heartbeat
from train.launch import Launch, find_launch
from train.meeting import meeting_point, name_interface, share_cores

BACK_ENDS = {"cuda": "cpu:gloo,cuda:nccl", "xpu": "cpu:gloo,xpu:xccl", "cpu": "gloo"}
"""Of torch.distributed, by the kind of device; RCCL calls itself NCCL."""

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others before it takes them for lost, unless told otherwise."""


class Group:
    """One process of a run; this one is alone.

    Attributes:
        launch: which one.
    """

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch or Launch()
        self.rank, self.size = self.launch.rank, self.launch.size

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def place(self, device: torch.device) -> torch.device:
        """The device of this process where `device` is a kind: each on a host has its own."""
        return device

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, the same everywhere; in place where it can be."""
        return tensor

    def sum_later(self, tensor: Tensor) -> Callable[[], None]:
        """Begin to sum in place over all processes, which begin their sums in one order; what is returned waits."""
        self.sum(tensor)
        return lambda: None

    def concatenate(self, tensor: Tensor) -> Tensor:
        """[size n] the tensors [n] of all processes, by rank, on all; each as long."""
        return tensor

    def gather(self, message: bytes) -> list[bytes]:
        """What all processes send, by rank, on the first; nothing on the others."""
        return [message]

    def share(self, message: bytes) -> list[bytes]:
        """What all processes send, by rank, on all."""
        return [message]

    def broadcast(self, message: bytes, source: int) -> bytes:
        """What one process sends, on all."""
        assert source == self.rank, source
        return message

    def part(self, ranks: Sequence[int]) -> Group:
        """Some of the processes, which can `sum` among themselves; all processes must ask for it, in the same order."""
        assert list(ranks) == [self.rank], ranks
        return self

    def wait(self) -> None:
        """Until all processes are here."""

    @contextlib.contextmanager
    def one_of_a_host_first(self) -> Iterator[None]:
        """The first process of each host alone, then its others: they find what it has made."""
        if self.launch.local_rank:
            self.wait()
        yield
        if not self.launch.local_rank:
            self.wait()

    def agree(self, seconds: float, asked: int) -> tuple[float, int]:
        """The clock of the first, and the most urgent `train.stopping.Asked` of any: the same on all processes."""
        told = [seconds if self.first else 0.0, float(asked == 1), float(asked > 1)]
        found = self.sum(torch.tensor(told, dtype=torch.float64))
        return float(found[0]), 2 if found[2] else int(bool(found[1]))


ALONE = Group()


class Joined(Group):
    """Processes joined by torch.distributed.

    Attributes:
        heart: by which they see each other live.
        patience: how long they wait for each other.
    """

    def __init__(self, launch: Launch, heart: Heartbeat, patience: timedelta) -> None:
        super().__init__(launch)
        self.heart, self.patience = heart, patience

    def place(self, device: torch.device) -> torch.device:
        """See `Group`."""
        if device.type == "cpu" or ":" in str(device):
            return device
        count = torch.get_device_module(device.type).device_count()
        return torch.device(device.type, self.launch.local_rank % count)

    def sum(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        with _others_there(self.heart):
            dist.all_reduce(tensor)
        return tensor

    def sum_later(self, tensor: Tensor) -> Callable[[], None]:
        """See `Group`."""
        with _others_there(self.heart):
            work = dist.all_reduce(tensor, async_op=True)
        return partial(_wait, work, partial(_others_there, self.heart))

    def concatenate(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        return _concatenated(tensor, self.size, self.heart)

    def gather(self, message: bytes) -> list[bytes]:
        """See `Group`."""
        return self._exchange(message, everywhere=False)

    def share(self, message: bytes) -> list[bytes]:
        """See `Group`."""
        return self._exchange(message, everywhere=True)

    def _exchange(self, message: bytes, *, everywhere: bool) -> list[bytes]:
        # bytes, not objects: torch would send those as pickles
        with _others_there(self.heart):
            size = torch.tensor([len(message)])
            sizes = [torch.zeros_like(size) for _ in range(self.size)]
            dist.all_gather(sizes, size)
            longest = max(int(one) for one in sizes)
            own = torch.zeros(longest, dtype=torch.uint8)
            own[: len(message)] = torch.frombuffer(bytearray(message or b"\0"), dtype=torch.uint8)[: len(message)]
            found = [torch.zeros_like(own) for _ in range(self.size)] if everywhere or self.first else None
            if everywhere:
                dist.all_gather(found, own)
            else:
                dist.gather(own, found)
        return [bytes(one[: int(size)].numpy()) for one, size in zip(found or (), sizes if found else (), strict=True)]

    def broadcast(self, message: bytes, source: int) -> bytes:
        """See `Group`."""
        with _others_there(self.heart):
            size = torch.tensor([len(message)])
            dist.broadcast(size, source)
            content = torch.zeros(int(size), dtype=torch.uint8)
            if self.rank == source and message:
                content = torch.frombuffer(bytearray(message), dtype=torch.uint8)
            dist.broadcast(content, source)
        return bytes(content.numpy())

    def part(self, ranks: Sequence[int]) -> Group:
        """See `Group`."""
        with _others_there(self.heart):
            return Part(self, dist.new_group(list(ranks), timeout=self.patience))

    def wait(self) -> None:
        """See `Group`."""
        with _others_there(self.heart):
            dist.barrier()


class Part(Group):
    """Some of joined processes, of which this may be one; rank and size are those among them, -1 where it is none.

    Args:
        whole: all of them.
        handle: of torch.distributed.
    """

    def __init__(self, whole: Joined, handle: dist.ProcessGroup) -> None:
        super().__init__(whole.launch)
        self._heart, self._handle = whole.heart, handle
        self.rank, self.size = dist.get_rank(handle), dist.get_world_size(handle)

    def sum(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        with _others_there(self._heart, all_meet=False):
            dist.all_reduce(tensor, group=self._handle)
        return tensor

    def sum_later(self, tensor: Tensor) -> Callable[[], None]:
        """See `Group`."""
        there = partial(_others_there, self._heart, all_meet=False)
        with there():
            work = dist.all_reduce(tensor, group=self._handle, async_op=True)
        return partial(_wait, work, there)

    def concatenate(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        return _concatenated(tensor, self.size, self._heart, self._handle)


def _concatenated(tensor: Tensor, size: int, heart: Heartbeat, handle: dist.ProcessGroup | None = None) -> Tensor:
    found = tensor.new_empty(size * len(tensor))
    with _others_there(heart):
        dist.all_gather(list(torch.split(found, len(tensor))), tensor, group=handle)
    return found


class LostError(ValueError):
    """Another process of the run has ended, or does not answer."""

    exit_code = 76


def _wait(work: Any, there: Callable[[], AbstractContextManager[None]]) -> None:
    with there():
        work.wait()


@contextlib.contextmanager
def _others_there(heart: Heartbeat | None = None, *, all_meet: bool = True) -> Iterator[None]:
    if heart and all_meet:
        heart.met()
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        who = heart.to_blame() if heart else ""
        raise LostError(
            f"another process of this run has ended or does not answer{who} ({reason}); its own message says why, if it"
            " had time for one. What was saved last is whole: the same command with --resume goes on from there"
        ) from error


@contextlib.contextmanager
def joined(device: str, patience: timedelta = PATIENCE) -> Iterator[Group]:
    """The group that this process was launched in.

    Args:
        device: of the run file: "auto", "cpu", "cuda", ...
        patience: how long a process waits for the others before it takes them for lost; for them to start, it has
            `PATIENCE`.

    Raises:
        ValueError: the environment contradicts itself, or does not say where the others are.
    """
    launch = find_launch()
    if launch.size == 1:
        yield Group(launch)
        return
    share_cores(launch)
    kind = choose_device(device).type
    address, port = meeting_point(launch)
    if not launch.one_host and "GLOO_SOCKET_IFNAME" not in os.environ:
        name_interface(address)
    with _others_there():
        where = f"tcp://{address}:{port}"
        store, _, _ = next(rendezvous(where, launch.rank, launch.size, timeout=PATIENCE))
        heart = Heartbeat(store, launch.rank, launch.size)
        dist.init_process_group(
            BACK_ENDS[kind], store=store, rank=launch.rank, world_size=launch.size, timeout=patience
        )
    last_word = ""
    try:
        group = Joined(launch, heart, patience)
        yield group
        group.wait()  # who leaves early closes connections that others still use
    except BaseException as error:
        last_word = LEFT if isinstance(error, LostError) else str(error) or type(error).__name__
        raise
    finally:
        heart.stop(last_word)
        dist.destroy_process_group()
