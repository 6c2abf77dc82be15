"""`gfm-ase export`: a checkpoint with its compiled program, in one file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import CHECKPOINT, DTYPE


def export(
    checkpoint: CHECKPOINT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write [CHECKPOINT with .pt2].")] = None,
    head: Annotated[
        str | None, typer.Option("--head", help="Keep this branch alone; by default all.", show_default=False)
    ] = None,
    dtype: DTYPE = None,
) -> None:
    """Compile a checkpoint ahead of time, for starts without waiting: GFMCalculator.from_export(FILE).

    The file holds the program for this kind of machine and this version of torch, beside the checkpoint itself. The
    program is checked against the checkpoint here and at each load. It is code: load only files whose maker you trust.

    Example: gfm-ase export model.safetensors -o model.pt2
    """
    from potentials.exported import export_potential
    from potentials.models.registry import beside

    console = Console()
    path = output or beside(checkpoint, f"{checkpoint.stem}.pt2")
    with console.status("compiling, a minute or two"):
        export_potential(checkpoint, path, head=head, dtype=dtype)
    announce(console, f"Exported: {path} ({path.stat().st_size / 1e6:.1f} MB)")
