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


def speed(folder: Path, given: argparse.Namespace, ranks: int) -> list[float]:
    """Atoms a second of each epoch but the first."""
    output = folder / f"ranks-{ranks}"
    output.parent.mkdir(exist_ok=True)
    run_file = folder / f"ranks-{ranks}.toml"
    settings = {key: getattr(given, key) for key in ("backbone", "data", "max_atoms", "epochs")}
    settings |= {"compile": str(given.compile).lower(), "keys": "\n".join(given.key)}
    run_file.write_text(RUN.format(output=output, per_step=given.ranks, **settings))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [*torchrun, "--no-python", str(Path(sys.executable).parent / "gfm-ase"), "train", str(run_file)]
    # each process has one thread: with more, one process alone would use the cores that are to be compared
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603 - our own command
    return [row["atoms_per_second"] for row in read_journal(output / "journal.jsonl")][1:]


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
    found: dict[int, list[float]] = {1: [], given.ranks: []}
    for repeat in range(given.repeats):  # in turns: a machine is not equally fast all the time
        for ranks in found:
            with tempfile.TemporaryDirectory() as folder:
                found[ranks] += speed(Path(folder) / str(repeat), given, ranks)
    table = Table("processes of one thread", "training atoms/s", "times one")
    alone = statistics.median(found[1])
    for ranks, speeds in found.items():
        table.add_row(str(ranks), f"{statistics.median(speeds):,.0f}", f"{statistics.median(speeds) / alone:.2f}")
    console.print(
        f"{given.backbone}, 64 features, steps of {given.ranks} batches of {given.max_atoms} atoms, {given.data}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
