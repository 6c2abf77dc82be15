"""Parsl's HighThroughputExecutor as a `concurrent.futures.Executor`, on this machine or in jobs of Slurm."""

import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from md_workflows.screening.executors import ParslSettings


@contextmanager
def parsl_executor(settings: "ParslSettings") -> Iterator[Executor]:
    """An executor whose workers are those of `settings`; the logs of Parsl are removed at the end."""
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor

    local = settings.provider == "local"
    # jobs see the file system of this directory, not the temporary one of this machine
    with tempfile.TemporaryDirectory(prefix=".parsl-", dir=None if local else Path.cwd()) as logs:
        workers = HighThroughputExecutor(
            label="screening",
            provider=provider(settings),
            max_workers_per_node=settings.workers,
            address="127.0.0.1" if local else None,
            loopback_address="127.0.0.1",
            heartbeat_period=5,  # seconds until the death of a worker is noticed
            heartbeat_threshold=120,
            encrypted=True,
        )
        config = Config(executors=[workers], run_dir=logs, usage_tracking=0, initialize_logging=False)
        with ParslPoolExecutor(config=config) as executor:
            yield executor


def provider(settings: "ParslSettings") -> Any:
    """What starts the workers: processes here, or jobs that Parsl submits to Slurm."""
    from parsl.launchers import SrunLauncher
    from parsl.providers import LocalProvider, SlurmProvider

    # Parsl's own programs have to be found by jobs, which may begin in another environment
    begin = f"export PATH={Path(sys.executable).parent}:$PATH"
    if settings.provider == "local":
        return LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=begin)
    return SlurmProvider(
        partition=settings.partition,
        account=settings.account,
        nodes_per_block=settings.nodes,
        walltime=settings.walltime,
        init_blocks=1,
        min_blocks=0,
        max_blocks=settings.jobs,
        launcher=SrunLauncher(),
        worker_init=begin,
        exclusive=True,
    )
