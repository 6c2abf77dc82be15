"""Taking part in a search, from whatever started this process: `python -m train.search.working FILE INDEX COUNT RANKS`.

Nothing, mpiexec, srun or torchrun: each process is a worker, or each slice of so many processes as a trial has.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from train.comparison_member import end_with_parent
from train.launch import Launch
from train.search.config import SearchConfig, load_search
from train.search.lease import Watch
from train.search.processes import Here, Share, end_process
from train.search.slices import Follower, Leader, Slice
from train.search.stopping import rule_of
from train.search.study import Study
from train.search.worker import Worker
from train.stopping import TO_BE_RESUMED, stop_signals

TICK_SECONDS = 0.3
WORKER_LOG = "worker-{}.txt"


@dataclass(frozen=True)
class Part:
    """How this process takes part.

    Attributes:
        launch: of which it is one process.
        ranks: processes of a trial.
        share: of this host, where there is no launch.
    """

    launch: Launch
    ranks: int = 1
    share: Share = field(default_factory=Share)

    @property
    def sliced(self) -> bool:
        """Whether a trial is computed by several processes of the launch."""
        return self.launch.size > 1 and self.ranks > 1

    @property
    def first(self) -> bool:
        """Whether it is the one that speaks."""
        return self.launch.rank == 0


def take_part(
    search: SearchConfig, part: Part, asked: Callable[[], int], tick: Callable[[], None] = lambda: None
) -> bool:
    """Work on a search until it is over (true), or until this process is asked to stop (false).

    Args:
        search: settings.
        part: how this process takes part.
        asked: whether to stop.
        tick: called several times a second.

    Raises:
        ValueError: settings that do not hold together.
        SliceError: another process of the slice is gone.
    """
    watch = Watch(search.workers.dead_after_seconds)
    if part.ranks < 1:
        raise ValueError(f"--ranks-per-trial is {part.ranks}; a trial has one process or more")
    if not part.sliced:
        local = part.launch
        share = Share(local.local_rank, local.local_size or local.size) if local.size > 1 else part.share
        return Worker(Study(search), rule_of(search.stopping), Here(part.ranks, share), asked, tick).work()
    own = Slice(search.output, part.launch, part.ranks)
    if own.member:
        Follower(own, watch).follow()
        return not asked()
    study = Study(search)
    leader = Leader(own, watch, asked)

    def both() -> None:
        leader.show_life()
        tick()

    try:
        return Worker(study, rule_of(search.stopping), leader, asked, both).work()
    finally:
        leader.leave()
        time.sleep(TICK_SECONDS)


def several(
    file: Path, search: SearchConfig, workers: int, ranks: int, watching: tuple[Callable[[], int], Callable[[], None]]
) -> bool:
    """Start workers on this host and wait for them; as `take_part`.

    Args:
        file: the search file.
        search: its settings.
        workers: how many.
        ranks: processes of a trial.
        watching: whether to stop, and what is called several times a second.

    Raises:
        ValueError: all of them have failed; the message is that of the last.
    """
    asked, tick = watching
    Study(search)  # mistakes are told once, and now
    processes = []
    for index in range(workers):
        command = [sys.executable, "-P", "-m", "train.search.working", str(file.absolute())]
        command += [str(index), str(workers), str(ranks)]
        with (search.output / WORKER_LOG.format(index)).open("wb") as log:
            processes.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - our own module
            )
    passed_on = False
    try:
        while any(process.poll() is None for process in processes):
            if asked() and not passed_on:
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                passed_on = True
            tick()
            time.sleep(TICK_SECONDS)
    finally:
        for process in processes:
            end_process(process)
    codes = [process.returncode for process in processes]
    if 0 not in codes and TO_BE_RESUMED not in codes:
        said = [_last_line(search.output / WORKER_LOG.format(index)) for index in range(workers)]
        raise ValueError(f"no worker is left: {said[-1] or f'exit code {codes[-1]}'}")
    return 0 in codes


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def main() -> int:
    """One of several workers; its exit code."""
    index, count, ranks = map(int, sys.argv[2:])
    end_with_parent()
    try:
        search = load_search(Path(sys.argv[1]))
        with stop_signals() as asked:
            over = take_part(search, Part(Launch(), ranks, Share(index, count)), asked)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log of the worker
        return 2
    return 0 if over else TO_BE_RESUMED


if __name__ == "__main__":
    sys.exit(main())
