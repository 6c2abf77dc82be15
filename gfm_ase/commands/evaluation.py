"""`gfm-ase evaluate`: errors of a checkpoint on labelled structures."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce
from gfm_ase.commands.errors_table import errors_table
from gfm_ase.commands.options import CHECKPOINT, DEVICE, DTYPE, HEAD, STRUCTURES, check_outputs

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
RELIABILITY: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--reliability",
        help="Draw coverage of the uncertainties, and errors against them (.png, .svg or .pdf).",
        show_default=False,
    ),
]
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
    reliability: RELIABILITY = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
) -> None:
    """Compare a checkpoint with labelled structures: energies, forces, stress and outputs, beside trivial predictors.

    Labels are in eV and Å with ASE's stress sign; structures lacking a label count for the others. Coverage and rank
    correlation of uncertainties are told where there are some: of calibrated intervals, or of standard deviations.

    Example: gfm-ase evaluate model.safetensors test.extxyz --head acac --plot parity.png
    """
    from gfm_ase.commands.labelled_files import read_labelled
    from gfm_ase.heads import choose_head
    from gfm_ase.loading import load
    from train.calibration.samples import Gathering
    from train.evaluation import predict
    from train.journal import write_json
    from train.progress import Reporter

    check_outputs(json_file, pictures=(plot, reliability))
    loaded = load(checkpoint, device=device, dtype=dtype)
    name = choose_head(loaded, head)
    potential = loaded.potential.only(name)
    rows = [*potential.trained_outputs(name).values()]
    keys: dict[str, Any] = {"energy_key": energy_key, "forces_key": forces_key, "stress_key": stress_key}
    keys["labels"] = _label_keys(label or [], [row.name for row in rows])
    files, uncertain = {"name": name, "train": tuple(map(str, structures)), **keys}, Gathering()
    with Reporter(console := Console()).reading() as progress:
        labelled = read_labelled(potential, files, outputs=rows, progress=progress)
        told: dict[str, Any] = {"progress": progress, "also": uncertain.add}
        predictions = predict(potential, potential.references, labelled, outputs=rows, **told)
    _warn(console, loaded.manifest.heads[name])
    console.print(errors_table(errors := {name: predictions.errors()}, f"{len(labelled)} structures"))
    calibration = loaded.manifest.calibration.get(name)
    errors[name] |= _uncertainties(uncertain.samples(), calibration, name, reliability, console)
    if json_file:
        write_json(json_file, errors)
        announce(console, f"Errors: {json_file}")
    if plot is not None:
        _draw(plot, predictions.pairs(), name, console)


def _uncertainties(
    samples: Any, calibration: Any, head: str, picture: Path | None, console: Console
) -> dict[str, float]:
    """Tell of the uncertainties, and return what was found by name; nothing where there are none.

    Raises:
        ValueError: they are to be drawn and there are none.
    """
    if not samples:
        if picture is not None:
            raise ValueError(
                "--reliability: this potential gives no uncertainties of what the structures have labels of"
            )
        return {}
    from gfm_ase.commands.uncertainty_table import as_errors, uncertainty_table
    from train.calibration.measures import measure

    what = "as standard deviations: not calibrated" if calibration is None else "calibrated intervals"
    console.print(uncertainty_table(found := measure(samples, calibration), f"Uncertainties, {what}"))
    if picture is not None:
        from gfm_ase.calibration_picture import calibration_figure
        from gfm_ase.plots import save_figure

        drawn = "each fifth, calibrated by the others" if calibration is None else what
        save_figure(calibration_figure({head: (samples, calibration)}, f"{head}: {drawn}"), picture)
        announce(console, f"Reliability: {picture}")
    return as_errors(found)


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


def _draw(path: Path, pairs: Any, title: str, console: Console) -> None:
    from gfm_ase.plots import parity_figure, save_figure

    save_figure(parity_figure(pairs, title), path)
    announce(console, f"Plot: {path}")
