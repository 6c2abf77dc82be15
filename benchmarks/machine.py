"""What every benchmark says of the machine, and how it times."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and fastest of several."""

    median: float
    fastest: float


def measure(call: Callable[[], object], repeats: int = 30, warm: int = 3) -> Timing:
    """Time a call, after some that do not count."""
    for _ in range(warm):
        call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return Timing(statistics.median(seconds), min(seconds))


def describe() -> str:
    """Processor, threads, load and versions, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = f"{len(names)} × {names[0]}" if names else model
    load = Path("/proc/loadavg")
    busy = f", load {load.read_text().split()[0]}" if load.exists() else ""
    packages = ", ".join(f"{name} {version(name)}" for name in ("gfm-ase", "torch", "ase"))
    return f"{model}, {torch.get_num_threads()} threads{busy}; Python {platform.python_version()}, {packages}"
