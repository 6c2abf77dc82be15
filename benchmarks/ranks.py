"""Training atoms a second of one process and of several: `python -m benchmarks.ranks --data FILE`."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from train.journal import read_journal

RUN = """
output = "{output}"
device = "cpu"
compile = {compile}
[potential.backbone]
name = "{backbone}"
width = 64
[[dataset]]
name = "a"
train = "{data}"
{keys}
[batch]
max_atoms = {max_atoms}
per_step = {per_step}
[stop]
epochs = {epochs}
"""


def started(folder: Path, given: argparse.Namespace, ranks: int, name: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A training by so many processes, and its journal."""
    output, run_file = folder / name, folder / f"{name}.toml"
    settings = {key: getattr(given, key) for key in ("backbone", "data", "max_atoms", "epochs")}
    settings |= {"compile": str(given.compile).lower(), "keys": "\n".join(given.key)}
    run_file.write_text(RUN.format(output=output, per_step=given.ranks, **settings))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    program = str(Path(sys.executable).parent / "gfm-ase")
    command = [*([*torchrun, "--no-python"] if ranks > 1 else []), program, "train", str(run_file)]
    # each process has one thread: with more, one process alone would use the cores that are to be compared
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)  # noqa: S603 - our own command
    return process, output / "journal.jsonl"


def speeds(folder: Path, given: argparse.Namespace, ranks: int, runs: int) -> list[float]:
    """Atoms a second of each epoch but the first; of several runs at once all together."""
    folder.mkdir()
    trainings = [started(folder, given, ranks, f"run-{number}") for number in range(runs)]
    if any(process.wait() for process, _ in trainings):
        raise SystemExit("a training failed; run gfm-ase train by hand on the data to see why")
    of_runs = [[row["atoms_per_second"] for row in read_journal(journal)][1:] for _, journal in trainings]
    return [sum(of_epoch) for of_epoch in zip(*of_runs, strict=True)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="file of labelled structures")
    parser.add_argument("--key", action="append", default=[], help="""of [[dataset]]: 'energy_key = "REF_energy"'""")
    parser.add_argument("--backbone", default="painn")
    parser.add_argument("--max-atoms", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    console = Console()
    console.print(describe())
    kinds = {"1": (1, 1), str(given.ranks): (given.ranks, 1), f"{given.ranks} runs of 1 at once": (1, given.ranks)}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(given.repeats):  # in turns: a machine is not equally fast all the time
        for name, (ranks, runs) in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name] += speeds(Path(folder) / "runs", given, ranks, runs)
    table = Table("processes of one thread", "training atoms/s", "times one")
    alone = statistics.median(found["1"])
    for name, values in found.items():
        table.add_row(name, f"{statistics.median(values):,.0f}", f"{statistics.median(values) / alone:.2f}")
    console.print(
        f"{given.backbone}, 64 features, steps of {given.ranks} batches of {given.max_atoms} atoms, {given.data}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
