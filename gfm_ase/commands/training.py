"""`gfm-ase train`: from data to a checkpoint."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce
from gfm_ase.commands.errors_table import errors_table
from gfm_ase.commands.options import OVERRIDES

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

RESUME = Annotated[
    bool, typer.Option("--resume", help="Go on from the last saved state, to the same numbers as without a stop.")
]
GO_ON = Annotated[
    bool, typer.Option("--continue", help="--resume where there is a state, else begin: the same command for both.")
]
UNTIL = Annotated[
    int | None,
    typer.Option(
        "--until-epoch",
        metavar="E",
        help="Pause after so many epochs, state saved, exit code 77; the schedule stays that of all epochs.",
        show_default=False,
    ),
]
OVERWRITE = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew in a folder that holds a run; that run is lost.")
]


def train(  # noqa: PLR0917 - typer: every option is an argument
    run_file: Annotated[
        Path, typer.Argument(metavar="RUN.TOML", help="Run file: data, potential, loss, schedule.", show_default=False)
    ],
    overrides: OVERRIDES = None,
    resume: RESUME = False,
    go_on: GO_ON = False,
    overwrite: OVERWRITE = False,
    until_epoch: UNTIL = None,
) -> None:
    """Train one potential on one or several data sets, each with its own head.

    Leaves in the folder `output` of the run file: model.safetensors (the checkpoint), errors.json (on the test splits),
    journal.csv and journal.jsonl (how it went), config.json and environment.json (what made it), and state.safetensors
    (to resume from). Ctrl-C saves the state and ends; a second Ctrl-C ends at once. SIGTERM, SIGUSR1 and the near end
    of a Slurm job save the state and end with exit code 75: to be resumed. Several processes share each step.

    Example: gfm-ase train run.toml --set optimizer.learning_rate=1e-3 --set stop.epochs=200 (mpiexec -n 4 gfm-ase ...,
    srun gfm-ase ..., torchrun --nproc-per-node 4 --no-python gfm-ase ...)
    """
    from train import loop
    from train.config import load_config
    from train.group import joined
    from train.stopping import PAUSED, TO_BE_RESUMED

    if resume + overwrite + go_on > 1:
        raise ValueError(
            "--resume goes on with the run, --overwrite removes it, --continue goes on or begins; give one of them"
        )
    config = load_config(run_file, overrides or [])
    with joined(config.device, timedelta(minutes=config.stop.unanswered_minutes)) as group:
        console = Console(quiet=not group.first)
        if go_on:
            resume, overwrite = loop.where_it_stands(config.output, group)
        how = {"resume": resume, "overwrite": overwrite}
        result = loop.train(config, **how, until_epoch=until_epoch, console=console, group=group)
    if result.checkpoint is None:
        announce(console, _unfinished(result))
        raise typer.Exit({"paused": PAUSED, "terminated": TO_BE_RESUMED}.get(result.reason, INTERRUPTED))
    console.print(errors_table(result.errors, "Errors on structures held back from training"))
    announce(console, *_ended(result))


def _unfinished(result: Any) -> str:
    epoch = result.position.epoch
    how = f"Paused after {epoch} epochs" if result.reason == "paused" else f"Stopped in epoch {epoch + 1}"
    return f"{how}; the same command with --resume goes on."


def _ended(result: Any) -> tuple[str, str]:
    from train.energy.account import energy_text

    position = result.position
    ended = f"Ended by {result.reason} after {position.steps} steps, {position.seconds:.0f} s"
    used = energy_text(position.joules, position.energy.source)
    return f"{ended}, {used}; best epoch {position.best_epoch}.", f"Checkpoint: {result.checkpoint}"
