"""What the calculator adds to the potential: graph, neighbour list, conversions, in molecular dynamics of 500 atoms.

    python -m benchmarks.md_overhead --threads 2

Three times in one run, on the same trajectory: the potential alone on graphs made beforehand, `GFMCalculator` in ASE's
velocity Verlet, and the same dynamics with a calculator that costs nothing. Overhead is what the calculator adds to the
potential, as a part of the whole step; what ASE's integrator itself takes stands beside it.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated, Any

import numpy as np
import torch
import typer
from ase import Atoms
from ase.calculators.calculator import Calculator
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.copper import crystal, random_potential, seconds_a_step
from benchmarks.machine import describe
from gfm_ase.calculator import GFMCalculator
from potentials.backbones import BACKBONES


class Timed(GFMCalculator):
    """The calculator with a stopwatch around the potential itself."""

    def evaluator(self) -> Any:
        """The calculator's, each call timed."""
        evaluate = super().evaluator()

        def watched(graph: Any) -> Any:
            began = time.perf_counter()
            results = evaluate(graph)
            self.inside.append(time.perf_counter() - began)
            return results

        return watched

    def calculate(self, *arguments: Any, **named: Any) -> None:
        """As the calculator's, with the time of the whole call."""
        began = time.perf_counter()
        super().calculate(*arguments, **named)
        self.outside.append(time.perf_counter() - began)


class Nothing(Calculator):
    """A calculator that costs nothing: zero energy, zero force."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms: Atoms | None = None, *arguments: Any, **named: Any) -> None:
        """Zeros."""
        super().calculate(atoms, *arguments, **named)
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


def calculator(name: str, compiled: bool) -> Timed:
    """A calculator of a random potential whose forces are small: the crystal stays one."""
    timed = Timed(random_potential(name), compile=compiled)
    timed.inside, timed.outside = [], []
    return timed


def main(
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    steps: Annotated[int, typer.Option(help="Steps of each run; medians count.")] = 100,
) -> None:
    """Print the calculator's overhead for each backbone, eager and compiled."""
    torch.set_num_threads(threads)
    console = Console(width=140)
    table = Table(title=f"500 atoms of copper, 5 Å, {steps} steps of 1 fs at 300 K", caption=describe())
    for column in (
        "backbone",
        "mode",
        "potential, ms",
        "calculator, ms",
        "overhead",
        "step in ASE, ms",
        "ASE alone, ms",
        "list builds",
    ):
        table.add_column(column, justify="left" if column in {"backbone", "mode"} else "right")
    idle = crystal((5, 5, 5))
    idle.calc = Nothing()
    alone = seconds_a_step(idle, steps)
    for name, compiled in track(
        [(n, c) for n in BACKBONES for c in (False, True)], "measuring", console=console, transient=True
    ):
        atoms = crystal((5, 5, 5))
        atoms.calc = timed = calculator(name, compiled)
        whole = seconds_a_step(atoms, steps)
        inside, outside = statistics.median(timed.inside[3:]), statistics.median(timed.outside[3:])
        added = statistics.median([b - a for a, b in zip(timed.inside[3:], timed.outside[3:], strict=True)])
        table.add_row(
            name,
            "compiled" if compiled else "eager",
            f"{1e3 * inside:.1f}",
            f"{1e3 * outside:.1f}",
            f"{100 * added / whole:.1f} %",
            f"{1e3 * whole:.1f}",
            f"{1e3 * alone:.2f}",
            str(timed.pairs.n_builds),
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
