"""What uncertainty costs: energy, forces and stress with and without it, at 64 atoms.

    python -m benchmarks.uncertainty_cost --threads 1

A rattled periodic cell of 64 atoms of copper and aluminium, 5 Å cutoff, float32, random weights, uncertainties set to
random numbers (they cost what fitted ones do). Ways are called in turns, so that what else the machine does falls on
all of them, and ratios are of medians. Graphs are made beforehand.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer
from ase.build import bulk
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.machine import Timing, describe
from potentials.allocator import keep_freed_memory
from potentials.backbones import BACKBONES
from potentials.compiled import CompiledPotential
from potentials.ensemble import AnyPotential, Ensemble
from potentials.graph import AtomicGraph
from potentials.potential import Potential, PotentialConfig
from potentials.structures import graph_from_atoms
from train.last_layer_fit import with_last_layer

Call = Callable[[], object]

MODES = ("eager", "tables", "compiled")


def cell(cutoff: float) -> AtomicGraph:
    """The structure."""
    atoms = bulk("Cu", a=3.75, cubic=True) * (2, 2, 4)
    atoms.numbers[::3] = 13
    atoms.rattle(0.08, seed=1)
    assert len(atoms) == 64
    return graph_from_atoms(atoms, cutoff)


def single(backbone: str) -> Potential:
    """One potential with the defaults of its backbone, ready to answer."""
    config = BACKBONES[backbone][0](cutoff=5.0)
    potential = Potential(PotentialConfig(backbone=config, heads=("emt",)), seed=0)
    potential.references.set_head("emt", {"Al": -1.0, "Cu": -2.0})
    return potential.eval().requires_grad_(requires_grad=False)


def with_uncertainty(potential: Potential) -> Potential:
    """The same with uncertainties by the last layer."""
    known = with_last_layer(potential)
    assert known.last_layer is not None
    size = potential.config.head_width
    whiten = torch.from_numpy(np.random.default_rng(0).normal(size=(2, size, size)))
    known.last_layer.set_head("emt", ["Al", "Cu"], (whiten[0], 1.0), (whiten[1], {"Al": 1.0, "Cu": 2.0}, 0.3))
    return known.eval().requires_grad_(requires_grad=False)


def ensemble(potential: Potential) -> Ensemble:
    """Eight of this architecture, of eight seeds."""
    members = [Potential(potential.config, seed=seed) for seed in range(8)]
    return Ensemble([member.eval().requires_grad_(requires_grad=False) for member in members])


def branches(potential: Potential) -> Ensemble:
    """Eight heads on one backbone."""
    heads = tuple(f"branch-{number}" for number in range(8))
    whole = Potential(potential.config.model_copy(update={"heads": heads}), seed=0)
    return Ensemble([whole.only(head).renamed(("emt",)) for head in heads])


WAYS: dict[str, Callable[[Potential], AnyPotential]] = {
    "single": lambda potential: potential,
    "+ last layer": with_uncertainty,
    "8 members": ensemble,
    "8 branches": branches,
}
"""What is compared: name, and what is made of a single potential. The first is what the others are compared with."""


def ready(potential: AnyPotential, mode: str, graph: AtomicGraph) -> Call | None:
    """A call that evaluates the graph in a mode; none where the backbone has no tables."""
    evaluate: Callable[[AtomicGraph], object]
    if mode == "compiled":
        evaluate = CompiledPotential(potential)
    else:
        tables = potential.tabulated() if mode == "tables" else potential
        if tables is None:
            return None
        evaluate = tables

    def call() -> object:
        with torch.no_grad():
            return evaluate(graph)

    return call


def in_turns(calls: dict[str, Call], repeats: int, warm: int = 5) -> dict[str, Timing]:
    """Median and fastest of each, called one after the other again and again."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm + repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= warm:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(statistics.median(taken), min(taken)) for name, taken in seconds.items()}


def main(
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    repeats: Annotated[int, typer.Option(help="Timed calls of each; the median counts.")] = 100,
    backbones: Annotated[str, typer.Option(help="Names, with commas between.")] = "painn,ember,mace",
    compiled: Annotated[bool, typer.Option(help="Compile as well, which takes minutes.")] = True,
) -> None:
    """Print the table."""
    console = Console()
    torch.set_num_threads(threads)
    keep_freed_memory()
    console.print(describe())
    table = Table("backbone", "mode", *(f"{way}, ms (fastest)" for way in WAYS), *(f"× {way}" for way in [*WAYS][1:]))
    modes = MODES if compiled else MODES[:-1]
    jobs = [(backbone, mode) for backbone in backbones.split(",") for mode in modes]
    for backbone, mode in track(jobs, console=console, transient=True):
        potential, graph = single(backbone), cell(5.0)
        calls = {name: ready(make(potential), mode, graph) for name, make in WAYS.items()}
        there = {name: call for name, call in calls.items() if call is not None}
        if len(there) < len(calls):
            continue
        times = in_turns(there, repeats)
        first = times[next(iter(WAYS))].median
        shown = [f"{1e3 * timing.median:.2f} ({1e3 * timing.fastest:.2f})" for timing in times.values()]
        ratios = [f"{timing.median / first:.3f}" for timing in [*times.values()][1:]]
        table.add_row(backbone, mode, *shown, *ratios)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
