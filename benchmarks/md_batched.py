"""What the batched engine adds to the potential in molecular dynamics, and what a batch of replicas gains.

    python -m benchmarks.md_batched --threads 2 [--compile] [--checkpoint model.safetensors]

Three parts in one run, with the same model: a crystal of 500 atoms in the batched engine, its overhead being the time
of a step over that of the potential in it, less one; ASE's own velocity Verlet with the calculator beside; and 64
replicas of 8 atoms in one batch against the same, one after another. Medians of turns.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ase import Atoms
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.copper import crystal, random_potential, seconds_a_step
from benchmarks.machine import describe
from gfm_ase.calculator import GFMCalculator
from md_workflows.batched.models import GraphModel
from md_workflows.batched.sizing import Sizer
from md_workflows.md import MDSettings
from md_workflows.md_many import replicated, run_md_many

SOME = 8
"""Replicas that are run one after another."""


def calculator(name: str, checkpoint: Path | None, compiled: bool) -> GFMCalculator:
    """That of a checkpoint, or of a random potential whose forces are small: the crystal stays one."""
    if checkpoint is not None:
        return GFMCalculator(checkpoint, compile=compiled)
    return GFMCalculator(random_potential(name), compile=compiled)


def model_of(calculator: GFMCalculator) -> GraphModel:
    """The model of a calculator, with room for all of a batch: what goes together is not what is measured here."""
    model = calculator.batch_model()
    model.sizer = Sizer(model.device, budget=1e7, settled=True, fixed=True)
    return model


def settings(steps: int) -> MDSettings:
    """Steps of 1 fs without files."""
    return MDSettings(ensemble={"name": "nve"}, steps=steps)


def engine_step(atoms: Atoms, model: GraphModel, steps: int) -> tuple[float, float, float]:
    """Of one run: medians of the step and of the potential in it, in seconds; what the engine adds, as a part of all
    time of the potential: lists that are made now and then are in it.
    """
    whole: list[float] = []
    inside: list[float] = []
    evaluate, began = model._evaluate, [0.0]

    def watched(graph: Any) -> Any:
        start = time.perf_counter()
        results = evaluate(graph)
        end = time.perf_counter()
        if began[0]:
            whole.append(end - began[0])
            inside.append(end - start)
        began[0] = end
        return results

    model._evaluate = watched
    try:
        outcome = next(run_md_many(atoms, settings(steps), calculator=model))
    finally:
        model._evaluate = evaluate
    assert not outcome.stopped, outcome.stopped
    whole, inside = whole[3:], inside[3:]
    return statistics.median(whole), statistics.median(inside), sum(whole) / sum(inside) - 1


def ase_step(atoms: Atoms, driver: GFMCalculator, steps: int) -> float:
    """Median time of a step of ASE's velocity Verlet."""
    own = atoms.copy()
    own.calc = driver
    return seconds_a_step(own, steps)


def replicas_gain(driver: GFMCalculator, count: int, steps: int, turns: int) -> tuple[float, float, float]:
    """Seconds of a step of all: in one batch, one after another in the engine (some of them, times how many there are),
    and in ASE's loop (one, for they are alike).
    """
    atoms = crystal((2, 1, 1))
    structures, each = replicated(atoms, settings(steps), count)
    together, alone, ase = [], [], []
    model = model_of(driver)
    list(run_md_many(structures, settings(2), calculator=model))
    for _ in range(turns):
        start = time.perf_counter()
        list(run_md_many(structures, each, calculator=model))
        together.append((time.perf_counter() - start) / steps)
        start = time.perf_counter()
        for one, of_one in zip(structures[:SOME], each, strict=False):
            list(run_md_many(one, of_one, calculator=model))
        alone.append((time.perf_counter() - start) / steps * count / min(SOME, count))
        ase.append(count * ase_step(atoms, driver, steps))
    return statistics.median(together), statistics.median(alone), statistics.median(ase)


def main(  # noqa: PLR0917 - typer: every option is an argument
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    backbones: Annotated[
        str, typer.Option(help="Of the potentials that are made, separated by commas.")
    ] = "painn,mace",
    checkpoint: Annotated[Path | None, typer.Option(help="Measure this one instead; it has to know copper.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each run.")] = 60,
    replicas: Annotated[int, typer.Option(help="In one batch.")] = 64,
    turns: Annotated[int, typer.Option(help="Of everything; medians count.")] = 3,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the potential as well.")] = False,
) -> None:
    """Print overhead of the engine and gain of a batch, eager and, if asked, compiled."""
    torch.set_num_threads(threads)
    console = Console(width=150)
    names = ["checkpoint"] if checkpoint is not None else backbones.split(",")
    modes = [(name, mode) for name in names for mode in ([False, True] if compiled else [False])]
    one = Table(title=f"500 atoms of copper, velocity Verlet, {turns} times {steps} steps", caption=describe())
    many = Table(title=f"{replicas} replicas of 8 atoms, milliseconds for a step of all")
    for column in ("model", "mode", "potential, ms", "engine's step, ms", "overhead", "ASE's step, ms"):
        one.add_column(column, justify="left" if column in {"model", "mode"} else "right")
    for column in ("model", "mode", "one batch", "one after another", "gain", "ASE's loop", "gain on ASE"):
        many.add_column(column, justify="left" if column in {"model", "mode"} else "right")
    for name, mode in track(modes, "measuring", console=console, transient=True):
        driver = calculator(name, checkpoint, mode)
        atoms, model = crystal((5, 5, 5)), model_of(driver)
        measured = [(*engine_step(atoms, model, steps), ase_step(atoms, driver, steps)) for _ in range(turns)]
        step, inside, added, ase = (statistics.median(values) for values in zip(*measured, strict=True))
        kind = "compiled" if mode else "eager"
        row = [f"{1e3 * inside:.1f}", f"{1e3 * step:.1f}", f"{100 * added:.1f} %", f"{1e3 * ase:.1f}"]
        one.add_row(name, kind, *row)
        together, alone, loop = replicas_gain(driver, replicas, steps, turns)
        row = [f"{1e3 * together:.1f}", f"{1e3 * alone:.1f}", f"{alone / together:.1f} x"]
        many.add_row(name, kind, *row, f"{1e3 * loop:.1f}", f"{loop / together:.1f} x")
    console.print(one)
    console.print(many)


if __name__ == "__main__":
    typer.run(main)
