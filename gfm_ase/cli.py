"""The command line `gfm-ase`."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from gfm_ase._version import __version__
from gfm_ase.commands import data
from gfm_ase.commands.analyse import analyse
from gfm_ase.commands.calibration import calibrate
from gfm_ase.commands.compare import compare
from gfm_ase.commands.doctor import doctor
from gfm_ase.commands.ensemble import ensemble
from gfm_ase.commands.evaluation import evaluate
from gfm_ase.commands.export import export
from gfm_ase.commands.inspection import inspect
from gfm_ase.commands.label import label
from gfm_ase.commands.md import md
from gfm_ase.commands.models import models
from gfm_ase.commands.neb import neb
from gfm_ase.commands.plan import plan
from gfm_ase.commands.relax import relax
from gfm_ase.commands.screen import screen
from gfm_ase.commands.search import search
from gfm_ase.commands.select import select
from gfm_ase.commands.training import train

SECONDS_FOR_THE_FIRST = 2.0
"""In which a launcher ends the other processes once the first has failed."""

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "compare": compare,
    "search": search,
    "ensemble": ensemble,
    "plan": plan,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "md": md,
    "analyse": analyse,
    "relax": relax,
    "screen": screen,
    "select": select,
    "label": label,
    "neb": neb,
    "export": export,
    "models": models,
    "inspect": inspect,
    "doctor": doctor,
}

COMPLETE = {"models"}
"""Commands that say something without arguments."""

app = typer.Typer(
    name="gfm-ase",
    help="Graph foundation models for atomistic simulation: train on many data sets at once, run in ASE.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for _name, _command in COMMANDS.items():
    app.command(_name, no_args_is_help=_name not in COMPLETE)(_command)
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gfm-ase {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of all commands."""
    del version  # its callback has answered


def main() -> None:
    """Run a command; what a user got wrong is one red sentence and exit code 2, other errors may have theirs."""
    # the 3×3 matrices of a relaxed cell gain nothing from threads, which take ten times as long where a core is busy
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.formatwarning = _warning
    try:
        app()
    except (ValueError, OSError) as error:
        if os.environ.get("GFM_ASE_TRACEBACK"):
            raise
        message = Text.assemble((f"error{_of_process()}:", "bold red"), f" {_sentence(error)}")
        Console(stderr=True).print(message, soft_wrap=True, highlight=False)
        sys.exit(getattr(error, "exit_code", 2))


def _warning(message: Warning | str, category: type[Warning], *where: Any, **line: Any) -> str:
    """One line of what users are to know; other warnings as Python has them."""
    if category.__name__ == "OutsideDataWarning":  # by name, for its module imports torch
        return f"warning: {message}\n"
    return _FORMAT(message, category, *where, **line)


_FORMAT = warnings.formatwarning


def _of_process() -> str:
    """Which of several processes speaks; others than the first let it speak before: mostly all say the same."""
    from train.launch import find_launch

    try:
        launch = find_launch()
    except ValueError:
        return ""
    if not launch.rank:
        return ""
    time.sleep(SECONDS_FOR_THE_FIRST)
    return f" of process {launch.rank}"


def _sentence(error: ValueError | OSError) -> str:
    """What went wrong; where the operating system says so (a folder that may not be written), without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
