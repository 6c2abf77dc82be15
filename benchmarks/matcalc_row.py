"""One line of the MatCalc benchmark of the MatPES site for one head of a checkpoint, beside the published ones.

    python -m benchmarks.matcalc_row --model gfm1 --head pbe_mp --limit 50 --output row.json \
        --page docs/proof_matcalc.md

Fingerprint distance, formation energy, bulk and shear modulus, heat capacity and force softening; docs/proof_matcalc.md
has the protocol and what differs. Rows are kept in row.rows.jsonl as they come: the same command goes on after a kill,
and a larger --limit measures what is new. Needs pymatgen, phonopy and spglib: pip install 'gfm-ase[materials]'.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.card.page import write_sections
from benchmarks.machine import describe
from benchmarks.matcalc import elasticity, equilibrium, phonons, softening, summary
from benchmarks.matcalc.journal import Journal
from benchmarks.matcalc.lists import ELEMENTS, Row, Task, name_of, read_list, sample
from gfm_ase.calculator import GFMCalculator
from md_workflows.engine import Engine, engine_for
from md_workflows.progress import progress_bar
from md_workflows.properties.base import need


def tasks(data: Path, limit: int | None, seed: int, least_A: float | None, journal: Journal) -> Iterator[Task]:
    """What is measured, in its order; energies of elements come from the journal when they are there."""
    off = softening.frames(data)
    yield Task("softening", off, softening.rows, 32, len(off))
    listed = read_list(data, equilibrium.LIST)
    chosen = sample(listed, limit, seed)
    needed = {symbol for atoms in chosen for symbol in atoms.get_chemical_symbols()}
    elements = [atoms for atoms in read_list(data, ELEMENTS) if name_of(atoms) in needed]
    yield Task("elements", elements, equilibrium.elements, 16, len(elements))
    known = [journal.row("elements", name_of(atoms)) for atoms in elements]
    references = {row.id: row.values["E"] for row in known if row is not None and "E" in row.values}
    yield Task("equilibrium", chosen, partial(equilibrium.rows, references=references), 16, len(listed))
    listed = read_list(data, elasticity.LIST)
    yield Task("elasticity", sample(listed, limit, seed), elasticity.rows, 16, len(listed))
    listed = read_list(data, phonons.LIST)
    yield Task("phonon", sample(listed, limit, seed), phonons.measure_with(least_A), 4, len(listed))


def run(task: Task, engine: Engine, journal: Journal, console: Console) -> list[Row]:
    """Rows of all structures of a task: those of the journal, and the others, which go there."""
    names = [name_of(atoms) for atoms in task.structures]
    open_ones = [number for number, name in enumerate(names) if journal.row(task.name, name) is None]
    with progress_bar(task.name, "structures", console) as update:
        done = len(names) - len(open_ones)
        update(done, len(names))
        for first in range(0, len(open_ones), task.chunk):
            chunk = [task.structures[number] for number in open_ones[first : first + task.chunk]]
            start = time.process_time()
            rows = task.measure(chunk, engine)
            for row in rows:
                row.seconds = (time.process_time() - start) / len(rows)
            journal.append(rows)
            done += len(rows)
            update(done, len(names))
    found = [journal.row(task.name, name) for name in names]
    return [row for row in found if row is not None]


def main(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    model: Annotated[Path, typer.Option(help="Checkpoint.")],
    head: Annotated[str | None, typer.Option(help="Its head; may be left out where there is one.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.", envvar="GFM_ASE_DATA")] = Path("data"),
    limit: Annotated[int | None, typer.Option(min=1, help="Structures of each list; else all of them.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    output: Annotated[Path, typer.Option(help="JSON file; rows go beside it.")] = Path("matcalc_row.json"),
    least_supercell: Annotated[
        float | None, typer.Option(help="Å that a vector of a phonon supercell has at least; else 2 × 2 × 2.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    page: Annotated[Path | None, typer.Option(help="Write the section of this page.")] = None,
) -> None:
    """Measure what is not in the rows yet, and print the line."""
    torch.set_num_threads(threads)
    console = Console()
    try:
        need("pymatgen", "phonopy", "spglib")
        calculator = GFMCalculator(model, head=head, device=device)
        engine = engine_for(calculator)
        settings = {"potential": engine.identity, "supercells": least_supercell, "sample seed": seed}
        journal = Journal(output.with_suffix(".rows.jsonl"), settings)
        measured: list[Task] = []
        rows: dict[str, list[Row]] = {}
        for task in tasks(data, limit, seed, least_supercell, journal):
            measured.append(task)
            rows[task.name] = run(task, engine, journal, console)
    except ValueError as refused:
        raise typer.BadParameter(str(refused)) from None
    report(measured, rows, console, f"{model.stem}, head {calculator.head}")
    found = {"model": str(model), "head": calculator.head, "limit": limit, "machine": describe(), **settings}
    if page is not None:
        tables = (summary.comparison(f"**ours**, head `{calculator.head}`", rows), summary.counts(measured, rows))
        told = [*map(summary.markdown, tables), summary.affordable(rows, (10, 30)), describe()]
        write_sections(page, {"matcalc": "\n\n".join(told)})
    output.write_text(json.dumps(found | summary.record(measured, rows), indent=1) + "\n", encoding="utf-8")


def report(measured: Sequence[Task], rows: dict[str, list[Row]], console: Console, name: str) -> None:
    """Print the line beside the published ones, what failed, and what a longer run would take."""
    console.print(summary.comparison(name, rows))
    console.print(summary.counts(measured, rows))
    console.print(summary.affordable(rows, (10, 30)))
    console.print(describe())


if __name__ == "__main__":
    typer.run(main)
