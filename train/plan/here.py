"""This machine: what its processes take to add numbers up, and to compute beside each other; measured in seconds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from train.plan.machines import GB, HERE, Machine

SIZES = (2, 256, 1 << 14, 1 << 17, 1 << 20)
"""Numbers that are added up, of 4 bytes."""

REPEATS = 15
PATIENCE = 120
STATE_SIZE = 1 << 24
COMPUTED = (256, 64, 8192)
"""Atoms, features and edges of what the processes compute beside each other."""


def measure_here(folder: Path | None = None) -> Machine:
    """Start a process for each core, and see how fast they add up numbers and compute.

    Args:
        folder: where checkpoints would be written; that of temporary files where left out.

    Raises:
        ValueError: the processes did not come to an end.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = max(2, cores)
    told = json.loads(_started(ranks))
    latency, per_byte = fit_line([4 * size for size in SIZES], told["seconds"])
    return Machine(
        name=HERE,
        nodes=1,
        ranks_per_node=cores,
        inside=ring_bandwidth(ranks, per_byte),
        between=ring_bandwidth(ranks, per_byte),
        latency_inside=latency / (2 * (ranks - 1)),
        latency_between=latency / (2 * (ranks - 1)),
        attained=1.0,
        node_watts=0.0,
        storage=_storage(folder),
        crowding=max(1.0, told["together"] / told["alone"]),
        spare_cores=False,
        sources=(
            f"measured: gloo between {ranks} processes of one thread on {cores} cores, messages of {4 * SIZES[0]} bytes"
            f" to {4 * SIZES[-1] / 1e6:.0f} MB, medians of {REPEATS}; computing alone and beside each other",
        ),
    )


def ring_bandwidth(ranks: int, per_byte: float) -> float:
    """Bytes/s of the links of a ring that takes so many seconds for a byte more."""
    return float(2 * (ranks - 1) / ranks / per_byte)


def fit_line(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Latency and seconds per byte, by least squares of relative errors; neither below what a fit allows."""
    sizes_B, seconds_B = np.asarray(sizes, float), np.asarray(seconds, float)
    scale = sizes_B.max()
    matrix = np.column_stack([np.ones_like(sizes_B), sizes_B / scale]) / seconds_B[:, None]
    found = np.linalg.lstsq(matrix, np.ones_like(sizes_B), rcond=None)[0]
    return max(float(found[0]), 1e-9), max(float(found[1]) / scale, 1e-15)


def _started(ranks: int) -> str:
    """What the first of the processes said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "train.plan.here", str(ranks), str(Path(folder) / "meeting")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        processes = [
            subprocess.Popen(  # noqa: S603 - our own command
                [*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            for rank in range(ranks)
        ]
        try:
            ended = [process.communicate(timeout=PATIENCE) for process in processes]
        except subprocess.TimeoutExpired:
            raise ValueError(f"{ranks} processes on this machine did not find each other in {PATIENCE} s") from None
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        for process, (_, error) in zip(processes, ended, strict=True):
            if process.returncode:
                reason = error.strip().splitlines()[-1] if error.strip() else f"exit code {process.returncode}"
                raise ValueError(f"measuring this machine failed: {reason}")
        return ended[0][0]


def _storage(folder: Path | None) -> float:
    """Bytes/s of a file that is written and on the disk."""
    data = os.urandom(STATE_SIZE)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return len(data) / max(time.perf_counter() - began, len(data) / (100 * GB))


def _median(call: Callable[[], object], repeats: int = REPEATS) -> float:
    seconds = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


def _computed() -> Callable[[], object]:
    """What message passing is made of: gather rows, multiply by a matrix, add up."""
    atoms, width, edges = COMPUTED
    random = torch.Generator().manual_seed(0)
    features, matrix = torch.randn(atoms, width, generator=random), torch.randn(width, width, generator=random)
    index = torch.randint(0, atoms, (edges,), generator=random)
    return lambda: torch.zeros_like(features).index_add(0, index, torch.tanh(features[index] @ matrix))


def _one_of_several(size: int, meeting: str, rank: int) -> None:
    patience = timedelta(seconds=PATIENCE)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=patience)
    seconds = []
    for count in SIZES:
        numbers = torch.zeros(count)
        dist.barrier()
        seconds.append(_median(lambda numbers=numbers: dist.all_reduce(numbers)))  # type: ignore[misc]
    call = _computed()
    alone = _median(call) if rank == 0 else 0.0
    dist.barrier()
    together = torch.tensor([_median(call)])
    dist.all_reduce(together)
    if rank == 0:
        print(json.dumps({"seconds": seconds, "alone": alone, "together": float(together) / size}))  # noqa: T201
    dist.destroy_process_group()


if __name__ == "__main__":
    _one_of_several(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
