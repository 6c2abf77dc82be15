"""Which process of a parallel launch this one is: torchrun, mpiexec, srun, or alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Launcher:
    """Environment variables by which a launcher tells a process its place."""

    name: str
    rank: str
    size: str
    local_rank: tuple[str, ...]
    local_size: tuple[str, ...]


ONLY_IN_STEPS = "SLURM_STEP_NUM_TASKS"

LAUNCHERS = (
    Launcher("torchrun", "RANK", "WORLD_SIZE", ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    Launcher(
        "mpiexec",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    # MPICH and Intel; Cray's PALS; PMI below srun
    Launcher(
        "mpiexec",
        "PMI_RANK",
        "PMI_SIZE",
        ("MPI_LOCALRANKID", "PALS_LOCAL_RANKID", "SLURM_LOCALID"),
        ("MPI_LOCALNRANKS", "PALS_LOCAL_SIZE"),
    ),
    # of the step, not of the job: the script of a batch job is one process, however many tasks the job has
    Launcher("srun", "SLURM_PROCID", ONLY_IN_STEPS, ("SLURM_LOCALID",), ("SLURM_STEP_TASKS_PER_NODE",)),
)
"""From the inside out: where torchrun is started by srun once a node, torchrun knows."""


@dataclass(frozen=True)
class Launch:
    """A process among those of a run.

    Attributes:
        by: name of the launcher; "alone" without one.
        rank: of this process, from 0.
        size: processes.
        local_rank: of this process on its host; the rank where the launcher does not say.
        local_size: processes on its host; none where the launcher does not say.
    """

    by: str = "alone"
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int | None = 1

    @property
    def one_host(self) -> bool:
        """Whether all processes are known to be on this host."""
        return self.local_size == self.size


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
    rank, size = (_whole_number(name, values[name]) for name in values)
    if not 0 <= rank < size:
        raise ValueError(f"{launcher.rank} is {rank} and {launcher.size} is {size}; ranks go from 0 to {size - 1}")
    local_rank = _first_of(launcher.local_rank, environment)
    local_size = _first_of(launcher.local_size, environment)
    return Launch(launcher.name, rank, size, rank if local_rank is None else local_rank, local_size)


def _first_of(names: Sequence[str], environment: Mapping[str, str]) -> int | None:
    name = next((name for name in names if name in environment), None)
    return None if name is None else _whole_number(name, environment[name])


def _whole_number(name: str, text: str | None) -> int:
    # Slurm writes 4(x2) for four tasks on each of two nodes
    found = re.match(r"\d+", text or "")
    if not found:
        raise ValueError(f"{name} is {text!r}; it must be a whole number")
    return int(found[0])
