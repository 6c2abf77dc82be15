"""`gfm-ase relax`: relaxation of one structure."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import md_workflows
from gfm_ase.commands import calculator, doubting
from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import CHECKPOINT, COMPILE, DEVICE, DTYPE, FRAME, HEAD, STRUCTURE
from gfm_ase.commands.relaxing import (
    CELL,
    CONSTANT_VOLUME,
    FMAX,
    HYDROSTATIC,
    MASK,
    MAX_STEPS,
    OPTIMIZER,
    PRESSURE,
    cell_values,
    relax_settings,
)


def relax(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    structure: STRUCTURE,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Relaxed structure, in the format of its suffix; is replaced.")
    ] = Path("relaxed.extxyz"),
    trajectory: Annotated[
        Path | None, typer.Option("--trajectory", help="Every step, .traj or .extxyz.", show_default=False)
    ] = None,
    optimizer: OPTIMIZER = "fire",
    fmax: FMAX = 0.05,
    max_steps: MAX_STEPS = 500,
    cell: CELL = False,
    mask: MASK = None,
    hydrostatic: HYDROSTATIC = False,
    constant_volume: CONSTANT_VOLUME = False,
    pressure: PRESSURE = 0.0,
    max_uncertainty: doubting.MAX_UNCERTAINTY = None,
    uncertain: doubting.UNCERTAIN = None,
    candidates: doubting.CANDIDATES = None,
    index: FRAME = -1,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
    compiled: COMPILE = False,
) -> None:
    """Relax one structure: its atoms, and with --cell its cell.

    Constraints in the file are kept. The exit code is 0 when it converged, 1 when it did not (the structure reached
    is written all the same).

    Example: gfm-ase relax model.safetensors silicon.cif --cell --fmax 0.01 -o silicon-relaxed.cif
    """
    values = cell_values(mask, hydrostatic, constant_volume, pressure)
    if uncertain == "keep" and candidates is None:
        candidates = output.with_name(f"{output.stem}.candidates.extxyz")
    policy = doubting.policy_values(max_uncertainty, uncertain, candidates)
    settings = relax_settings(optimizer, fmax, max_steps, cell, values, uncertainty=policy)
    atoms = md_workflows.read_structure(structure, index)
    md_workflows.check_writable(output)
    driver = calculator.build_calculator(checkpoint, head, device, dtype, compiled, [atoms])
    console = Console()
    with md_workflows.progress_bar("relaxation", "steps", console) as bar:
        result = md_workflows.relax(atoms, settings, calculator=driver, trajectory=trajectory, progress=bar)
    md_workflows.write_structure(output, result.atoms)
    announce(console, *_report(result, settings.uncertainty), f"Structure: {output}")
    if trajectory is not None:
        announce(console, f"Trajectory: {trajectory}")
    if not result.converged:
        raise typer.Exit(1)


def _report(result: Any, policy: Any) -> list[str]:
    verdict = "Converged" if result.converged else f"NOT converged ({result.reason})"
    lines = [
        f"{verdict} after {result.steps} steps.",
        f"At the end: largest force {result.fmax:.4g} eV/Å, energy {result.energy:.6f} eV.",
    ]
    reason = "" if policy is None else policy.judge(result.atoms)
    if reason:
        lines.append(f"Uncertain: {reason}.")
        lines += [] if policy.candidates is None else [f"Candidate for labelling: {policy.candidates}"]
    return lines
