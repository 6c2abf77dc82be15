"""Which process of a parallel launch this one is: torchrun, mpiexec, srun, or alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Launcher:
    """Environment variables by which a launcher tells a process its place."""

    name: str
    rank: str
    size: str
    local_rank: str
    local_size: str


LAUNCHERS = (
    Launcher("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    Launcher(
        "mpiexec",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    Launcher("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    # of the step, not of the job: the script of a batch job is one process, however many tasks the job has
    Launcher("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
)
"""From the inside out: where torchrun is started by srun once a node, torchrun knows."""

ONLY_IN_STEPS = "SLURM_STEP_NUM_TASKS"


@dataclass(frozen=True)
class Launch:
    """A process among those of a run.

    Attributes:
        by: name of the launcher; "alone" without one.
        rank: of this process, from 0.
        size: processes.
        local_rank: of this process on its host.
        local_size: processes on its host, as far as the launcher says.
    """

    by: str = "alone"
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """What the environment says of this process.

    Raises:
        ValueError: it says half of it, or launchers contradict each other.
    """
    told = [(launcher, launch) for launcher in LAUNCHERS if (launch := _told_by(launcher, environment))]
    if not told:
        return Launch()
    (inner, launch), *outer = told
    for launcher, other in outer:
        # one torchrun for each task of srun: more processes than tasks, as many for each
        if launch.size % other.size:
            raise ValueError(
                f"{inner.size} says that there are {launch.size} processes and {launcher.size} that there are"
                f" {other.size}; if {inner.name} did not start this run, unset {inner.rank} and {inner.size}"
            )
    return launch


def first_host(nodes: str) -> str:
    """The first name of a host list as Slurm writes it: nid[001-003,007],login1."""
    found = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    if not found:
        raise ValueError(f"{nodes!r} is no list of hosts")
    return "".join(part or "" for part in found.groups())


def _told_by(launcher: Launcher, environment: Mapping[str, str]) -> Launch | None:
    values = {name: environment.get(name) for name in (launcher.rank, launcher.size)}
    missing = [name for name, value in values.items() if value is None]
    if launcher.size == ONLY_IN_STEPS and ONLY_IN_STEPS in missing:
        return None
    if len(missing) == len(values):
        return None
    if missing:
        there = next(name for name in values if name not in missing)
        raise ValueError(
            f"{there} is set and {missing[0]} is not; {launcher.name} sets both: start the run by it, or unset {there}"
        )
    rank, size = (_whole_number(name, environment) for name in values)
    if not 0 <= rank < size:
        raise ValueError(f"{launcher.rank} is {rank} and {launcher.size} is {size}; ranks go from 0 to {size - 1}")
    local_rank = _whole_number(launcher.local_rank, environment, default=0)
    local_size = _whole_number(launcher.local_size, environment, default=max(1, local_rank + 1))
    return Launch(launcher.name, rank, size, local_rank, min(local_size, size))


def _whole_number(name: str, environment: Mapping[str, str], default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    # Slurm writes 4(x2) for four tasks on each of two nodes
    found = re.match(r"\d+", text or "")
    if not found:
        raise ValueError(f"{name} is {text!r}; it must be a whole number")
    return int(found[0])
