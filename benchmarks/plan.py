"""Speeds predicted by `gfm-ase plan` beside those of training, here: `python -m benchmarks.plan --data FILE`.

With --in-turn the batches of all processes are computed by this one, one after the other, and the clock is that of the
process: computing and waiting for the slowest are compared, whatever else the machine does; sums of gradients are not.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.ranks import RUN, speeds
from train.config import load_config
from train.cost import seconds_on
from train.data import load_datasets
from train.plan.here import measure_here
from train.plan.machines import MACHINES, Machine
from train.plan.planning import populations_of
from train.plan.scaling import Plan, Simulator
from train.plan.step import Options
from train.plan.work import measure_costs, weights_of, work_of
from train.progress import Reporter
from train.run import Run
from train.warm_up import warm_up

Speeds = dict[int, float]

NO_NETWORK = replace(MACHINES["frontier"], inside=1e30, between=1e30, latency_inside=0.0, latency_between=0.0)


def new_run(folder: Path, given: argparse.Namespace) -> Run:
    """The run whose training is predicted."""
    run_file = folder / "plan.toml"
    settings = {key: getattr(given, key) for key in ("backbone", "data", "max_atoms", "epochs")}
    settings |= {"compile": str(given.compile).lower(), "keys": "\n".join(given.key)}
    run_file.write_text(RUN.format(output=folder / "plan", per_step=max(given.ranks), **settings))
    config = load_config(run_file)
    run = Run(config, load_datasets(config), Reporter())
    warm_up(run)
    return run


def predicted(run: Run, machine: Machine, ranks: list[int]) -> Speeds:
    """Atoms a second for each number of processes, from costs that are measured now."""
    costs, _ = measure_costs(run)
    populations = populations_of(run)
    work = work_of(costs, weights_of(run.config), [one.name for one in populations])
    plan = Plan(populations, run.config.batch, work, machine, Options(), run.config.seed)
    points = Simulator(plan, max(ranks)).strong(sorted(ranks), max(ranks))
    return {point.ranks: point.atoms_per_second for point in points}


def in_turn(run: Run, ranks: list[int]) -> Speeds:
    """Atoms a second of the whole steps of an epoch if each process computed its own batches at once."""
    update, gradients = run.optimizer, [torch.zeros_like(weight) for weight in run.potential.parameters()]
    taken: dict[int, float] = dict.fromkeys(ranks, 0.0)
    atoms = 0
    for step in itertools.takewhile(lambda own: len(own) == max(ranks), run.plan.steps(0)):
        batches = [run.structures.batch(np.array(numbers)) for numbers in step]
        seconds = [seconds_on(run.device, lambda batch=batch: run.step(batch)) for batch in batches]
        optimizer = seconds_on(run.device, lambda: update.step(gradients, 0.0))
        atoms += sum(batch.graph.n_atoms for batch in batches)
        for number in ranks:
            taken[number] += max(sum(seconds[rank::number]) for rank in range(number)) + optimizer
    return {number: atoms / seconds for number, seconds in taken.items()}


def compared(given: argparse.Namespace) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Predictions and what was found, in turns: a machine is not equally fast all the time."""
    planned: dict[int, list[float]] = {ranks: [] for ranks in given.ranks}
    found: dict[int, list[float]] = {ranks: [] for ranks in given.ranks}
    of_training = argparse.Namespace(**{**vars(given), "ranks": max(given.ranks)})
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as name:
            run = new_run(Path(name), given)
            for ranks, atoms in predicted(run, NO_NETWORK if given.in_turn else measure_here(), given.ranks).items():
                planned[ranks].append(atoms)
            if given.in_turn:
                for ranks, atoms in in_turn(run, given.ranks).items():
                    found[ranks].append(atoms)
            for ranks in [] if given.in_turn else given.ranks:
                found[ranks] += speeds(Path(name) / f"ranks-{ranks}", of_training, ranks, 1)
    return planned, found


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
    parser.add_argument("--in-turn", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    console.print(describe())
    if given.in_turn:
        time.perf_counter = time.process_time
    planned, found = compared(given)
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
