"""What sources look at: the files and the environment of a process, its processor time, its GPU."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from train.energy.cpu_time import cpu_seconds


@dataclass(frozen=True)
class Gpu:
    """The GPU of a process.

    Attributes:
        kind: "cuda", "rocm" (which calls itself cuda in torch) or "xpu".
        name: of the model.
        uuid: as torch tells it, without "GPU-"; empty where it does not.
        bus: PCI address, "0000:c1:00.0"; empty where torch does not tell it.
    """

    kind: str
    name: str
    uuid: str = ""
    bus: str = ""


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Attributes:
        host: name of the machine.
        process: number of this process on it.
        gpu: that it computes on, if any.
        root: of the file system that /sys and /proc are in.
        environment: variables.
        clock: seconds of wall time.
        cpu_seconds: of processor time that this process and its children have used.
    """

    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    gpu: Gpu | None = None
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Callable[[], float] = time.monotonic
    cpu_seconds: Callable[[], float] = cpu_seconds

    @property
    def parts(self) -> frozenset[str]:
        """What uses energy: "cpu", and "gpu" if there is one."""
        return frozenset({"cpu", "gpu"} if self.gpu else {"cpu"})

    @property
    def gpu_kind(self) -> str | None:
        """See `Gpu`; none where there is no GPU."""
        return self.gpu.kind if self.gpu else None

    @property
    def gpu_key(self) -> str:
        """The same for all processes that share the GPU, if that is known."""
        assert self.gpu is not None, "no GPU"
        return f"{self.host}/{self.gpu.uuid or self.gpu.bus or self.process}"


def place_of(device: torch.device) -> Place:
    """Of this process, which computes on a device."""
    return Place(gpu=gpu_of(device))


def gpu_of(device: torch.device) -> Gpu | None:
    """The GPU that a device of torch is; none for the CPU."""
    if device.type == "cpu":
        return None
    properties = torch.get_device_module(device.type).get_device_properties(device)
    kind = "rocm" if device.type == "cuda" and torch.version.hip else device.type
    bus = ""
    if hasattr(properties, "pci_bus_id"):  # by newer versions of torch
        bus = f"{properties.pci_domain_id:04x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"
    return Gpu(kind, str(properties.name), str(getattr(properties, "uuid", "")).removeprefix("GPU-"), bus)
