"""`gfm-ase ensemble`: several potentials in one checkpoint, which knows how sure it is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

from gfm_ase.commands.announce import announce
from gfm_ase.commands.errors_table import ROWS
from gfm_ase.commands.options import OVERRIDES

FILE = "ensemble.safetensors"

SOURCES: TypeAlias = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        help="A run file (with --seeds), the folder of a search (with --best), a checkpoint (with --branches), or"
        " several checkpoints.",
        show_default=False,
    ),
]
SEEDS: TypeAlias = Annotated[
    int | None, typer.Option("--seeds", help="Train the run file with so many seeds.", show_default=False)
]
BEST: TypeAlias = Annotated[
    int | None, typer.Option("--best", help="Take so many of the best trials of the search.", show_default=False)
]
BRANCHES: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--branches",
        help="Heads of the checkpoint, with commas between, that were trained on one level of theory.",
        show_default=False,
    ),
]
EPOCHS: TypeAlias = Annotated[
    int | None,
    typer.Option("--epochs", help="Train the trials on to so many epochs; by default as they are.", show_default=False),
]
OUTPUT: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for members and ensemble.safetensors; a file where checkpoints are joined.",
        show_default=False,
    ),
]
NAME: TypeAlias = Annotated[
    str, typer.Option("--head", help="With --branches: the name of the head of the ensemble.", show_default=False)
]


def ensemble(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    sources: SOURCES,
    seeds: SEEDS = None,
    best: BEST = None,
    branches: BRANCHES = None,
    head: NAME = "ensemble",
    epochs: EPOCHS = None,
    overrides: OVERRIDES = None,
    output: OUTPUT = None,
) -> None:
    """Make an ensemble: of seeds of one run, of the best trials of a search, of branches, or of checkpoints there are.

    What has to be trained is trained by all processes there are (mpiexec, srun), member after member; Ctrl-C saves the
    state, and the same command goes on. Calculators then give energy_uncertainty, forces_uncertainty and uncertainty.

    Example: gfm-ase ensemble run.toml --seeds 8 -o ensemble
    Example: gfm-ase ensemble searches/acac --best 4 --epochs 200 -o ensemble
    Example: gfm-ase ensemble a/model.safetensors b/model.safetensors -o ensemble.safetensors
    """
    first = sources[0]
    if seeds is not None or best is not None:
        _check(sources, {"--seeds": seeds, "--best": best, "--branches": branches})
        if epochs is not None and best is None:
            raise ValueError("--epochs trains trials on and belongs to --best; for a run file, --set stop.epochs=...")
        if overrides and seeds is None:
            raise ValueError("--set changes a run file and belongs to --seeds; trials go on with their own settings")
        _of_runs(first, seeds, best, epochs, (overrides or [], output))
        return
    if branches is None and len(sources) < 2:
        raise ValueError(f"{first}: one source alone; add --seeds, --best or --branches, or name more checkpoints")
    if epochs is not None or overrides:
        raise ValueError("--epochs and --set belong to trainings, and checkpoints are joined as they are")
    from train.ensembles import branches_of, join, read_member

    if branches is not None:
        _check(sources, {"--branches": branches})
        members = branches_of(first, [name.strip() for name in branches.split(",") if name.strip()], head)
    else:
        members = [read_member(source) for source in sources]
    path = output or Path(FILE)
    if path.suffix != ".safetensors":
        raise ValueError(f"-o {path}: checkpoints are joined in one file; name it something.safetensors")
    join(members, path)
    announce(Console(), f"Ensemble of {len(members)}: {path}")


def _check(sources: list[Path], ways: dict[str, Any]) -> None:
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are different ways to make an ensemble; give one of them")
    if len(sources) > 1:
        raise ValueError(f"{given[0]} takes one source; {len(sources)} are given")


def _of_runs(
    source: Path, seeds: int | None, best: int | None, epochs: int | None, how: tuple[list[str], Path | None]
) -> None:
    from train.config import load_config
    from train.data import load_datasets
    from train.ensembles import errors_of, join, make_ensemble, seeds_of, train_members, trials_of
    from train.group import joined
    from train.progress import Reporter

    overrides, output = how
    if best is not None:
        folder = output or source.with_name(f"{source.name}_ensemble")
        runs = trials_of(source, folder, best, epochs=epochs)
    else:
        assert seeds is not None
        config = load_config(source, overrides)
        folder = output or config.output.with_name(f"{config.output.name}_ensemble")
        runs = seeds_of(config, folder.absolute(), seeds)
    with joined(runs[0].device, timedelta(minutes=runs[0].stop.unanswered_minutes)) as group:
        console = Console(quiet=not group.first)
        members = train_members(runs, console=console, group=group)
        if not group.first:
            return
        with Reporter(console).reading() as progress:
            datasets = load_datasets(runs[0], progress)
        errors = errors_of(make_ensemble(members), datasets)
        join(members, folder / FILE, errors)
    if errors:
        console.print(errors_beside(errors, {member.name: _errors(member.manifest) for member in members}))
    announce(console, f"Ensemble of {len(members)}: {folder / FILE}")


def _errors(manifest: Any) -> dict[str, dict[str, float]]:
    return {name: head.test_errors for name, head in manifest.heads.items()}


def errors_beside(own: dict[str, dict[str, float]], of_members: dict[str, dict[str, dict[str, float]]]) -> Table:
    """Mean absolute errors of an ensemble and of its members on the test splits."""
    table = Table(title="Mean absolute errors on structures held back from training", title_justify="left")
    for name in ("head", "quantity", "ensemble", "best member", "mean"):
        table.add_column(name, justify="left" if name in {"head", "quantity"} else "right")
    for head, found in own.items():
        for name, label, unit, factor in ROWS:
            key = f"{name}_mae_{unit}"
            theirs = [errors[head][key] for errors in of_members.values() if key in errors.get(head, {})]
            if key not in found or not theirs:
                continue
            numbers = (found[key], min(theirs), sum(theirs) / len(theirs))
            table.add_row(head, label, *(f"{factor * number:.3g}" for number in numbers))
    return table
