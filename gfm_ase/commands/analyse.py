"""`gfm-ase analyse`: what a trajectory tells."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

import md_workflows
from gfm_ase.commands.announce import announce

TRAJECTORY: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="TRAJECTORY", help="Written by `gfm-ase md`, or any that ASE reads.", show_default=False),
]
REPORT: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--report",
        help="Which, by commas: temperature, energy, pressure, rdf, msd, vacf, uncertainty. By default all that the "
        "frames allow.",
        show_default=False,
    ),
]
OUTPUT: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Name of the picture (.png, .svg, .pdf), which the tables follow [NAME.analysis.png].",
    ),
]
INDEX: TypeAlias = Annotated[str, typer.Option("--index", help="Which frames: '100:' leaves the first 100 out.")]
GROUP: TypeAlias = Annotated[
    str | None, typer.Option("--group", help="Which system of an .h5 file with several.", show_default=False)
]
INTERVAL: TypeAlias = Annotated[
    float | None,
    typer.Option("--frame-interval-fs", help="Time from frame to frame, where the file does not keep it."),
]
CUTOFF: TypeAlias = Annotated[float, typer.Option("--cutoff", help="How far g(r) goes, Å.")]
BINS: TypeAlias = Annotated[int, typer.Option("--bins", help="Bins of g(r) up to the cutoff.")]
WINDOW: TypeAlias = Annotated[
    int | None,
    typer.Option("--window", help="Longest time difference of msd and vacf, in frames [a tenth of all]."),
]
UNWRAP: TypeAlias = Annotated[
    bool, typer.Option("--unwrap", help="Positions were wrapped into the cell: join them again for msd.")
]
DRIFT: TypeAlias = Annotated[
    bool, typer.Option("--drift", help="Leave the motion of the centre of mass in msd and vacf.")
]
OVERWRITE: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace existing tables and picture.")]


def analyse(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    trajectory: TRAJECTORY,
    report: REPORT = None,
    output: OUTPUT = None,
    index: INDEX = ":",
    group: GROUP = None,
    frame_interval_fs: INTERVAL = None,
    cutoff: CUTOFF = 8.0,
    bins: BINS = 160,
    window: WINDOW = None,
    unwrap: UNWRAP = False,
    drift: DRIFT = False,
    overwrite: OVERWRITE = False,
) -> None:
    """Analyse a trajectory: temperature, energy, pressure, g(r), diffusion, vibrations, each mean with its error.

    Prints a table, and writes CSV files and one picture beside the trajectory.

    Example: gfm-ase analyse md.traj --index 100: --cutoff 6
    """
    from gfm_ase.analysis_picture import analysis_figure
    from gfm_ase.plots import check_picture, save_figure
    from md_workflows.analysis.analyse import analyse as run
    from md_workflows.analysis.registry import REPORTERS
    from md_workflows.analysis.trajectory import Source

    picture = trajectory.with_suffix(".analysis.png") if output is None else output
    check_picture(picture)
    _check_free(picture, overwrite)
    moving = {"drift": drift, **({} if window is None else {"window": window})}
    settings: dict[str, dict[str, Any]] = {
        "rdf": {"cutoff": cutoff, "bins": bins},
        "msd": {**moving, "unwrap": unwrap},
        "vacf": moving,
    }
    names = None if report is None else [name.strip() for name in report.split(",")]
    console = Console()
    with md_workflows.progress_bar("analysis", "frames", console) as bar:
        found = run(Source(trajectory, index, group, frame_interval_fs), names, settings, bar)
    figure = analysis_figure(found, trajectory.name)
    written = found.write(picture)
    save_figure(figure, picture)
    console.print(_table(found, trajectory))
    for name in REPORTERS:
        if name in found.left_out:
            announce(console, f"Left out: {found.left_out[name].removesuffix('.')}.")
    announce(console, f"Tables: {', '.join(str(path) for path in written)}", f"Picture: {picture}")


def _check_free(picture: Path, overwrite: bool) -> None:
    from md_workflows.analysis.reporting import all_tables, report_path
    from md_workflows.durable import check_directory

    check_directory(picture)
    there = [path for path in (picture, *(report_path(picture, name) for name in all_tables())) if path.exists()]
    if there and not overwrite:
        raise ValueError(
            f"{', '.join(str(path) for path in there)} exist already; --overwrite replaces them, -o gives other names."
        )


def _table(found: Any, trajectory: Path) -> Table:
    table = Table(title=f"{trajectory}: {found.frames:,} frames", title_justify="left")
    for column, justify in (("quantity", "left"), ("mean", "right"), ("± standard error", "right"), ("unit", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type] # literals
    for one in found.findings:
        error = "unknown" if one.error != one.error else f"{'' if one.converged else '≥ '}{one.error:.2g}"
        table.add_row(one.quantity, f"{one.value:.6g}", error, one.unit)
    return table
