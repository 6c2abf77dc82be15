"""How fast: a step of dynamics with `GFMCalculator` in ASE, and many structures in one batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from ase import Atoms
from ase.build import bulk

from benchmarks.card.subject import Record, Subject, table
from benchmarks.copper import seconds_of_steps
from benchmarks.machine import describe
from benchmarks.md_batched import model_of
from gfm_ase.calculator import GFMCalculator
from md_workflows.md import MDSettings
from md_workflows.md_many import replicated, run_md_many
from md_workflows.velocities import thermal_momenta

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS, QUICK = 25, 3


def clock() -> Callable[[], float]:
    """Processor time where one thread works, which others on the machine do not lengthen; else the wall's."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def molecule(name: str) -> Callable[[Subject], Atoms]:
    """The first training frame of a molecule."""
    return lambda subject: subject.start(f"rmd17/{name}_train.extxyz.gz")


def crystal(symbol: str, a: float, repeats: int) -> Callable[[Subject], Atoms]:
    """A cubic crystal."""
    return lambda _: bulk(symbol, a=a, cubic=True) * (repeats, repeats, repeats)


CASES: dict[str, tuple[str, Callable[[Subject], Atoms]]] = {
    "ethanol": ("pbe_def2svp", molecule("ethanol")),
    "aspirin": ("pbe_def2svp", molecule("aspirin")),
    "Cu": ("pbe_metals", crystal("Cu", 3.62, 2)),
    "Si": ("pbe_metals", crystal("Si", 5.47, 2)),
    "Si, 216": ("pbe_metals", crystal("Si", 5.47, 3)),
    "Cu, 500": ("pbe_metals", crystal("Cu", 3.62, 5)),
}
BATCHES = {"ethanol": 32, "aspirin": 16, "Cu": 8, "Si": 4}
"""Copies in one batch."""


def measure(subject: Subject) -> Record:
    """Every case alone, eager and, if asked, compiled; then batches."""
    steps = QUICK if subject.quick else STEPS
    rows = [*alone(subject, steps), *batched(subject, steps)]
    return {"machine": describe(), "threads": torch.get_num_threads(), "rows": rows}


def alone(subject: Subject, steps: int) -> Iterator[Record]:
    """One structure in ASE's velocity Verlet: medians and the fastest."""
    for place, (name, (head, start)) in enumerate(CASES.items()):
        if not subject.knows(head):
            continue
        subject.progress(f"speed: {name}", place, len(CASES))
        for compiled in (False, True) if subject.compiled else (False,):
            atoms = start(subject)
            thermal_momenta(atoms, 300.0, seed=0)
            atoms.calc = subject.calculator(head, compile=compiled)
            took = sorted(seconds_of_steps(atoms, steps, clock()))
            mode = "compiled" if compiled else "eager, tables"
            yield row(name, 1, len(atoms), mode, (took[len(took) // 2], took[0]))


def batched(subject: Subject, steps: int) -> Iterator[Record]:
    """Copies in one batch of the engine; one time for all steps, so no fastest."""
    for name, copies in BATCHES.items():
        head, start = CASES[name]
        if not subject.knows(head):
            continue
        subject.progress(f"speed: {copies} × {name}", 0, None)
        atoms = start(subject)
        seconds = batch_seconds(subject.calculator(head), atoms, copies, steps)
        yield row(name, copies, copies * len(atoms), "eager, tables", (seconds, None))


def batch_seconds(calculator: GFMCalculator, atoms: Atoms, copies: int, steps: int) -> float:
    """Seconds of a step of all."""
    settings = MDSettings(ensemble={"name": "nve"}, steps=steps, timestep_fs=0.5, initial_temperature_K=300.0)
    structures, each = replicated(atoms, settings, copies)
    model = model_of(calculator)
    list(run_md_many(structures, [one.model_copy(update={"steps": 2}) for one in each], calculator=model))
    now = clock()
    start = now()
    list(run_md_many(structures, each, calculator=model))
    return (now() - start) / steps


def row(name: str, copies: int, atoms: int, mode: str, seconds: tuple[float, float | None]) -> Record:
    """As the table has it."""
    return {"name": name, "copies": copies, "atoms": atoms, "mode": mode, "seconds": seconds[0], "fastest": seconds[1]}


def section(record: Record) -> str:
    """A row for each."""
    rows = []
    for one in record["rows"]:
        fastest = "–" if one["fastest"] is None else f"{1e3 * one['fastest']:.1f}"
        per_day = 86.4e-6 / one["seconds"] * one["copies"]
        rows.append(
            [
                one["name"] if one["copies"] == 1 else f"{one['copies']} × {one['name']}",
                str(one["atoms"]),
                one["mode"],
                f"{1e3 * one['seconds']:.1f}",
                fastest,
                f"{one['atoms'] / one['seconds']:,.0f}",
                f"{1e3 * per_day:.2g}",
            ]
        )
    columns = ["structure", "atoms", "mode", "ms a step", "fastest", "atoms/s", "ns a day at 1 fs, all together"]
    of_what = "processor time of one thread" if record["threads"] == 1 else f"wall time, {record['threads']} threads"
    said = f"Energy, forces and stress, and the step: {of_what}, medians. {record['machine']}."
    return "\n\n".join([said, table(columns, rows)])
