"""`gfm-ase search`: many trainings, proposed one after the other, and the front of the best."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

from gfm_ase.commands.announce import announce
from gfm_ase.commands.training import INTERRUPTED

REFRESH_SECONDS = 2.0
PICTURE_FILE = "front.png"

FILE: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="SEARCH.TOML", help="Search file: run file, parameters, objectives, budget.", show_default=False
    ),
]
WORKERS: TypeAlias = Annotated[int, typer.Option("--workers", metavar="N", help="Workers on this machine.")]
RANKS: TypeAlias = Annotated[int, typer.Option("--ranks-per-trial", metavar="R", help="Processes of each trial.")]
REPORT: TypeAlias = Annotated[bool, typer.Option("--report", help="Only write the tables again, and show them.")]
PICTURE: TypeAlias = Annotated[bool, typer.Option("--picture/--no-picture", help="Draw front.png (extra `report`).")]


def search(
    search_file: FILE,
    workers: WORKERS = 1,
    ranks_per_trial: RANKS = 1,
    report: REPORT = False,
    picture: PICTURE = True,
) -> None:
    """Search architectures and settings: each trial a training in processes of its own.

    The same command on any machine that sees the folder joins the study, and goes on with it after whatever stopped
    it: trials of lost workers are taken over from their states. Started by mpiexec or srun each process is a worker,
    or with --ranks-per-trial R each R of them. Ctrl-C saves the states of the running trials and ends.

    Leaves study.csv, trials.json, front.png and best.json (run file of the best trial) in the folder `output`, and
    trials/0000 and so on, the folder of each run. Extra: hpo.

    Example: gfm-ase search search.toml --workers 2
    """
    from train.launch import find_launch
    from train.search.config import load_search
    from train.search.files import SETTINGS
    from train.search.proposals import optuna
    from train.search.study import Study
    from train.search.working import Part, several, take_part
    from train.stopping import TO_BE_RESUMED, Asked, stop_signals

    optuna()
    settings = load_search(search_file)
    part = Part(find_launch(), ranks_per_trial)
    _check(settings, part, workers, picture)
    console = Console(quiet=not part.first)
    if report and not (settings.output / SETTINGS).exists():
        raise ValueError(f"{settings.output} holds no study yet; leave out --report to begin it")
    if not report:
        with stop_signals() as asked, _shown(settings, console) as tick:
            if workers > 1:
                over = several(search_file, settings, workers, ranks_per_trial, (asked, tick))
            else:
                over = take_part(settings, part, asked, tick)
            by = asked()
        if not over:
            announce(console, "Stopped; the same command goes on.")
            raise typer.Exit(INTERRUPTED if by == Asked.INTERRUPTED else TO_BE_RESUMED)
    if part.first:
        _report(Study(settings), console, picture)


def _check(settings: Any, part: Any, workers: int, picture: bool) -> None:
    """What cannot go well is told now, and not after hours."""
    if workers < 1:
        raise ValueError(f"--workers is {workers}; it must be 1 or more")
    if workers > 1 and part.launch.size > 1:
        raise ValueError(
            f"{part.launch.by} has started {part.launch.size} processes, each of which is a worker; leave out --workers"
        )
    if picture:
        from gfm_ase.plots import check_picture

        try:
            check_picture(settings.output / PICTURE_FILE)
        except ValueError as error:
            raise ValueError(f"{error}; or give --no-picture") from None


@contextmanager
def _shown(settings: Any, console: Console) -> Iterator[Callable[[], None]]:
    """A table of the running trials, and a line for each that is over; what is returned is called again and again."""
    from rich.live import Live

    from train.search.study import study_rows

    told: set[int] = set()
    last = 0.0
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def tick() -> None:
            nonlocal last
            if time.monotonic() - last < REFRESH_SECONDS or console.quiet:
                return
            last = time.monotonic()
            rows = study_rows(settings.output, settings.objectives.error)
            for row in rows:
                if row.over and row.number not in told:
                    told.add(row.number)
                    announce(console, _line(row))
            live.update(_running(rows, settings.budget.trials), refresh=True)

        yield tick


def _line(row: Any) -> str:
    error = "" if row.error is None else f", error {row.error:.4g}"
    return f"trial {row.number}: {row.state}{error}, {row.epochs} epochs, {row.seconds:.0f} s{_why(row)}"


def _why(row: Any) -> str:
    return f": {row.reason}" if row.reason and row.state != "finished" else ""


def _running(rows: Sequence[Any], trials: int) -> Table:
    over = sum(row.over for row in rows)
    paused = sum(row.state == "paused" for row in rows)
    table = Table(title=f"{over} of {trials} trials are over, {paused} paused", title_justify="left")
    for column in ("trial", "epoch", "error", "seconds", "worker", "values"):
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    for row in rows:
        if row.state == "running":
            error = "" if row.error is None else f"{row.error:.4g}"
            epoch = f"{row.epochs} of {row.of_epochs}"
            table.add_row(str(row.number), epoch, error, f"{row.seconds:.0f}", row.worker, _values(row))
    return table


def _values(row: Any) -> str:
    return ", ".join(f"{name.split('.')[-1]} {_short(value)}" for name, value in row.values.items())


def _short(value: Any) -> str:
    return f"{float(f'{value:.3g}'):g}" if isinstance(value, float) else str(value)


def _report(study: Any, console: Console, picture: bool) -> None:
    from train.search.report import BEST, TABLE, TRIALS_FILE, importances, write_report
    from train.search.rows import pareto_front

    rows = write_report(study)
    minimise = study.search.objectives.minimise
    front = pareto_front(rows, minimise)
    console.print(_results(rows, {row.number for row in front}))
    announce(console, *[f"* trial {row.number}: {_values(row)}" for row in front])
    files = [TABLE, TRIALS_FILE]
    if front:
        files.append(BEST)
    if picture and any(row.error is not None for row in rows):
        from gfm_ase.plots import save_figure
        from gfm_ase.search_picture import search_figure

        save_figure(search_figure(rows, minimise, importances(study.folder)), study.folder / PICTURE_FILE)
        files.append(PICTURE_FILE)
    announce(console, *[f"trial {row.number} {row.state}{_why(row)}" for row in rows if row.state == "failed"])
    announce(console, f"In {study.folder}: {', '.join(files)}")
    if rows and not front and all(row.state == "failed" for row in rows):
        raise typer.Exit(1)


def _results(rows: Sequence[Any], front: set[int]) -> Table:
    table = Table(title="Trials; * is on the front", title_justify="left")
    for column in ("trial", "state", "error", "µs/atom", "kJ", "parameters", "epochs", "seconds"):
        table.add_column(column, justify="left" if column == "state" else "right")
    for row in rows:
        table.add_row(
            f"{'* ' if row.number in front else ''}{row.number}",
            row.state,
            "" if row.error is None else f"{row.error:.4g}",
            "" if row.inference_s_per_atom is None else _short(1e6 * row.inference_s_per_atom),
            "" if row.energy_J is None else f"{row.energy_J / 1e3:.3g}",
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.epochs} of {row.of_epochs}",
            f"{row.seconds:.0f}",
        )
    return table
