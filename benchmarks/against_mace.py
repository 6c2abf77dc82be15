"""Our MACE beside mace-torch at equal settings: energy, forces and stress of crystals, a training step, memory.

    python -m venv peers && peers/bin/pip install . mace-torch==0.3.16
    peers/bin/python -m benchmarks.against_mace --threads 1 --data emt_fcc32.extxyz.gz

It takes an environment that has both. All rows of a table are timed in turns, call by call, so that what else the
machine does falls on all alike; medians count, and ratios are of them. Neighbour lists are made beforehand on both
sides. mace-torch runs as its own calculator and trainer run it, with its defaults; ours eager, with tables for the
radial networks, and compiled. Memory is the peak of a process of its own that computes the largest work of the table a
few times, above what the same process has when all is imported (read from Linux's /proc). Another potential is a row of
`ALSO`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ase import Atoms
from ase.build import bulk
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import mace_torch
from benchmarks.machine import Timing, describe
from benchmarks.throughput import build_cells, read_cells
from potentials.backbones import AnyBackboneConfig
from potentials.compiled import CompiledPotential
from potentials.potential import Potential, PotentialConfig
from potentials.structures import graph_from_atoms
from train.config import LossConfig, OptimizerConfig
from train.labelled import batch_labelled
from train.optimizer import Optimizer
from train.step import LossAndGradients
from train.tasks import tasks_of

Call = Callable[[], object]
Settings = Mapping[str, Any]

PEER = "mace-torch"
ELEMENTS = (13, 14, 28, 29, 46, 47, 78, 79)


@dataclass(frozen=True)
class Case:
    """Settings that are equal on both sides, and the work.

    Attributes:
        settings: of `MACEConfig`; mace-torch's model is made from the same.
        training: a step on eight labelled cells; else energy, forces and stress of crystals.
    """

    settings: Settings
    training: bool = False


COMMON = {"average_neighbours": 40.0, "l_hidden": 0, "depth": 2}
CASES = {
    "small": Case({**COMMON, "width": 128, "l_max": 3, "correlation": 3, "cutoff": 6.0}),
    "light": Case({**COMMON, "width": 64, "l_max": 2, "correlation": 2, "cutoff": 5.0}),
    "training": Case(
        {**COMMON, "width": 64, "depth": 3, "l_max": 2, "l_hidden": 1, "correlation": 3, "cutoff": 5.0}, training=True
    ),
}
ALSO: dict[str, list[Settings]] = {
    "small": [{"name": "ember", "cutoff": 6.0}],
    "light": [{"name": "ember", "cutoff": 5.0}],
    "training": [{"name": "ember", "cutoff": 5.0}],
}
"""More potentials to time in a case: `[potential.backbone]` tables as in a run file, `name` first."""


def crystals() -> dict[str, Atoms]:
    """What energies, forces and stress are computed of."""
    made = {
        "Si 64": bulk("Si", cubic=True) * (2, 2, 2),
        "Cu 64": bulk("Cu", a=3.61) * (4, 4, 4),
        "Si 216": bulk("Si", cubic=True) * (3, 3, 3),
        "Si 1,728": bulk("Si", cubic=True) * (6, 6, 6),
        "Cu 1,728": bulk("Cu", a=3.61) * (12, 12, 12),
    }
    for atoms in made.values():
        atoms.rattle(0.05, seed=1)
    return made


def modes(case: Case, compiled: bool) -> list[str]:
    """How our potentials are run."""
    return ["eager", *([] if case.training else ["tables"]), *(["compiled"] if compiled else [])]


def rows_of(name: str, compiled: bool) -> list[str]:
    """Labels of a table's rows: the peer, then our potentials in each mode."""
    potentials = ["mace", *(str(settings["name"]) for settings in ALSO[name])]
    return [PEER, *(f"{potential}, {mode}" for potential in potentials for mode in modes(CASES[name], compiled))]


def potential_of(name: str, label: str) -> Potential:
    """One of our potentials, random weights in float32."""
    tables: dict[str, Settings] = {str(settings["name"]): settings for settings in ALSO[name]}
    tables["mace"] = {"name": "mace", **CASES[name].settings}
    backbone: Any = TypeAdapter(AnyBackboneConfig).validate_python(tables[label.split(",", maxsplit=1)[0]])
    return Potential(PotentialConfig(backbone=backbone, heads=("emt",)))


def calls_of(name: str, label: str, data: Path | None) -> dict[str, Call]:
    """What one row of a table computes, by column; the last one is the largest."""
    return _training_calls(name, label, data) if CASES[name].training else _evaluation_calls(name, label)


def _evaluation_calls(name: str, label: str) -> dict[str, Call]:
    settings, structures = CASES[name].settings, crystals()
    if label == PEER:
        model = mace_torch.build(settings, ELEMENTS)
        batches = {
            what: mace_torch.batch_of([atoms], settings["cutoff"], ELEMENTS) for what, atoms in structures.items()
        }
        return {what: mace_torch.evaluation(model, batch) for what, batch in batches.items()}
    potential, mode = potential_of(name, label), label.split(", ")[1]
    run: Callable[..., Any] = potential
    if mode == "tables":
        run = potential.tabulated() or potential
    elif mode == "compiled":
        run = CompiledPotential(potential)

    def evaluation(atoms: Atoms) -> Call:
        graph = graph_from_atoms(atoms, potential.cutoff)

        def call() -> None:
            with torch.no_grad():
                run(graph)

        return call

    return {what: evaluation(atoms) for what, atoms in structures.items()}


def _training_calls(name: str, label: str, data: Path | None) -> dict[str, Call]:
    cells = read_cells(data) if data else build_cells()
    batch = batch_labelled(cells)
    what = f"{batch.graph.n_atoms} atoms"
    if label == PEER:
        settings = CASES[name].settings
        structures = [
            Atoms(cell.graph.numbers, cell.graph.positions, cell=cell.graph.cell[0], pbc=True) for cell in cells
        ]
        inputs = mace_torch.batch_of(structures, settings["cutoff"], ELEMENTS)
        model, labels = mace_torch.build(settings, ELEMENTS), batch.labels
        return {what: mace_torch.training(model, inputs, labels["energy"].float(), labels["forces"].float())}
    potential = potential_of(name, label)
    compiled = label.endswith("compiled")
    step = LossAndGradients(potential, tasks_of(LossConfig(), ()), [1.0], compiled=compiled)
    optimizer = Optimizer(potential, OptimizerConfig(), elements=batch.graph.numbers.unique())
    return {what: lambda: optimizer.step(step(batch).gradients, 0.5)}


def in_turns(calls: Mapping[str, Call], repeats: int, console: Console) -> dict[str, Timing]:
    """Times of several calls, each once a round, after two rounds that do not count."""
    seconds: dict[str, list[float]] = {label: [] for label in calls}
    for turn in track(range(repeats + 2), "measuring", console=console, transient=True):
        for label, call in calls.items():
            began = time.perf_counter()
            call()
            if turn > 1:
                seconds[label].append(time.perf_counter() - began)
    return {label: Timing(statistics.median(values), min(values)) for label, values in seconds.items()}


def megabytes_of(name: str, label: str, threads: int, data: Path | None) -> float:
    """Peak memory of a process that computes one row."""
    command = [sys.executable, "-m", "benchmarks.against_mace", "--threads", str(threads), "--memory-of", label]
    command += ["--cases", name, *(["--data", str(data)] if data else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this program itself
    return float(done.stdout.split()[-1])


def own_megabytes(name: str, label: str, data: Path | None) -> float:
    """Peak memory of this process above the imports', after three calls of the largest work."""
    before = _peak_kilobytes()
    call = list(calls_of(name, label, data).values())[-1]
    for _ in range(3):
        call()
    return (_peak_kilobytes() - before) / 1024


def _peak_kilobytes() -> int:
    """Of this program; what getrusage says begins with the peak of the program that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def table_of(name: str, labels: list[str], timings: Mapping[str, Mapping[str, Timing]], memory: list[float]) -> Table:
    """A row a label: milliseconds, and how many times as fast as the peer."""
    settings = ", ".join(f"{key} {value}" for key, value in CASES[name].settings.items())
    work = "training step" if CASES[name].training else "energy, forces, stress"
    table = Table(title=f"{name}: {work}; {settings}")
    table.add_column("potential")
    for what in timings:
        table.add_column(f"{what}: ms (fastest), ratio", justify="right")
    table.add_column("peak memory, MB", justify="right")
    for label, megabytes in zip(labels, memory, strict=True):
        cells = [
            f"{1e3 * found[label].median:.1f} ({1e3 * found[label].fastest:.1f}),"
            f" {found[PEER].median / found[label].median:.2f} ×"
            for found in timings.values()
        ]
        table.add_row(label, *cells, f"{megabytes:.0f}")
    return table


def main(
    *,
    data: Annotated[Path | None, typer.Option(help="extxyz file with REF_energy and REF_forces to train on.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    repeats: Annotated[int, typer.Option(help="Timed rounds; the median counts.")] = 15,
    cases: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(CASES),
    compiled: Annotated[bool, typer.Option(help="Time compiled potentials too.")] = True,
    memory_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print a table for each case."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")  # of TorchScript, which e3nn compiles with
    if memory_of:
        print(own_megabytes(cases, memory_of, data))
        return
    console = Console(width=150)
    console.print(f"{describe()}, mace-torch {version('mace-torch')}, e3nn {version('e3nn')}; medians of {repeats}")
    for name in cases.split(","):
        labels = rows_of(name, compiled)
        calls = {label: calls_of(name, label, data) for label in labels}
        timings = {
            what: in_turns({label: calls[label][what] for label in labels}, repeats, console) for what in calls[PEER]
        }
        memory = [megabytes_of(name, label, threads, data) for label in track(labels, "memory", console=console)]
        console.print(table_of(name, labels, timings, memory))


if __name__ == "__main__":
    typer.run(main)
