"""Relaxing many small cells: all at once, by ASE one after another, and by torch-sim driving the same model.

    python -m benchmarks.relax_batches --checkpoint model.safetensors --structures equilibrium.extxyz.gz --number 200

The structures are rattled by a seed, and relaxed with free cells to the same fmax. All ways run in this process, with
the same threads, the same potential and the same numbers. Minima are compared by energy per atom. ASE's loop is
`ASEEngine`: its own optimizers and FrechetCellFilter. torch-sim's FIRE is run with its two kinds of cell, by logarithm
(as ours) and plain, all structures in one batch and converged ones leaving at each step; it is left out where it is not
installed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from ase import Atoms
from ase.io import read
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.machine import describe
from gfm_ase.calculator import GFMCalculator
from md_workflows import ASEEngine, BatchedEngine, CellSettings, RelaxSettings
from md_workflows.engine import Outcome

DISPLACEMENT = 0.05
"""Å, standard deviation of each coordinate."""

SAME_MINIMUM = 1e-3
"""eV per atom: what two relaxations to fmax of one minimum may differ by."""


def rattled(path: Path, number: int) -> list[Atoms]:
    """The first `number` structures, each atom moved."""
    structures: list[Atoms] = read(path, index=f":{number}")
    random = np.random.default_rng(0)
    for atoms in structures:
        atoms.calc = None
        atoms.rattle(DISPLACEMENT, rng=random)
    return structures


def timed(name: str, outcomes: Iterable[Outcome], total: int) -> tuple[list[Outcome], float]:
    """All outcomes in order, and the seconds they took; nothing is computed before the first is asked for."""
    start = time.perf_counter()
    found = list(track(outcomes, description=name, total=total))
    return sorted(found, key=lambda outcome: outcome.index), time.perf_counter() - start


def row(name: str, found: list[Outcome], seconds: float, reference: tuple[list[Outcome], float]) -> list[str]:
    """One line of the table: time, its ratio to ASE's loop, steps, and how the minima compare."""
    results = [outcome.result for outcome in found]
    pairs = [
        abs(one.energy - other.result.energy) / len(one.atoms)
        for one, other in zip(results, reference[0], strict=True)
        if one is not None and other.result is not None and one.converged and other.result.converged
    ]
    same = sum(difference < SAME_MINIMUM for difference in pairs)
    converged = sum(result is not None and result.converged for result in results)
    steps = sum(result.steps for result in results if result is not None)
    ratio = f"{reference[1] / seconds:.2f}"
    return [name, f"{seconds:.1f}", ratio, str(steps), f"{converged}/{len(found)}", f"{same}/{len(pairs)}"]


def by_torch_sim(
    calculator: GFMCalculator, given: list[Atoms], settings: RelaxSettings, reference: tuple[list[Outcome], float]
) -> Iterator[list[str]]:
    """Lines of the table for torch-sim driving the same potential; it does not tell its steps."""
    from benchmarks.torch_sim_relax import relax_with_torch_sim
    from gfm_ase.adapters.torch_sim import GFMTorchSimModel

    model = GFMTorchSimModel(calculator)
    for cell in ("frechet", "unit_cell"):
        start = time.perf_counter()
        found = relax_with_torch_sim(given, model, settings.fmax, settings.max_steps, cell=cell)
        seconds = time.perf_counter() - start
        both = [
            abs(one.energy - other.result.energy) / len(one.atoms)
            for one, other in zip(found, reference[0], strict=True)
            if one.converged and other.result is not None and other.result.converged
        ]
        converged = f"{sum(one.converged for one in found)}/{len(found)}"
        same = f"{sum(difference < SAME_MINIMUM for difference in both)}/{len(both)}"
        yield [f"torch-sim, fire, {cell}", f"{seconds:.1f}", f"{reference[1] / seconds:.2f}", "", converged, same]


def main(  # noqa: PLR0917 - typer: every option is an argument
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint of a potential that knows the elements.")],
    structures: Annotated[Path, typer.Option(help="Structures, in any format that ASE reads.")],
    number: Annotated[int, typer.Option(help="How many of them.")] = 200,
    fmax: Annotated[float, typer.Option(help="eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Steps at most.")] = 300,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the potential, for all ways.")] = False,
) -> None:
    """Time all ways on the same structures."""
    torch.set_num_threads(threads)
    given = rattled(structures, number)
    calculator = GFMCalculator(checkpoint, compile=compiled, device="cpu")
    warm = given[0].copy()
    warm.calc = calculator
    warm.get_forces()  # tables and programs are made before any clock runs
    console = Console()
    console.print(describe())
    sizes = [len(atoms) for atoms in given]
    console.print(f"{len(given)} structures of {min(sizes)}-{max(sizes)} atoms, {np.mean(sizes):.1f} on average")
    table = Table("", "seconds", "ASE / this", "steps in all", "converged", "same minimum as ASE")
    for optimizer in ("fire", "lbfgs"):
        settings = RelaxSettings(optimizer=optimizer, fmax=fmax, max_steps=max_steps, cell=CellSettings())
        serial = timed(f"ASE {optimizer}", ASEEngine(calculator).relax_many(given, settings), number)
        engine = BatchedEngine(calculator.batch_model(), "GFMCalculator")
        batched = timed(f"batched {optimizer}", engine.relax_many(given, settings), number)
        table.add_row(*row(f"ASE, {optimizer}", *serial, serial))
        table.add_row(*row(f"batched, {optimizer}", *batched, serial))
        if optimizer == "fire" and find_spec("torch_sim") is not None:
            for line in by_torch_sim(calculator, given, settings, serial):
                table.add_row(*line)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
