"""`gfm-ase compare`: backbones under one budget, as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce

WIDE = 150
LEFT_OUT = ("parameters", "peak memory, MB", "epochs", "energy, kJ", "compile, s")
"""Columns of the table that a terminal narrower than `WIDE` has no room for."""


BACKBONES: TypeAlias = Annotated[str, typer.Option("--backbones", help="all, or names with commas between.")]
MINUTES: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        help="Wall time of each training, compilation left out: as many epochs as fit. By default the run file's"
        " epochs, fewer where they do not fit into its stop.max_minutes.",
        show_default=False,
    ),
]
OUTPUT: TypeAlias = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder of the comparison [the run file's output + _comparison]."),
]
OVERRIDES: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        help="Change one setting of the run file, or of one backbone: egnn.width=32; may be given several times.",
        show_default=False,
    ),
]
RESUME: TypeAlias = Annotated[
    bool, typer.Option("--resume", help="Keep finished trainings, go on with the one that was interrupted.")
]
PICTURE: TypeAlias = Annotated[
    bool, typer.Option("--picture/--no-picture", help="Draw comparison.png (extra `report`).")
]


def compare(  # noqa: PLR0917 - typer: every option is an argument
    run_file: Annotated[
        Path, typer.Argument(metavar="RUN.TOML", help="Run file: data, loss, schedule, widths.", show_default=False)
    ],
    backbones: BACKBONES = "all",
    minutes: MINUTES = None,
    output: OUTPUT = None,
    overrides: OVERRIDES = None,
    resume: RESUME = False,
    picture: PICTURE = True,
) -> None:
    """Train several backbones under the same budget and compare them: accuracy against cost.

    Each is trained in a process of its own, one after the other; one that fails is a row with its reason. Leaves
    comparison.csv, comparison.json, comparison.md and comparison.png in the folder, and in it a folder for each
    backbone with its checkpoint and journal. Whatever stops the command, --resume goes on.

    Example: gfm-ase compare run.toml --backbones painn,egnn --minutes 10
    """
    from train.comparison import Comparison, parse_backbones
    from train.config import load_config

    names = parse_backbones(backbones)
    if minutes is not None and minutes <= 0:
        raise ValueError(f"--minutes is {minutes:g}; it must be greater than 0")
    drawn = _picture(picture)
    of_file, of_backbones = _split_overrides(overrides or [], names)
    config = load_config(run_file, of_file)
    folder = output or config.output.with_name(f"{config.output.name}_comparison")
    console = Console()
    comparison = Comparison(config, names, folder.absolute(), minutes, of_backbones)
    rows, complete = _carry_out(comparison, resume, console)
    if not complete:
        announce(console, "Stopped; the same command with --resume goes on.")
        raise typer.Exit(130)
    _report(rows, console)
    files = [f"comparison.{suffix}" for suffix in ("md", "csv", "json")]
    if drawn and any(row.valid for row in rows):
        from gfm_ase.comparison_picture import comparison_figure
        from gfm_ase.plots import save_figure

        save_figure(comparison_figure(rows), comparison.folder / "comparison.png")
        files.append("comparison.png")
    announce(console, f"In {comparison.folder}: {', '.join(files)}")
    if all(row.status == "failed" for row in rows):
        raise typer.Exit(1)


def _picture(wanted: bool) -> bool:
    """Whether to draw; refused before the hours that the trainings may take."""
    if wanted:
        from gfm_ase.plots import check_picture

        try:
            check_picture(Path("comparison.png"))
        except ValueError as error:
            raise ValueError(f"{error}; or give --no-picture") from None
    return wanted


def _split_overrides(overrides: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Overrides of the run file, and settings of single backbones."""
    from potentials.backbones import BACKBONES
    from train.config import toml_value

    of_file: list[str] = []
    of_backbones: dict[str, dict[str, Any]] = {}
    for text in overrides:
        address, _, value = text.partition("=")
        name, _, key = address.strip().partition(".")
        if name not in BACKBONES:
            of_file.append(text)
        elif name not in names or not key or not value:
            raise ValueError(f"--set {text!r}: write backbone.key=value, of a backbone that is compared")
        else:
            of_backbones.setdefault(name, {})[key] = toml_value(value.strip())
    return of_file, of_backbones


def _carry_out(comparison: Any, resume: bool, console: Console) -> tuple[list[Any], bool]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from train.comparison import Watcher
    from train.comparison import compare as run_comparison

    columns = (SpinnerColumn(), TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.fields[what]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        whole = progress.add_task("backbones", total=len(comparison.backbones), what="")
        one = progress.add_task("reading", total=None, what="")

        class Bars(Watcher):
            """A bar for all, one for the backbone that is being trained, and a line for each that is done."""

            def reading(self, what: str, done: int, total: int | None) -> None:
                progress.update(one, description=what, completed=done, total=total, what=str(done))

            def training(self, name: str, state: dict[str, Any]) -> None:
                training = state["phase"] == "training"
                what = f"epoch {state['epochs']:.1f}" if training else state["phase"]
                total = 1.0 if training else None
                progress.update(one, description=name, total=total, completed=state["done"], what=what)

            def finished(self, row: Any) -> None:
                progress.update(whole, advance=1)
                announce(progress.console, _line(row))

        return run_comparison(comparison, resume=resume, watcher=Bars())


def _line(row: Any) -> str:
    if row.status == "failed":
        return f"{row.backbone}: failed: {row.reason}"
    errors = [
        f"{name} {1e3 * found['forces_mae_eV_per_A']:.0f} meV/Å"
        for name, found in row.valid.items()
        if "forces_mae_eV_per_A" in found
    ]
    return f"{row.backbone}: {', '.join([*errors, f'{row.epochs:g} epochs', f'{row.seconds:.0f} s'])}"


def _report(rows: Sequence[Any], console: Console) -> None:
    from rich.table import Table

    from train.comparison_rows import remarks, table

    headings, cells = table(rows)
    if console.width < WIDE:  # the whole table is in the files
        kept = [number for number, name in enumerate(headings) if name not in LEFT_OUT]
        headings, cells = [headings[number] for number in kept], [[row[number] for number in kept] for row in cells]
    shown = Table(title='Mean absolute errors, "validation / test"; best validation loss first', title_justify="left")
    for number, column in enumerate(headings):
        shown.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in cells:
        shown.add_row(*row)
    console.print(shown)
    announce(console, *remarks(rows))
