"""`gfm-ase evaluate`: errors of a checkpoint on labelled structures."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce
from gfm_ase.commands.errors_table import errors_table
from gfm_ase.commands.options import CHECKPOINT, DEVICE, DTYPE, HEAD, STRUCTURES

ENERGY_KEY: TypeAlias = Annotated[
    str | None, typer.Option("--energy-key", help="Key of the energy in info; by default what ASE reads as energy.")
]
FORCES_KEY: TypeAlias = Annotated[
    str | None, typer.Option("--forces-key", help="Key of the forces in arrays; by default what ASE reads as forces.")
]
STRESS_KEY: TypeAlias = Annotated[
    str | None, typer.Option("--stress-key", help="Key of the stress in info; by default what ASE reads as stress.")
]
LABEL: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="OUTPUT=KEY",
        help="Key of the label of an output such as dipole; by default its own name. May be given several times.",
    ),
]
JSON: TypeAlias = Annotated[Path | None, typer.Option("--json", help="Write the errors to this JSON file.")]
PLOT: TypeAlias = Annotated[
    Path | None, typer.Option("--plot", help="Draw predictions against references (.png, .svg or .pdf).")
]


def evaluate(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    structures: STRUCTURES,
    head: HEAD = None,
    energy_key: ENERGY_KEY = None,
    forces_key: FORCES_KEY = None,
    stress_key: STRESS_KEY = None,
    label: LABEL = None,
    json_file: JSON = None,
    plot: PLOT = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
) -> None:
    """Compare a checkpoint with labelled structures: energies, forces, stress and outputs, beside trivial predictors.

    Labels are in eV and Å with ASE's stress sign; structures lacking a label count for the others.

    Example: gfm-ase evaluate model.safetensors test.extxyz --head acac --plot parity.png
    """
    from gfm_ase.calculator import check_elements_known, choose_head
    from gfm_ase.loading import load
    from train.config import DatasetConfig
    from train.data import label as labelled_graph
    from train.evaluation import predict
    from train.journal import write_json
    from train.progress import Reporter
    from train.reading import read_frames

    _check_outputs(json_file, plot)
    loaded = load(checkpoint, device=device, dtype=dtype)
    name = choose_head(loaded.potential, head)
    potential = loaded.potential.only(name)
    rows = [*potential.trained_outputs(name).values()]
    keys: dict[str, Any] = {"energy_key": energy_key, "forces_key": forces_key, "stress_key": stress_key}
    labels = _label_keys(label or [], [row.name for row in rows])
    files = DatasetConfig(name=name, train=tuple(map(str, structures)), labels=labels, **keys)
    with Reporter(console := Console()).reading() as progress:
        frames = read_frames(files, "train", outputs=rows, progress=progress)
        for frame in frames:
            check_elements_known(frame.atoms, potential.references, name, frame.source)
        labelled = [labelled_graph(frame, potential.cutoff, outputs=rows) for frame in frames]
        predictions = predict(potential, potential.references, labelled, outputs=rows, progress=progress)
    _warn(console, loaded.manifest.heads[name])
    console.print(errors_table(errors := {name: predictions.errors()}, f"{len(labelled)} structures"))
    if json_file:
        write_json(json_file, errors)
        announce(console, f"Errors: {json_file}")
    if plot is not None:
        _draw(plot, predictions.pairs(), name)
        announce(console, f"Plot: {plot}")


def _warn(console: Console, head: Any) -> None:
    if not head.of_energies:
        console.print("[yellow]this head has learnt no energies: errors of them and of forces mean nothing[/yellow]")


def _label_keys(given: list[str], outputs: list[str]) -> dict[str, Any]:
    """`OUTPUT=KEY` options as the table `labels` of a data set.

    Raises:
        ValueError: not of that form, or the head has no such output.
    """
    labels = {}
    for text in given:
        name, equals, key = text.partition("=")
        if not (equals and key):
            raise ValueError(f"--label {text} is not of the form OUTPUT=KEY, such as dipole=mu")
        if name not in outputs:
            raise ValueError(f"--label {text}: the head has no output {name!r}; it has {', '.join(outputs) or 'none'}")
        labels[name] = {"key": key}
    return labels


def _check_outputs(json_file: Path | None, plot: Path | None) -> None:
    """Before the minutes that the predictions may take."""
    from md_workflows.durable import check_directory

    for path in (json_file, plot):
        if path is not None:
            check_directory(path)
    if plot is not None:
        from gfm_ase.plots import check_picture

        check_picture(plot)


def _draw(path: Path, pairs: Any, title: str) -> None:
    from gfm_ase.plots import parity_figure, save_figure

    save_figure(parity_figure(pairs, title), path)
