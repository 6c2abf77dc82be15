"""`gfm-ase screen`: many structures relaxed, one row each."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import md_workflows
from gfm_ase.commands import calculator
from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import CHECKPOINT, COMPILE, DEVICE, DTYPE, HEAD, STRUCTURES
from gfm_ase.commands.relaxing import (
    CELL,
    CONSTANT_VOLUME,
    FMAX,
    HYDROSTATIC,
    MASK,
    MAX_STEPS,
    OPTIMIZER,
    PRESSURE,
    cell_values,
    relax_settings,
)


def screen(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    structures: STRUCTURES,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Table (.csv); structures .extxyz and journal .journal.jsonl beside it."),
    ] = Path("screen.csv"),
    index: Annotated[
        str, typer.Option("--index", help="Frames of each file: a number or a slice such as :, 0:10 or ::2.")
    ] = ":",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute everything again, forgetting the journal of an earlier run.")
    ] = False,
    optimizer: OPTIMIZER = "fire",
    fmax: FMAX = 0.05,
    max_steps: MAX_STEPS = 500,
    cell: CELL = False,
    mask: MASK = None,
    hydrostatic: HYDROSTATIC = False,
    constant_volume: CONSTANT_VOLUME = False,
    pressure: PRESSURE = 0.0,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
    compiled: COMPILE = False,
) -> None:
    """Relax many structures and write a table with one row each.

    A structure that fails is a row with its reason. Every finished structure is in the journal at once: after an
    interruption the same command goes on where it stopped, and computes again only what changed. --max-steps 0
    evaluates the structures as they are.

    Example: gfm-ase screen model.safetensors candidates/*.cif --cell -o candidates.csv
    """
    values = cell_values(mask, hydrostatic, constant_volume, pressure)
    settings = relax_settings(optimizer, fmax, max_steps, cell, values)
    items = list(md_workflows.read_structures(structures, index))  # all at once: the time left needs their number
    driver = calculator.build_calculator(checkpoint, head, device, dtype, compiled)
    engine = md_workflows.ASEEngine(driver, identity=f"{_digest(checkpoint)} head={head} dtype={dtype}")
    console = Console()
    with md_workflows.progress_bar("screening", "structures", console) as progress:
        result = md_workflows.screen(items, output, settings, engine=engine, resume=not fresh, progress=progress)
    counts = ", ".join(f"{result.count(status)} {status}" for status in md_workflows.Status)
    announce(
        console,
        f"{len(result.rows)} structures: {counts} ({result.resumed} known from the journal).",
        f"Table: {result.files.table}",
        f"Structures: {result.files.structures}",
        f"Journal: {result.files.journal}",
    )


def _digest(checkpoint: Path) -> str:
    with checkpoint.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
