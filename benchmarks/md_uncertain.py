"""What a limit on the uncertainty costs a step of molecular dynamics.

    python -m benchmarks.md_uncertain

Potentials that cost next to nothing and say that they are sure, with and without a policy, in turns: the fastest turn
of each counts, the difference is what the policy takes. Beside it, in the same run, a step of the fastest backbone
(SchNet, eager) on the same 512 atoms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer
from ase import Atoms
from ase.calculators.calculator import Calculator
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks.copper import crystal, random_potential, seconds_of_steps
from benchmarks.machine import describe
from gfm_ase.calculator import GFMCalculator
from md_workflows import MDSettings, UncertaintyPolicy, run_md, run_md_many
from md_workflows.batched.models import GraphModel
from potentials.graph import AtomicGraph

POLICY = UncertaintyPolicy(limit=1.0, action="mark")


class Sure(Calculator):
    """Zero energy and forces, and small uncertainties."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms: Atoms | None = None, *arguments: Any, **named: Any) -> None:
        """Constants."""
        super().calculate(atoms, *arguments, **named)
        count = len(self.atoms)
        self.results = {"energy": 0.0, "forces": np.zeros((count, 3)), "energy_uncertainty": 0.1, "uncertainty": 0.1}
        self.results["forces_uncertainty"] = np.full(count, 0.1)


def sure_model() -> GraphModel:
    """The same for batches."""

    def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
        each = torch.full((graph.n_graphs,), 0.1, dtype=torch.float64)
        found = {"energy": torch.zeros_like(each), "forces": torch.zeros_like(graph.positions)}
        found |= {"stress": torch.zeros_like(graph.cell), "uncertainty": each, "energy_uncertainty": each}
        return found | {"forces_uncertainty": torch.full_like(graph.positions[:, 0], 0.1)}

    names = ("uncertainty", "energy_uncertainty", "forces_uncertainty")
    where = torch.device("cpu")
    return GraphModel(evaluate, 3.0, device=where, identity="sure", check=lambda _: None, outputs=names)


def settings(steps: int, policy: UncertaintyPolicy | None) -> MDSettings:
    """NVE; nothing is written."""
    return MDSettings(ensemble={"name": "nve"}, steps=steps, uncertainty=policy)


def one(steps: int, policy: UncertaintyPolicy | None) -> None:
    """512 atoms on ASE's integrator."""
    run_md(crystal((4, 4, 8)), settings(steps, policy), calculator=Sure())


def many(steps: int, policy: UncertaintyPolicy | None) -> None:
    """64 structures of 8 atoms in a batch."""
    list(run_md_many([crystal((1, 1, 2))] * 64, settings(steps, policy), calculator=sure_model()))


def step(run: Callable[[int, UncertaintyPolicy | None], None], steps: int, policy: UncertaintyPolicy | None) -> float:
    """Seconds of processor a step, without what a run takes to begin."""
    spent = []
    for count in (1, steps + 1):
        began = time.process_time()
        run(count, policy)
        spent.append(time.process_time() - began)
    return (spent[1] - spent[0]) / steps


def main(
    steps: Annotated[int, typer.Option(help="Steps of a turn.")] = 200,
    turns: Annotated[int, typer.Option(help="Turns of each.")] = 7,
) -> None:
    """Print what a policy takes, and as a part of a step of SchNet."""
    torch.set_num_threads(1)
    console = Console(width=120)
    atoms = crystal((4, 4, 8))
    atoms.calc = GFMCalculator(random_potential("schnet"))
    schnet = min(seconds_of_steps(atoms, 15, time.process_time))
    table = Table(title=f"512 atoms; a step of SchNet takes {1e3 * schnet:.0f} ms", caption=describe())
    for column in ("run", "without, µs", "with a policy, µs", "the policy, µs", "of a step of SchNet"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, run in (("run_md, one structure", one), ("run_md_many, 64 structures", many)):
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in track(range(turns), name, console=console, transient=True):
            for asked, seconds in found.items():
                seconds.append(step(run, steps, POLICY if asked else None))
        plain, policed = min(found[False]), min(found[True])
        told = [f"{1e6 * value:.0f}" for value in (plain, policed, policed - plain)]
        table.add_row(name, *told, f"{100 * (policed - plain) / schnet:.2f} %")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
