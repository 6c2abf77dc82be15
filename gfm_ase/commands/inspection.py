"""`gfm-ase inspect`: what a checkpoint holds."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gfm_ase.commands.errors_table import errors_table
from gfm_ase.commands.options import CHECKPOINT


def inspect(
    checkpoint: CHECKPOINT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole manifest as JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Also load the weights and recompute the golden structures.")
    ] = True,
) -> None:
    """Show what a checkpoint holds: heads, elements, architecture, errors, and whether it is intact.

    Example: gfm-ase inspect model.safetensors
    """
    from potentials.checkpoint import load_checkpoint, read_manifest

    manifest = read_manifest(checkpoint)
    parameters = _parameters(load_checkpoint(checkpoint)[0]) if check else None
    console = Console()
    if as_json:
        console.print_json(manifest.model_dump_json())
        return
    console.print(_summary(checkpoint, manifest, parameters))
    console.print(_heads(manifest))
    errors = {name: head.test_errors for name, head in manifest.heads.items() if head.test_errors}
    if errors:
        console.print(errors_table(errors, "Errors on structures held back from training"))


def _parameters(potential: Any) -> int:
    """Weights that were learnt; those of an ensemble are of all members."""
    from potentials.ensemble import Ensemble

    members = potential.members() if isinstance(potential, Ensemble) else [potential]
    return sum(value.numel() for member in members for value in member.parameters())


def _summary(path: Path, manifest: Any, parameters: int | None) -> Table:
    backbone = manifest.potential.backbone.model_dump()
    table = Table(show_header=False, box=None, title=str(path), title_justify="left")
    table.add_row("format", str(manifest.format_version))
    table.add_row(
        "backbone", f"{backbone.pop('name')} ({', '.join(f'{key} {value}' for key, value in backbone.items())})"
    )
    if manifest.members:
        table.add_row("ensemble of", ", ".join(member.name for member in manifest.members))
        backbones = {member.potential.backbone.name for member in manifest.members}
        table.add_row("their backbones", ", ".join(sorted(backbones)))
    table.add_row("uncertainties", _uncertainties(manifest))
    table.add_row("cutoff", f"{manifest.cutoff:g} Å")
    table.add_row("dtype", f"{manifest.dtype}, energies summed in float64")
    table.add_row("charge and spin", "yes" if manifest.potential.charge_and_spin else "no")
    if manifest.potential.outputs:
        table.add_row("outputs", ", ".join(_output(output) for output in manifest.potential.outputs))
    if "energy" in manifest.training:  # of checkpoints from before there was a meter nobody knows
        from train.energy.account import energy_text

        energy = manifest.training["energy"]
        table.add_row("training used", energy_text(energy["joules"], energy["source"]))
    table.add_row("made with", ", ".join(f"{name} {number}" for name, number in manifest.made_with.items()))
    if parameters is None:
        table.add_row("golden structures", f"{len(manifest.golden)}, not computed")
    else:
        table.add_row("parameters", f"{parameters:,}")
        table.add_row("golden structures", f"{len(manifest.golden)}, computed again: they agree")
    return table


def _uncertainties(manifest: Any) -> str:
    by = "ensemble" if manifest.members else "last layer" if manifest.potential.last_layer else ""
    if not by:
        return "none: see gfm-ase calibrate"
    calibrated = ", ".join(manifest.calibration)
    return f"by the {by}, {f'calibrated for {calibrated}' if calibrated else 'standard deviations, not calibrated'}"


def _output(output: Any) -> str:
    unit = f" ({output.unit})" if output.unit else ""
    return f"{output.name}{unit}, {'shared' if output.shared else 'one head a data set'}"


def _heads(manifest: Any) -> Table:
    table = Table(title="Heads", title_justify="left")
    for column in ("head", "elements", "labels", "structures", "E0, eV"):
        table.add_column(column, overflow="fold")
    for name, head in manifest.heads.items():
        structures = ", ".join(f"{count} {split}" for split, count in head.structures.items())
        e0 = ", ".join(f"{symbol} {value:.3f}" for symbol, value in head.e0.items())
        table.add_row(name, " ".join(head.elements), ", ".join(head.labels), structures, e0)
    return table
