"""`gfm-ase calibrate`: intervals for the uncertainties of a checkpoint, from structures held back from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce
from gfm_ase.commands.evaluation import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from gfm_ase.commands.options import CHECKPOINT, DEVICE, DTYPE, HEAD, check_outputs

if TYPE_CHECKING:
    from potentials.calibration import HeadCalibration, QuantityCalibration
    from potentials.manifest import Manifest
    from potentials.potential import Potential
    from train.calibration.samples import Samples
    from train.frame import Frame

HELD_BACK: TypeAlias = Annotated[
    list[Path],
    typer.Argument(
        metavar="STRUCTURE...", help="Labelled structures that nothing was learnt from.", show_default=False
    ),
]
TRAINING: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--training",
        help="Files the head was trained on; may be given several times. Structures that are in them too are refused,"
        " and a single potential without uncertainties gets those of its last layer from them.",
        show_default=False,
    ),
]
OUTPUT: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="Checkpoint to write [CHECKPOINT with _calibrated].")
]
COVERAGE: TypeAlias = Annotated[
    list[float] | None,
    typer.Option(
        "--coverage",
        help="A coverage that has to be reached, such as 0.9 or 0.85; may be given several times. 0.5, 0.68, 0.8, 0.9,"
        " 0.95 and 0.99 are there where the structures suffice.",
        show_default=False,
    ),
]
GROUP: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--group",
        help="Key in info that frames which belong together share, such as those of one trajectory or composition: they"
        " count as one structure.",
        show_default=False,
    ),
]
REPORT: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        help="Draw reliability, errors against uncertainties and coverage by element (.png, .svg, .pdf), or write the"
        " numbers (.json); may be given several times.",
        show_default=False,
    ),
]


def calibrate(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    structures: HELD_BACK,
    head: HEAD = None,
    training: TRAINING = None,
    output: OUTPUT = None,
    coverage: COVERAGE = None,
    group: GROUP = None,
    report: REPORT = None,
    energy_key: ENERGY_KEY = None,
    forces_key: FORCES_KEY = None,
    stress_key: STRESS_KEY = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
) -> None:
    """Make uncertainties mean something: intervals that hold a stated share of errors, by conformal prediction.

    Writes a checkpoint with the calibration of one head; those of other heads stay. The table tells coverage on
    structures that the factors were not taken from: each fifth, calibrated by the others.

    Example: gfm-ase calibrate ensemble.safetensors held_back.extxyz --report reliability.png
    """
    from potentials.checkpoint import save_calibrated, save_checkpoint
    from potentials.manifest import DTYPES
    from potentials.models.registry import beside
    from train.calibration.fitting import fit_calibration

    path = output or beside(checkpoint, f"{checkpoint.stem}_calibrated{checkpoint.suffix or '.safetensors'}")
    check_outputs(path, *_reports(report, numbers=True), pictures=_reports(report, numbers=False))
    keys = {"energy_key": energy_key, "forces_key": forces_key, "stress_key": stress_key}
    files = Files(structures, training or [], {name: key for name, key in keys.items() if key is not None}, group)
    console = Console()
    found = _predict(checkpoint, files, head, (device, dtype), console)
    calibration = fit_calibration(found.samples, coverage=coverage or (), fingerprint=found.fingerprint)
    if found.fitted is None:
        save_calibrated(path, checkpoint, found.head, calibration)
    else:
        known = {**found.manifest.calibration, found.head: calibration}
        changes = {"potential": found.fitted.config, "calibration": known}
        own = found.fitted.to(DTYPES[found.manifest.dtype])  # --dtype is of what is computed, not of what is kept
        save_checkpoint(path, own, found.manifest.model_copy(update=changes))
    _tell(found, calibration, report or [], console)
    announce(console, f"Calibrated: {path}")


def _reports(given: list[Path] | None, *, numbers: bool) -> list[Path]:
    """Those that are numbers, or pictures."""
    return [path for path in given or () if (path.suffix.lower() == ".json") is numbers]


@dataclass(frozen=True)
class Files:
    """What is read: structures to calibrate by, those that were learnt from, keys of labels, key of groups."""

    structures: Sequence[Path]
    training: Sequence[Path]
    keys: dict[str, str]
    group: str | None = None


@dataclass(frozen=True)
class Found:
    """Errors and uncertainties of one head.

    Attributes:
        head: its name.
        samples: of the structures to calibrate by.
        fingerprint: SHA-256 of these.
        manifest: of the checkpoint.
        fitted: the potential with uncertainties by its last layer, where it had none before.
    """

    head: str
    samples: Samples
    fingerprint: str
    manifest: Manifest
    fitted: Potential | None


def _predict(
    checkpoint: Path, files: Files, head: str | None, where: tuple[str, str | None], console: Console
) -> Found:
    import torch

    from gfm_ase.commands.labelled_files import read_labelled
    from gfm_ase.heads import choose_head
    from gfm_ase.loading import load
    from potentials.calibration import UNCERTAINTY
    from potentials.potential import Potential
    from train.calibration.last_layer import with_uncertainties
    from train.calibration.samples import grouped, sample
    from train.calibration.separate import check_held_back
    from train.progress import Reporter
    from train.structures import Held

    loaded = load(checkpoint, device=where[0], dtype=where[1])
    name = choose_head(loaded, head)
    potential, fitted = loaded.potential.only(name), None
    with Reporter(console).reading() as progress:
        read = partial(read_labelled, potential, progress=progress)
        settings = {"name": name, "train": tuple(map(str, files.structures)), **files.keys}
        groups: list[str] = []
        structures = Held(read(settings, seen=lambda frame: groups.append(_group(frame, files.group))))
        settings["train"] = tuple(map(str, files.training))
        training = Held(read(settings)) if files.training else Held([])
        for note in check_held_back(structures, training, loaded.manifest.heads[name].fingerprints):
            console.print(f"[yellow]{note}[/yellow]", highlight=False)
        with torch.no_grad():
            first = potential(structures[0].graph.to(potential.device))
        # a last layer that was fitted for other heads says NaN of this one
        if all(name not in first or bool(first[name].isnan().any()) for name in UNCERTAINTY.values()):
            assert isinstance(loaded.potential, Potential), "ensembles tell theirs"
            fitted = with_uncertainties(loaded.potential, name, training, progress=progress)
            potential = fitted.only(name)
        samples = grouped(sample(potential, structures, device=potential.device, progress=progress), groups)
    return Found(name, samples, structures.fingerprint(), loaded.manifest, fitted)


def _group(frame: Frame, key: str | None) -> str:
    """What the frame belongs to: itself, where there is no key."""
    if key is None:
        return frame.source
    if key not in frame.atoms.info:
        there = ", ".join(sorted(frame.atoms.info)) or "nothing"
        raise ValueError(f"{frame.source}: --group {key}: info has no such key; it has {there}")
    return str(frame.atoms.info[key])


def _tell(found: Found, calibration: HeadCalibration, reports: Sequence[Path], console: Console) -> None:
    """The table, what is missing in it, and the reports."""
    from gfm_ase.calibration_picture import calibration_figure
    from gfm_ase.commands.uncertainty_table import uncertainty_table
    from gfm_ase.plots import save_figure
    from train.calibration.measures import as_json, measure_on_others
    from train.journal import write_json

    levels = sorted({float(level) for one in calibration.quantities.values() for level in one.factors})
    measures = measure_on_others(found.samples, tuple(levels))
    console.print(uncertainty_table(measures, f"{found.head}: each fifth, calibrated by the other four"))
    for name, one in calibration.quantities.items():
        console.print(_sentence(name, one), highlight=False)
    for path in reports:
        if path.suffix.lower() == ".json":
            write_json(path, {found.head: as_json(measures)})
        else:
            title = f"{found.head}: each fifth, calibrated by the others"
            save_figure(calibration_figure({found.head: (found.samples, None)}, title), path)
        announce(console, f"Report: {path}")


def _sentence(name: str, one: QuantityCalibration) -> str:
    """What to expect, and which coverages the structures do not suffice for."""
    from potentials.calibration import COVERAGE as USUAL
    from train.calibration.conformal import LEVELS, needed

    level = f"{USUAL:g}"
    stated = 100 * USUAL
    text = (
        f"{name}: intervals of {stated:g} % hold {stated:g} ± {100 * one.spread[level]:.1f} % of the errors on"
        f" structures like these {one.structures['*']}"
    )
    missing = [level for level in LEVELS if f"{level:g}" not in one.factors]
    if missing:
        text += f"; {missing[0]:g} takes {needed(missing[0])} structures beside those for the floor, and is not there"
    return text
