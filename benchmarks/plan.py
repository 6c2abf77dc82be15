"""Speeds predicted by `gfm-ase plan` beside those of training, here: `python -m benchmarks.plan --data FILE`."""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.ranks import RUN, speeds
from train.config import load_config
from train.data import load_datasets
from train.plan.here import measure_here
from train.plan.planning import populations_of
from train.plan.scaling import Plan, Simulator
from train.plan.step import Options
from train.plan.work import measure_costs, weights_of, work_of
from train.progress import Reporter
from train.run import Run
from train.warm_up import warm_up


def predicted(folder: Path, given: argparse.Namespace) -> dict[int, float]:
    """Atoms a second for each number of processes, from costs and links that are measured now."""
    run_file = folder / "plan.toml"
    settings = {key: getattr(given, key) for key in ("backbone", "data", "max_atoms", "epochs")}
    settings |= {"compile": str(given.compile).lower(), "keys": "\n".join(given.key)}
    run_file.write_text(RUN.format(output=folder / "plan", per_step=max(given.ranks), **settings))
    config = load_config(run_file)
    run = Run(config, load_datasets(config), Reporter())
    warm_up(run)
    costs, _ = measure_costs(run)
    populations = populations_of(run)
    work = work_of(costs, weights_of(config), [one.name for one in populations])
    plan = Plan(populations, config.batch, work, measure_here(), Options(), config.seed)
    points = Simulator(plan, max(given.ranks)).strong(sorted(given.ranks), max(given.ranks))
    return {point.ranks: point.atoms_per_second for point in points}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="file of labelled structures")
    parser.add_argument("--key", action="append", default=["valid_fraction = 0"], help="of [[dataset]]")
    parser.add_argument("--backbone", default="painn")
    parser.add_argument("--max-atoms", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    console.print(describe())
    planned: dict[int, list[float]] = {ranks: [] for ranks in given.ranks}
    found: dict[int, list[float]] = {ranks: [] for ranks in given.ranks}
    of_training = argparse.Namespace(**{**vars(given), "ranks": max(given.ranks)})
    for _ in range(given.repeats):  # in turns: a machine is not equally fast all the time
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for ranks, atoms in predicted(folder, given).items():
                planned[ranks].append(atoms)
            for ranks in given.ranks:
                found[ranks] += speeds(folder / f"ranks-{ranks}", of_training, ranks, 1)
    table = Table("processes", "predicted atoms/s", "measured", "off", "predicted times one", "measured", "off")
    medians = {ranks: (statistics.median(planned[ranks]), statistics.median(found[ranks])) for ranks in given.ranks}
    first = medians[min(given.ranks)]
    for ranks, (plan, real) in medians.items():
        scaled = plan / first[0], real / first[1]
        off = [f"{100 * (one / other - 1):+.0f} %" for one, other in ((plan, real), scaled)]
        table.add_row(str(ranks), f"{plan:,.0f}", f"{real:,.0f}", off[0], *(f"{value:.2f}" for value in scaled), off[1])
    console.print(f"{given.backbone}, steps of {max(given.ranks)} batches of {given.max_atoms} atoms, {given.data}")
    console.print(table)


if __name__ == "__main__":
    main()
