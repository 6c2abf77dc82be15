"""A screening that is killed again and again: each structure once in the table, none there computed twice, memory flat.

python -m benchmarks.screening_kills --structures 10000 --kills 10
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator

from md_workflows import RelaxSettings, Spread, Status, open_pool, progress_bar, screen
from md_workflows.engine import ASEEngine, Engine, Outcome

METALS = ("Cu", "Ag", "Au", "Ni", "Pd", "Pt", "Al")
WORKERS = 2
CHUNK = 16


@dataclass(frozen=True)
class LoggingEMT:
    """EMT that appends the name of every structure it is done with to a file, one for each process.

    still: no forces in the place of EMT's, where only the process that keeps the table is looked at.
    """

    folder: Path
    still: bool = False
    identity: str = "EMT"

    def __call__(self) -> Engine:
        """The engine of this process."""
        from ase.calculators.emt import EMT

        calculator = Still() if self.still else EMT()
        return _Logging(ASEEngine(calculator, self.identity), self.folder / f"{os.getpid()}.log")


class Still(Calculator):
    """No energy and no forces, at once."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def calculate(self, atoms: Atoms, *_: object) -> None:
        """See ASE."""
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


class _Logging:
    def __init__(self, engine: ASEEngine, log: Path) -> None:
        self._engine = engine
        self._log = log
        self.identity = engine.identity

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        names: list[str] = []

        def noted() -> Iterator[Atoms]:
            for atoms in structures:
                names.append(atoms.info["name"])
                yield atoms

        for outcome in self._engine.relax_many(noted(), settings):
            with self._log.open("a") as log:
                log.write(f"{names[outcome.index]}\n")
            yield outcome


def alloys(number: int) -> Iterator[tuple[str, Atoms]]:
    """Small fcc alloys with displaced atoms, the same at each call."""
    rng = random.Random(7)  # noqa: S311 - no secret
    for place in range(number):
        host, guest = rng.sample(METALS, 2)
        atoms = bulk(host, cubic=True)
        atoms.symbols[rng.randrange(4)] = guest
        atoms.rattle(0.02, seed=place)
        atoms.info["name"] = f"alloy-{place}"
        yield atoms.info["name"], atoms


def child(folder: Path, number: int, still: bool) -> None:
    """One start of the screening, which may be killed at any moment; prints its peak memory in MiB at its end."""
    with open_pool("process", {"workers": WORKERS}) as pool, progress_bar("screening", "structures") as progress:
        engine = Spread(LoggingEMT(folder / "logs", still), pool, CHUNK)
        screen(alloys(number), folder / "alloys", RelaxSettings(max_steps=0), engine=engine, progress=progress)
    print(f"peak {peak_memory():.1f}")


def peak_memory() -> float:
    """The most memory that this process held so far, MiB; getrusage would count that of the process that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


@dataclass(frozen=True)
class Report:
    """What a screening with kills came to.

    rows: in the table · waiting: not done · twice: structures in it more than once · evaluations: structures computed,
    of which `again` were computed once more after a kill · again_in_table: those whose result the table had before that
    kill · peak_MiB: memory of the process that keeps the table, over the last start, which did all that was left.
    """

    structures: int
    kills: int
    rows: int
    waiting: int
    twice: int
    evaluations: int
    again: int
    again_in_table: int
    peak_MiB: float
    seconds: float


def start(folder: Path, number: int, still: bool = False) -> "subprocess.Popen[str]":
    """Start the screening in a process group of its own."""
    words = [sys.executable, "-m", "benchmarks.screening_kills", "--child", str(folder), "--structures", str(number)]
    words += ["--still"] if still else []
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603 - itself


def screen_with_kills(folder: Path, number: int, kills: int, still: bool = False) -> Report:
    """Screen `number` alloys, killing the process group `kills` times, each after a random part of what is left."""
    rng = random.Random(0)  # noqa: S311 - no secret
    (folder / "logs").mkdir(parents=True)
    begin = time.perf_counter()
    in_table: list[set[str]] = []
    computed: list[Counter[str]] = []
    for left in range(kills, 0, -1):
        running = start(folder, number, still)
        done = len(finished(folder))
        goal = done + max(1, int(rng.random() * 2 * (number - done) / (left + 1)))
        wait_for(folder, goal, running)
        time.sleep(rng.random())
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        computed.append(evaluated(folder))
        in_table.append(finished(folder))
    last = start(folder, number, still)
    told = last.communicate()[0]
    if last.returncode:
        raise RuntimeError(f"the last start ended with {last.returncode}: {told}")
    computed.append(evaluated(folder))
    rows = statuses(folder)
    all_counts = computed[-1]
    return Report(
        structures=number,
        kills=kills,
        rows=len(rows),
        waiting=sum(status == Status.WAITING for _, status in rows),
        twice=len(rows) - len({name for name, _ in rows}),
        evaluations=sum(all_counts.values()),
        again=sum(all_counts.values()) - len(all_counts),
        again_in_table=sum(
            after[name] > before[name]
            for before, after, known in zip(computed, computed[1:], in_table, strict=False)
            for name in known
        ),
        peak_MiB=float(told.split("peak ")[1]),
        seconds=time.perf_counter() - begin,
    )


def wait_for(folder: Path, goal: int, running: "subprocess.Popen[str]") -> None:
    """Return when the processes have computed `goal` structures in all, or are done."""
    while running.poll() is None and sum(evaluated(folder).values()) < goal:
        time.sleep(0.2)


def evaluated(folder: Path) -> "Counter[str]":
    """How often each structure was computed, by the logs of the workers; a last line that was cut short is none."""
    lines = [line for log in (folder / "logs").glob("*.log") for line in log.read_text().splitlines(keepends=True)]
    return Counter(line.strip() for line in lines if line.endswith("\n"))


def statuses(folder: Path) -> list[tuple[str, str]]:
    """Identifier and status of every row of the table, read without our code."""
    table = folder / "alloys.db"
    if not table.exists():
        return []
    connection = sqlite3.connect(table, timeout=60)
    query = "SELECT id, value FROM text_key_values WHERE key = ?"
    try:
        names, found = (dict(connection.execute(query, (key,)).fetchall()) for key in ("identifier", "status"))
    except sqlite3.OperationalError:  # killed before the first statement that made the tables was through
        return []
    finally:
        connection.close()
    return [(name, found[number]) for number, name in names.items()]


def finished(folder: Path) -> set[str]:
    """The structures that the table has results of."""
    return {name for name, status in statuses(folder) if status != Status.WAITING}


def main() -> None:
    """Kill a screening, and compare the memory of a small and a large one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--child", type=Path, help="run one start of the screening in this folder")
    parser.add_argument("--still", action="store_true", help="compute nothing in it, to look at the memory alone")
    given = parser.parse_args()
    if given.child is not None:
        child(given.child, given.structures, given.still)
        return
    from benchmarks.machine import describe  # brings torch, which would weigh in the memory that is measured

    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        small = screen_with_kills(Path(folder) / "small", given.structures // 10, 0, still=True)
        whole = screen_with_kills(Path(folder) / "whole", given.structures, 0, still=True)
    print(
        f"peak memory, MiB: {small.peak_MiB} at {small.structures}, {whole.peak_MiB} at {whole.structures}", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        killed = screen_with_kills(Path(folder) / "killed", given.structures, given.kills)
    print(asdict(killed))


if __name__ == "__main__":
    main()
