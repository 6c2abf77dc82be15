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
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.machine import describe
from gfm_ase.calculator import GFMCalculator
from gfm_ase.loading import Loaded
from potentials.backbones import BACKBONES
from potentials.manifest import describe as describe_potential
from potentials.potential import Potential, PotentialConfig


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


def crystal() -> Atoms:
    """500 atoms of copper at 300 K."""
    atoms = bulk("Cu", cubic=True) * (5, 5, 5)
    thermalize_momenta(atoms, 300, rng=np.random.default_rng(0))
    return atoms


def seconds_a_step(atoms: Atoms, steps: int) -> float:
    """Median time of a step of velocity Verlet."""
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.run(3)
    found = []
    for _ in range(steps):
        began = time.perf_counter()
        dynamics.run(1)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def calculator(name: str, compiled: bool) -> Timed:
    """A calculator of a random potential whose forces are small: the crystal stays one."""
    potential = Potential(PotentialConfig(backbone=BACKBONES[name][0](), heads=("emt",)))
    potential.references.set_head("emt", {"Cu": 0.0}, scale=1e-3)
    loaded = Loaded(potential, describe_potential(potential, [], made_with={}))
    timed = Timed(loaded, compile=compiled)
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
    idle = crystal()
    idle.calc = Nothing()
    alone = seconds_a_step(idle, steps)
    for name, compiled in track(
        [(n, c) for n in BACKBONES for c in (False, True)], "measuring", console=console, transient=True
    ):
        atoms = crystal()
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
