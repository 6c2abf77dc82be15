"""What bfloat16 products and recomputed layers cost and save: time, memory and the errors of a short training.

    python -m benchmarks.step_options

On one thread. Steps of all ways take turns; the median over the rounds of their ratio to the first way counts. By how
much the peak of the memory grows from the first step on is measured in a process for each way. Cells and batch are
those of `benchmarks.throughput`, 64 features in 4 layers. The short training, of each precision, is of the same 8 cells
in 4 batches; its loss is that of the averaged weights in float32.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.machine import describe, measure
from benchmarks.throughput import CUTOFF, build_cells
from potentials.backbones import BACKBONES
from potentials.potential import Potential, PotentialConfig
from train.config import LossConfig, OptimizerConfig
from train.labelled import batch_labelled
from train.optimizer import Optimizer
from train.step import LossAndGradients
from train.tasks import tasks_of

WAYS = {
    "float32, eager": {"compiled": False},
    "bf16, eager": {"compiled": False, "precision": "bf16"},
    "float32, recomputed": {"compiled": False, "recompute": True},
    "bf16, recomputed": {"compiled": False, "precision": "bf16", "recompute": True},
    "float32, compiled": {"compiled": True},
    "bf16, compiled": {"compiled": True, "precision": "bf16"},
}


def peak() -> float:
    """MB that this process has had at most; the kernel's other count begins with that of who started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) / 1024


def made(backbone: str, way: str) -> LossAndGradients:
    """A step of 64 features in 4 layers."""
    config = BACKBONES[backbone][0](cutoff=CUTOFF, width=64, depth=4)
    potential = Potential(PotentialConfig(backbone=config, heads=("emt",)))
    return LossAndGradients(potential, tasks_of(LossConfig(), ()), [1.0], **WAYS[way])  # type: ignore[arg-type]


def grown(backbone: str, way: str) -> dict[str, float]:
    """MB of two steps."""
    batch, step = batch_labelled(build_cells()), made(backbone, way)
    before = peak()
    for _ in range(2):
        step(batch)
    return {"grown": peak() - before}


def seconds(backbone: str, ways: Sequence[str], repeats: int) -> list[list[float]]:
    """Of a step of each way, for each round."""
    batch, rounds = batch_labelled(build_cells()), []
    # one potential each: how its layers are computed is a setting of it
    steps = [made(backbone, way) for way in ways]
    for _ in range(repeats + 1):
        rounds.append([measure(lambda step=step: step(batch), 1, warm=0).median for step in steps])
    return rounds[1:]


def learnt(backbone: str, way: str, steps: int) -> dict[str, float]:
    """Training loss of the averaged weights, in float32, after some steps of the optimizer."""
    cells = build_cells()
    batches = [batch_labelled(cells[number::4]) for number in range(4)]
    step, config = made(backbone, way), OptimizerConfig()
    optimizer = Optimizer(step.potential, config, elements=batch_labelled(cells).graph.numbers.unique())
    for number in range(steps):
        optimizer.step(step(batches[number % 4]).gradients, number / steps)
    step.potential.load_state_dict({**step.potential.state_dict(), **optimizer.averaged()})
    judge = LossAndGradients(step.potential, step.tasks, [1.0], compiled=False)
    return {"loss": float(torch.stack([judge(batch).loss for batch in batches]).mean())}


def apart(kind: str, *arguments: object) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step_options", "--one", json.dumps([kind, *arguments])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(
    backbones: Annotated[str, typer.Option(help="Names with commas between.")] = "painn,schnet,mace",
    repeats: Annotated[int, typer.Option(help="Timed steps; the median counts.")] = 5,
    steps: Annotated[int, typer.Option(help="Of the short training; 0 for none.")] = 200,
    ways: Annotated[str, typer.Option(help="Of computing a step, with commas and no blanks: 0 to 5.")] = "0,1,2,3,4,5",
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    if one:
        kind, *given = json.loads(one)
        print(json.dumps({"grown": grown, "learnt": learnt}[kind](*given)))
        return
    console = Console()
    console.print(describe())
    chosen = [list(WAYS)[int(number)] for number in ways.split(",")]
    table = Table("backbone", "way", "s / step", "of the first", "MB more", f"loss after {steps} steps")
    for name in track(backbones.split(","), description="backbones", console=console):
        rounds = seconds(name, chosen, repeats)
        for number, way in enumerate(chosen):
            found = apart("grown", name, way)
            loss = f"{apart('learnt', name, way, steps)['loss']:.3g}" if steps and "eager" in way else ""
            own = statistics.median(times[number] for times in rounds)
            ratio = statistics.median(times[number] / times[0] for times in rounds)
            table.add_row(name, way, f"{own:.3f}", f"{ratio:.2f}", f"{found['grown']:.0f}", loss)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
