"""The processes of a run, and what they tell each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from potentials.devices import choose_device
from train.launch import Launch, find_launch, first_host

BACK_ENDS = {"cuda": "cpu:gloo,cuda:nccl", "xpu": "cpu:gloo,xpu:xccl", "cpu": "gloo"}
"""Of torch.distributed, by the kind of device; RCCL calls itself NCCL."""

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others before it takes them for lost."""

FIRST_PORT, PORTS = 20_000, 20_000
SIOCGIFADDR = 0x8915
"""Of ioctl(2): the address of an interface."""


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

    def agree(self, seconds: float, asked: bool) -> tuple[float, bool]:
        """The clock of the first, and whether anyone was asked to stop: the same on all processes."""
        told = self.sum(torch.tensor([seconds if self.first else 0.0, float(asked)], dtype=torch.float64))
        return float(told[0]), bool(told[1])


ALONE = Group()


class Joined(Group):
    """Processes joined by torch.distributed."""

    def place(self, device: torch.device) -> torch.device:
        """See `Group`."""
        if device.type == "cpu" or ":" in str(device):
            return device
        count = torch.get_device_module(device.type).device_count()
        return torch.device(device.type, self.launch.local_rank % count)

    def sum(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        with _others_there():
            dist.all_reduce(tensor)
        return tensor

    def concatenate(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        return _concatenated(tensor, self.size)

    def gather(self, message: bytes) -> list[bytes]:
        """See `Group`."""
        return self._exchange(message, everywhere=False)

    def share(self, message: bytes) -> list[bytes]:
        """See `Group`."""
        return self._exchange(message, everywhere=True)

    def _exchange(self, message: bytes, *, everywhere: bool) -> list[bytes]:
        # bytes, not objects: torch would send those as pickles
        with _others_there():
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
        with _others_there():
            size = torch.tensor([len(message)])
            dist.broadcast(size, source)
            content = torch.zeros(int(size), dtype=torch.uint8)
            if self.rank == source and message:
                content = torch.frombuffer(bytearray(message), dtype=torch.uint8)
            dist.broadcast(content, source)
        return bytes(content.numpy())

    def part(self, ranks: Sequence[int]) -> Group:
        """See `Group`."""
        with _others_there():
            return Part(self, dist.new_group(list(ranks)))

    def wait(self) -> None:
        """See `Group`."""
        with _others_there():
            dist.barrier()


class Part(Group):
    """Some of joined processes, of which this may be one; rank and size are those among them, -1 where it is none.

    Args:
        whole: all of them.
        handle: of torch.distributed.
    """

    def __init__(self, whole: Joined, handle: dist.ProcessGroup) -> None:
        super().__init__(whole.launch)
        self._handle = handle
        self.rank, self.size = dist.get_rank(handle), dist.get_world_size(handle)

    def sum(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        with _others_there():
            dist.all_reduce(tensor, group=self._handle)
        return tensor

    def concatenate(self, tensor: Tensor) -> Tensor:
        """See `Group`."""
        return _concatenated(tensor, self.size, self._handle)


def _concatenated(tensor: Tensor, size: int, handle: dist.ProcessGroup | None = None) -> Tensor:
    found = tensor.new_empty(size * len(tensor))
    with _others_there():
        dist.all_gather(list(torch.split(found, len(tensor))), tensor, group=handle)
    return found


class LostError(ValueError):
    """Another process of the run has ended, or does not answer."""


@contextlib.contextmanager
def _others_there() -> Iterator[None]:
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LostError(
            f"another process of this run has ended or does not answer ({reason}); its own message says why, if it had"
            " time for one. What was saved last is whole: the same command with --resume goes on from there"
        ) from error


@contextlib.contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that this process was launched in.

    Args:
        device: of the run file: "auto", "cpu", "cuda", ...

    Raises:
        ValueError: the environment contradicts itself, or does not say where the others are.
    """
    launch = find_launch()
    if launch.size == 1:
        yield Group(launch)
        return
    share_cores(launch)
    kind = choose_device(device).type
    address, port = _meeting_point(launch)
    if not launch.one_host and "GLOO_SOCKET_IFNAME" not in os.environ:
        name_interface(address)
    with _others_there():
        dist.init_process_group(
            BACK_ENDS[kind],
            init_method=f"tcp://{address}:{port}",
            rank=launch.rank,
            world_size=launch.size,
            timeout=PATIENCE,
        )
    try:
        group = Joined(launch)
        yield group
        group.wait()  # who leaves early closes connections that others still use
    finally:
        dist.destroy_process_group()


def share_cores(launch: Launch) -> None:
    """Each process of a host gets its part of the cores, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // (launch.local_size or launch.size)))


def name_interface(address: str) -> None:
    """Have gloo listen on the network that leads to an address: a host's own name may mean a network of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, FIRST_PORT))  # sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # an interface without an address
                    asked = struct.pack("256s", name.encode()[:15])
                    if socket.inet_ntoa(fcntl.ioctl(probe.fileno(), SIOCGIFADDR, asked)[20:24]) == own:
                        os.environ["GLOO_SOCKET_IFNAME"] = name
        except OSError:  # no such host: joining says so
            return


def _meeting_point(launch: Launch) -> tuple[str, int]:
    """Host and port of the first process."""
    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if launch.by == "srun":
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ["SLURM_JOB_NODELIST"]
        of_step = int(os.environ["SLURM_JOB_ID"]) + 7 * int(os.environ.get("SLURM_STEP_ID", "0"))
        return first_host(nodes), FIRST_PORT + of_step % PORTS
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        raise ValueError(
            f"{launch.by} started {launch.size} processes, which cannot find each other: install the extra mpi (pip"
            " install 'gfm-ase[mpi]'), or set MASTER_ADDR and MASTER_PORT to a host and a free port of the first"
        ) from None
    own = _free_address(one_host=launch.one_host) if launch.rank == 0 else None
    found: tuple[str, int] = MPI.COMM_WORLD.bcast(own)
    return found


def _free_address(*, one_host: bool) -> tuple[str, int]:
    host = "127.0.0.1" if one_host else socket.gethostname()
    with socket.socket() as probe:
        probe.bind(("", 0))
        return host, probe.getsockname()[1]
