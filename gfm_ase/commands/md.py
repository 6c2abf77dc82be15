"""`gfm-ase md`: molecular dynamics of one structure."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import md_workflows
from gfm_ase.commands import calculator
from gfm_ase.commands.options import CHECKPOINT, DEVICE, DTYPE, FRAME, HEAD, STRUCTURE

_ENSEMBLES = "nve, langevin, nose_hoover_chain, npt_isotropic, npt"


def md(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    structure: STRUCTURE,
    ensemble: Annotated[str, typer.Option("--ensemble", help=f"One of {_ENSEMBLES}.")] = "langevin",
    steps: Annotated[int, typer.Option("--steps", help="Steps in all, also over restarts.")] = 1000,
    timestep: Annotated[float, typer.Option("--timestep-fs", help="Time step in fs; 0.5 with hydrogen.")] = 1.0,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature-K", help="Temperature in K; all but nve need it.", show_default=False),
    ] = None,
    pressure: Annotated[
        float | None, typer.Option("--pressure-GPa", help="Pressure in GPa, for npt and npt_isotropic [0].")
    ] = None,
    friction: Annotated[
        float | None, typer.Option("--friction-per-fs", help="Friction in 1/fs, for langevin [0.01].")
    ] = None,
    tdamp: Annotated[
        float | None,
        typer.Option("--tdamp-fs", help="Thermostat's time in fs, for nose_hoover_chain and npt* [100]."),
    ] = None,
    pdamp: Annotated[
        float | None, typer.Option("--pdamp-fs", help="Barostat's time in fs, for npt and npt_isotropic [1000].")
    ] = None,
    initial_temperature: Annotated[
        float | None,
        typer.Option(
            "--initial-temperature-K",
            help="Draw new velocities at this temperature in K. By default those of the file are kept; where it has "
            "none they are drawn at --temperature-K (nve: at rest).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the velocities and of langevin's noise.")] = 0,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Trajectory (.traj or .extxyz); log .csv and state .state.npz beside it."),
    ] = Path("md.traj"),
    frame_interval: Annotated[int, typer.Option("--trajectory-interval", help="Steps from frame to frame.")] = 10,
    log_interval: Annotated[int, typer.Option("--log-interval", help="Steps from row to row of the log.")] = 10,
    state_interval: Annotated[
        int, typer.Option("--state-interval", help="Steps from state to state that a restart can begin at.")
    ] = 100,
    restart: Annotated[
        bool, typer.Option("--restart", help="Continue exactly where the output stopped; begin if there is none.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    index: FRAME = -1,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
) -> None:
    """Run molecular dynamics of one structure.

    Writes a trajectory, a log (CSV: energies in eV, temperature in K, pressure in GPa, volume in Å³) and a state.
    A run that was killed continues with the same command and --restart, bit for bit as if it had not been.

    Example: gfm-ase md model.gfm silicon.cif --temperature-K 300 --steps 5000 --timestep-fs 2 -o si.traj
    """
    if restart and overwrite:
        raise ValueError("--restart continues the output and --overwrite removes it; give one of them.")
    bath = {
        "temperature_K": temperature,
        "pressure_GPa": pressure,
        "friction_per_fs": friction,
        "tdamp_fs": tdamp,
        "pdamp_fs": pdamp,
        "seed": seed if ensemble == "langevin" else None,
    }
    values: dict[str, Any] = {
        "ensemble": {"name": ensemble, **{key: value for key, value in bath.items() if value is not None}},
        "steps": steps,
        "timestep_fs": timestep,
        "initial_temperature_K": initial_temperature,
        "velocity_seed": seed,
        "trajectory_interval": frame_interval,
        "log_interval": log_interval,
        "state_interval": state_interval,
    }
    settings = md_workflows.parse_settings(md_workflows.MDSettings, values)
    atoms = md_workflows.read_structure(structure, index)
    console = Console()
    with md_workflows.progress_bar("molecular dynamics", "steps", console) as progress:
        result = md_workflows.run_md(
            atoms,
            settings,
            calculator=calculator.build_calculator(checkpoint, head, device, dtype),
            files=output,
            on_existing="restart" if restart else "overwrite" if overwrite else "error",
            progress=progress,
        )
    console.print(
        f"{result.steps} steps, {result.time_fs:g} fs ({result.steps_run} steps now). "
        f"At the end: {result.temperature_K:.1f} K, total energy {result.energies.total:.6f} eV, "
        f"changed by {1000 * result.energies.drift_per_atom:+.3f} meV/atom since the start.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    files = result.files
    for name, path in (("Trajectory", files.trajectory), ("Log", files.log), ("State", files.state)):
        console.print(f"{name}: {path}", markup=False, highlight=False, soft_wrap=True)
