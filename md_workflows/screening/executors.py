"""The executors that a screening can be spread over, each with its settings and what opens it."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from md_workflows.screening.process_pool import ProcessPool
from md_workflows.screening.workers import Pool
from md_workflows.settings import Settings, parse_settings

Count: TypeAlias = Annotated[int, Field(ge=1)]


class ProcessSettings(Settings):
    """Processes of this machine. workers: how many; each has its share of the cores."""

    workers: Count = 1


class MPISettings(Settings):
    """The other processes of an mpiexec or srun that started this one. workers: how many they are, as a check."""

    workers: Count | None = None


class DaskSettings(Settings):
    """Workers of Dask. workers: how many to start here · scheduler: address of a running one to use in their place."""

    workers: Count | None = None
    scheduler: str | None = None


class ParslSettings(Settings):
    """Workers of Parsl's HighThroughputExecutor.

    workers: on each node · provider: this machine, or jobs of Slurm, which Parsl submits · nodes: of a job ·
    walltime: of a job, hh:mm:ss · partition, account: of Slurm · jobs: at most so many at once.
    """

    workers: Count = 1
    provider: Literal["local", "slurm"] = "local"
    nodes: Count = 1
    walltime: Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d$")] = "01:00:00"
    partition: str | None = None
    account: str | None = None
    jobs: Count = 1


class Slots:
    """An executor with the number of chunks it is to hold at once."""

    def __init__(self, executor: Any, slots: int) -> None:
        self._executor = executor
        self.slots = slots

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Run the function in a worker."""
        return self._executor.submit(function, *arguments)


@contextmanager
def _process(settings: ProcessSettings) -> Iterator[Pool]:
    with ProcessPool(settings.workers) as pool:
        yield pool


@contextmanager
def _mpi(settings: MPISettings) -> Iterator[Pool | None]:
    _need("mpi", "mpi4py")
    from mpi4py import MPI
    from mpi4py.futures import MPICommExecutor

    workers = MPI.COMM_WORLD.size - 1
    if workers == 0:
        raise ValueError(
            "the executor mpi works on the processes that mpiexec or srun started, and this is the only one; write "
            "mpiexec -n 5 gfm-ase screen ... for four workers and the one that keeps the table."
        )
    if settings.workers not in {None, workers}:
        raise ValueError(
            f"{settings.workers} workers are asked for and {workers} processes are there beside the first; start "
            f"{(settings.workers or 0) + 1} processes, or leave --workers out."
        )
    _alone_in_ase()
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        yield None if executor is None else Slots(executor, 2 * workers)


def _alone_in_ase() -> None:
    """Keep ASE from reading and writing collectively: here one process keeps the table, the others compute."""
    import ase.parallel

    ase.parallel.world.comm = ase.parallel.DummyMPI()


@contextmanager
def _dask(settings: DaskSettings) -> Iterator[Pool]:
    _need("dask", "distributed")
    import dask
    from distributed import Client, LocalCluster

    if settings.scheduler is not None:
        if settings.workers is not None:
            raise ValueError("give either workers (to start here) or scheduler (whose workers are used), not both.")
        with Client(settings.scheduler) as client:
            yield _dask_slots(client)
        return
    # a worker that dies takes its one task with it, and no other that would wait there; and that task is told at once
    exact = {"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0}
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    with (
        dask.config.set(exact),
        LocalCluster(n_workers=settings.workers or 1, threads_per_worker=1, **quiet) as cluster,
        Client(cluster) as client,
    ):
        yield _dask_slots(client)


def _dask_slots(client: Any) -> Pool:
    client.wait_for_workers(1)
    workers = len(client.nthreads())
    return Slots(client.get_executor(pure=False), 2 * workers)


@contextmanager
def _parsl(settings: ParslSettings) -> Iterator[Pool]:
    _need("parsl", "parsl")
    from md_workflows.screening.parsl_pool import parsl_executor

    with parsl_executor(settings) as executor:
        yield Slots(executor, 2 * settings.workers * settings.nodes * settings.jobs)


EXECUTORS: dict[str, tuple[type[Settings], Callable[[Any], AbstractContextManager[Pool | None]]]] = {
    "process": (ProcessSettings, _process),
    "mpi": (MPISettings, _mpi),
    "dask": (DaskSettings, _dask),
    "parsl": (ParslSettings, _parsl),
}
"""The executors by name: settings, and what opens one; of MPI the processes that only work get None, at the end."""


def open_pool(name: str, values: Mapping[str, Any]) -> AbstractContextManager[Pool | None]:
    """Open the executor `name` with these settings.

    Raises:
        ValueError: an executor that there is not, settings that it does not take, a library that is not installed.
    """
    if name not in EXECUTORS:
        raise ValueError(f"the executor '{name}' is not known; there are {', '.join(EXECUTORS)}.")
    settings, opener = EXECUTORS[name]
    return opener(parse_settings(settings, values))


def _need(extra: str, module: str) -> None:
    if find_spec(module) is None:
        raise ValueError(f"the executor {extra} needs {module}: pip install 'gfm-ase[{extra}]'.")
